package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"infra/runtime"
	"infra/runtime/interp"
	"infra/runtime/journal"
)

// A check that does not hold when its plan is observed is tried so often, with so
// much time between two tries.
const (
	tries    = 3
	tryAgain = 2 * time.Second
)

// Verify observes a plan: it runs its checks side by side, and none of its steps. That
// is kept as a run is, whose options have to say that it is none. It takes no lock and
// asks no gate, so that it neither waits for a run nor keeps one waiting.
func (e *Engine) Verify(ctx context.Context, file *interp.File, opts Options) (Outcome, error) {
	if len(file.Plan.Checks) == 0 {
		return Outcome{}, fmt.Errorf("%w: plan %s has no checks", ErrSelection, file.Plan.Name)
	}
	r := newRun(file, opts)
	r.observes = true
	r.do = r.chain(carryOut)
	r.root = e.root
	r.start = &runtime.RunStart{Plan: r.plan, File: file.Path, Checks: r.plan.Checks, Options: opts.Options, Sources: file.Sources()}
	var err error
	if r.journal, err = journal.Open(e.root); err != nil {
		return Outcome{}, err
	}
	defer r.journal.Close()
	ctx, cancel := r.contexts(ctx)
	defer cancel()
	return r.all(ctx, &tasks{checks: r.plan.Checks})
}

// observe runs a check, and where it does not hold tells what comes and goes from what
// is down. Both have failed: who looked a moment later would not know of either.
func (r *run) observe(ctx context.Context, t *task) (returned, error) {
	failed, why := 0, error(nil)
	for n := 1; ; n++ {
		v, err := r.attempt(ctx, t)
		if err != nil && verdict(err) != runtime.Failed {
			return v, err
		}
		if err == nil {
			err = unmet(v.value)
		}
		if err != nil {
			failed, why = failed+1, err
		}
		switch {
		case failed == 0:
			return v, nil
		case n == tries && failed == tries:
			return returned{value: starlark.None}, prefixed(why, fmt.Sprintf("down: failed %d of %d times", failed, tries))
		case n == tries:
			return returned{value: starlark.None}, prefixed(why, fmt.Sprintf("flapping: failed %d of %d times", failed, tries))
		}
		if err := r.beforeNext(t, fmt.Sprintf("failed %d of %d times", failed, n), why); err != nil {
			return returned{value: starlark.None}, err
		}
	}
}

// unmet is why a check that returned v does not hold; nil where it does.
func unmet(v starlark.Value) error {
	ok, detail := runtime.Judge(v)
	if ok {
		return nil
	}
	return errors.New(cmp.Or(runtime.Scrub(detail), "it does not hold"))
}

// beforeNext tells that a check is tried again, and waits until then.
func (r *run) beforeNext(t *task, said string, why error) error {
	pause := cmp.Or(r.opts.Pause, tryAgain)
	e := t.event(runtime.StepRetried)
	e.Err, e.Text = scrubbed(why), fmt.Sprintf("%s; again in %s", said, pause)
	if err := r.emit(e); err != nil {
		return err
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.stop.Done():
		return fmt.Errorf("not tried again: %w", runtime.ErrInterrupted)
	}
}

// prefixed is err with words before its text, at the same place of the plan.
func prefixed(err error, words string) error {
	var failure *interp.Failure
	if !errors.As(err, &failure) {
		return fmt.Errorf("%s: %w", words, err)
	}
	named := *failure
	named.Msg = words + ": " + named.Msg
	return &named
}

// bound is ctx for as long as one call of the task's function may take.
func (t *task) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	what, limit := "check", time.Duration(0)
	if t.check != nil {
		limit = t.check.Timeout
	} else {
		what, limit = "step", t.group.step.Timeout
	}
	if limit <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, limit, timeoutError{what, limit})
}

// A timeoutError is that a step or a check took too long.
type timeoutError struct {
	what  string
	limit time.Duration
}

func (e timeoutError) Error() string {
	return fmt.Sprintf("the %s's timeout of %s is over", e.what, runtime.FormatDuration(e.limit))
}

// overdue is how a check ended that took longer than it may: it has failed, also where
// its code caught that, or what it called says no more than that it was ended.
func (r *run) overdue(ctx context.Context, t *task, err error) error {
	var late timeoutError
	if t.check == nil || !errors.As(context.Cause(ctx), &late) || r.stop.Err() != nil {
		return err
	}
	var failure *interp.Failure
	if !errors.As(err, &failure) {
		return late
	}
	only := *failure
	only.Err = late
	if !strings.Contains(only.Msg, late.Error()) {
		only.Msg = late.Error() + ": " + only.Msg
	}
	return &only
}

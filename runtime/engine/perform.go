package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// perform runs a task to its end and tells the readers.
func (r *run) perform(ctx context.Context, t *task) (starlark.Value, runtime.Status) {
	started := time.Now()
	begin := t.event(runtime.StepStarted)
	if t.check == nil {
		begin.Text = t.group.step.Confirm
	}
	err := r.emit(begin)
	end := t.event(runtime.StepEnded)
	done := returned{value: starlark.None}
	if err == nil {
		done, err = r.underLocks(ctx, t)
	}
	end.Status = verdict(err)
	switch {
	case end.Status != runtime.Stopped:
	case r.file.Preview:
		t.history.broken = true
		done.value = runtime.Unknown{Op: t.name(), Pos: t.group.step.Pos}
	default: // a resumed run, which lost an answer that the plan decides on
		end.Status = runtime.Held
	}
	switch {
	case t.check != nil && err == nil:
		end.Status, end.Text = judge(t.check, done.value)
	case err == nil:
		end.Result = done.encoded
	case t.check != nil && !t.check.Required && end.Status == runtime.Failed:
		end.Status = runtime.Warned
	}
	if end.Status == runtime.Failed && err != nil && runtime.HintOf(err) == "" {
		err = runtime.WithHint(err, "%s", r.advice(err))
	}
	end.Err, end.Took = scrubbed(err), time.Since(started)
	if err := r.emit(end); err != nil {
		return starlark.None, runtime.Failed
	}
	return done.value, end.Status
}

// advice is what can always be done about a failure of a step.
func (r *run) advice(err error) string {
	if r.file.Preview {
		return "nothing was done: mend it, and preview it again"
	}
	if r.observes {
		return "mend it, then infra verify looks again; infra log " + r.id + " shows what was seen"
	}
	if errors.Is(err, runtime.ErrUntold) {
		return "infra resume " + r.id + " finds out what became of it, or asks, and goes on"
	}
	if r.plan.UndoOnFailure {
		return "mend it and run the plan again; infra log " + r.id + " shows what was done and printed"
	}
	return "mend it, then infra resume " + r.id + " goes on; infra log " + r.id + " shows what was done and printed"
}

// A returned is what a task's function returned, for those that need it and
// for the journal.
type returned struct {
	value   starlark.Value
	encoded []byte
}

// judge is how a check ends that returned v.
func judge(c *runtime.Check, v starlark.Value) (runtime.Status, string) {
	ok, detail := runtime.Judge(v)
	switch {
	case ok:
		return runtime.OK, runtime.Scrub(detail)
	case c.Required:
		return runtime.Failed, runtime.Scrub(detail)
	}
	return runtime.Warned, runtime.Scrub(detail)
}

// retries is how often the task's function may be called again.
func (t *task) retries() int {
	if t.group == nil || t.group.step == nil {
		return 0
	}
	return t.group.step.Retries
}

// attempts runs a task's function, again after a failure where the step says
// so.
func (r *run) attempts(ctx context.Context, t *task) (returned, error) {
	if r.observes {
		return r.observe(ctx, t)
	}
	retries := t.retries()
	for n := 0; ; n++ {
		t.redone = 0
		v, err := r.attempt(ctx, t)
		if err == nil || n == retries || verdict(err) != runtime.Failed {
			return v, err
		}
		if errors.Is(err, runtime.ErrUntold) {
			return v, err // it may still go on: another attempt would begin it beside itself
		}
		if errors.As(err, new(unrepeatable)) {
			return v, runtime.WithHint(fmt.Errorf("%w (retries repeat only what may be repeated)", err),
				"see how it left the host; where a repetition does no harm, say repeatable = True")
		}
		t.replay = nil
		pause := min(time.Second<<min(n, 5), 30*time.Second)
		e := t.event(runtime.StepRetried)
		e.Err, e.Text = scrubbed(err), fmt.Sprintf("attempt %d of %d failed; again in %s", n+1, retries+1, pause)
		if err := r.emit(e); err != nil {
			return returned{}, err
		}
		select {
		case <-time.After(pause):
		case <-r.stop.Done():
			return returned{}, fmt.Errorf("not tried again: %w", runtime.ErrInterrupted)
		}
	}
}

// attempt calls the task's function once.
func (r *run) attempt(ctx context.Context, t *task) (returned, error) {
	fn, args := starlark.Callable(nil), starlark.Tuple(nil)
	if t.check != nil {
		fn, ctx = t.check.Fn, runtime.WithReadsOnly(ctx, "a check")
		if t.host != nil {
			args = starlark.Tuple{t.host}
		}
	} else {
		fn, args = t.group.step.Fn, t.args()
	}
	ctx, cancel := t.bound(ctx)
	defer cancel()
	ctx = runtime.WithAhead(runtime.WithAttempt(withTask(ctx, t)), r.stop)
	t.reviewed = 0
	ahead := runtime.AheadOf(ctx)
	ctx = runtime.WithPrint(ctx, func(text string) {
		if !ahead.Well() {
			return // in truth the code has not come so far
		}
		e := t.event(runtime.Logged)
		e.Text = runtime.Scrub(text)
		_ = r.emit(e) // a journal that is gone is noticed by the next operation
	})
	v, err := r.file.Call(ctx, r.stop, t.name(), fn, args)
	if t.replay.vain(err) {
		r.passOver(ctx)
	}
	err = r.overdue(ctx, t, err)
	if err == nil {
		err = r.complete(t)
	}
	if lost := r.lost.Load(); lost != nil && err == nil {
		err = *lost // the plan's code may have caught it, and gone on as if an operation had failed
	}
	if err != nil {
		return returned{}, err
	}
	encoded, err := runtime.Encode(v)
	if err != nil {
		return returned{}, fmt.Errorf("%s returned what a step cannot: %w", t.name(), err)
	}
	v.Freeze()
	return returned{v, encoded}, nil
}

// scrubbed is err with every secret taken out of its text. It still unwraps to
// err, for those who ask what kind of error it is.
func scrubbed(err error) error {
	if err == nil {
		return nil
	}
	var already scrubbedError
	if errors.As(err, &already) && already.text == err.Error() {
		return err
	}
	return scrubbedError{runtime.Scrub(err.Error()), err}
}

type scrubbedError struct {
	text string
	err  error
}

func (e scrubbedError) Error() string { return e.text }
func (e scrubbedError) Unwrap() error { return e.err }

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"

	"infra/runtime"
	"infra/runtime/journal"
)

// InFlight says what to make of an operation that was in flight when a run
// ended, where nothing else can tell whether it happened.
type InFlight string

// The choices.
const (
	AskInFlight   InFlight = ""      // a person is asked; where there is none, the step is held
	InFlightDone  InFlight = "done"  // it is taken as done
	InFlightAgain InFlight = "again" // it is carried out again
)

// restore takes over what an earlier process did of the run: a step that ended
// well hands its result on, and one that was begun is entered again with a
// replay. Needs stand before what needs them.
func (r *run) restore(groups []*group, past *journal.Run) {
	began := make(map[instance]journal.Step, len(past.Steps))
	for _, s := range past.Steps {
		if !s.Check {
			began[instance{s.Name, s.Host}] = s
		}
	}
	for _, g := range groups {
		for _, t := range g.tasks {
			if s, ok := began[t.instance()]; ok {
				r.takeOver(t, s)
			}
		}
	}
}

// takeOver restores one task. A result that the journal could not keep, since
// it holds a secret, is made again by the step itself, whose operations are all
// answered.
func (r *run) takeOver(t *task, s journal.Step) {
	if s.Status == runtime.OK && !r.opts.Accept {
		if v, err := runtime.Decode(s.Result); err == nil {
			v.Freeze()
			t.value, t.status = v, runtime.OK
			return
		}
	}
	if len(s.Ops) > 0 {
		t.replay = replayOf(s, r.opts.Accept)
	}
}

// errNothingTells: what is asked about an operation in flight does not tell its
// fate.
var errNothingTells = errors.New("nothing tells")

// settle decides what to do about op, which was in flight when the earlier
// process ended: cut is what the journal has of it.
func (r *run) settle(ctx context.Context, op runtime.Op, cut journal.Op, next runtime.Do) (runtime.Result, error) {
	if op.Settle != nil && cut.Status == journal.InFlight {
		res, err := next(withCut(ctx, cut), r.lookedFor(op))
		if !errors.Is(err, errNothingTells) {
			return res, err
		}
	}
	if op.Effect == runtime.Build || op.Repeatable {
		if cut.Status == journal.InFlight && len(taskOf(ctx).replay.cuts) > 0 {
			return next(withCut(ctx, cut), repeated(op)) // what is in flight behind it keeps its place
		}
		r.close(ctx, cut, op, runtime.Interrupted, "carried out again")
		return next(ctx, op)
	}
	choice := r.opts.InFlight
	if rp := taskOf(ctx).replay; rp.judged {
		choice = AskInFlight // what was said is about the first
	} else {
		rp.judged = true
	}
	if choice == AskInFlight {
		var err error
		if choice, err = r.askInFlight(ctx, op); err != nil {
			return runtime.Result{}, err
		}
	}
	if choice == InFlightAgain {
		r.passOver(ctx)
		r.close(ctx, cut, op, runtime.Interrupted, "carried out again")
		return next(ctx, op)
	}
	r.close(ctx, cut, op, runtime.OK, "taken as done")
	return runtime.Result{Value: notKnown(op), Changed: true}, nil
}

// repeated is op, of which the journal gets no end but a good one: what was asked for behind it
// may have happened, and is not settled yet.
func repeated(op runtime.Op) runtime.Op {
	run := op.Run
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		res, err := run(ctx, log)
		if err != nil {
			err = unsettled{err}
		}
		return res, err
	}
	return op
}

type unsettled struct{ error }

func (u unsettled) Unwrap() error        { return u.error }
func (u unsettled) Is(target error) bool { return target == runtime.ErrUntold }

type cutKey struct{}

// withCut makes the next operation the one that the journal has as cut.
func withCut(ctx context.Context, cut journal.Op) context.Context {
	return context.WithValue(ctx, cutKey{}, &cut)
}

func cutOf(ctx context.Context) *journal.Op {
	cut, _ := ctx.Value(cutKey{}).(*journal.Op)
	return cut
}

// lookedFor is op as it goes on: its fate is found out, and it is carried out,
// still as the operation that the journal has as begun, only if nothing of it
// had happened. Where it cannot be found out, a person's word counts.
func (r *run) lookedFor(op runtime.Op) runtime.Op {
	begin := op.Run
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		fate, res, err := op.Settle(ctx, log)
		switch {
		case fate == runtime.Done:
			if err != nil {
				r.passOver(ctx)
			}
			return res, err
		case err != nil && r.opts.InFlight == AskInFlight:
			return runtime.Result{}, fmt.Errorf("finding out what became of it: %w; %w", err, runtime.ErrUntold)
		case fate == runtime.NotDone:
			if err := r.holdsFor(ctx, op); err != nil {
				return runtime.Result{}, fmt.Errorf("it was not begun again: %w; %w", err, runtime.ErrUntold)
			}
			r.passOver(ctx)
			return begin(ctx, log)
		}
		return runtime.Result{}, errNothingTells
	}
	return op
}

// askInFlight puts two questions to a person, neither of which has an answer
// that goes without saying.
func (r *run) askInFlight(ctx context.Context, op runtime.Op) (InFlight, error) {
	what := fmt.Sprintf("%s %s (%s) was in flight when the run ended, and nothing tells whether it happened: %s",
		op.Name, op.Host, op.Pos, op.Show)
	held := runtime.WithHint(fmt.Errorf("%w: %s", runtime.ErrHeld, what),
		"look at the host, then say it: infra resume %s --in-flight=done, or --in-flight=again", r.id)
	if r.opts.Decide == nil {
		return "", held
	}
	for _, c := range []struct {
		question string
		choice   InFlight
	}{{"Is it done?", InFlightDone}, {"Carry it out again?", InFlightAgain}} {
		yes, err := r.opts.Decide(ctx, what+"\n"+c.question)
		if err != nil || yes {
			return c.choice, err
		}
	}
	return "", held
}

// passOver records that the operations which the step had asked for ahead were not begun,
// since the one before them was not.
func (r *run) passOver(ctx context.Context) {
	t := taskOf(ctx)
	for _, cut := range t.replay.cuts {
		e := t.event(runtime.OpEnded)
		e.Op = &runtime.OpEvent{ID: cut.ID, Op: runtime.Op{Name: cut.Name, Host: cut.Host, Effect: runtime.Change, Show: cut.Show}}
		e.Status, e.Err = runtime.Skipped, runtime.ErrPassedOver
		_ = r.emit(e) // a journal that is gone is noticed by the next operation
	}
	t.replay.cuts, t.replay.live = nil, true
}

// close records how an operation of the earlier process is taken to have ended.
func (r *run) close(ctx context.Context, cut journal.Op, op runtime.Op, status runtime.Status, text string) {
	if cut.Status != journal.InFlight {
		return // it has an end
	}
	t := taskOf(ctx)
	e := t.event(runtime.OpEnded)
	e.Op = &runtime.OpEvent{ID: cut.ID, Op: op, Changed: status == runtime.OK}
	e.Pos, e.Status, e.Text = op.Pos, status, text
	_ = r.emit(e) // a journal that is gone is noticed by the next operation
}

package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"go.starlark.net/starlark"

	"infra/runtime"
	"infra/runtime/journal"
)

// A replay answers the operations of a step that an earlier process, or an
// earlier attempt, began: as they were answered then, and without carrying
// them out, until the first that had not ended well.
type replay struct {
	reads, acts []journal.Op // that ended, in order
	feats       []journal.Op // acts of attempts before the last, for what must not be repeated
	cuts        []journal.Op // what was in flight, in order: several where the step went ahead
	judged      bool         // whether the first of them happened was put to a person
	failed      *journal.Op  // why the step failed; nil where it did not, or not by what acts
	lenient     bool         // what differs from them is carried out, and all that follows
	live        bool         // past the last of them: from here on everything is carried out
}

// replayOf is the replay of a step in the journal. What acts counts over all
// its attempts, since none of it is ever repeated; what was observed, since the
// last time that it was tried again.
func replayOf(past journal.Step, lenient bool) *replay {
	rp := &replay{lenient: lenient}
	retried, passed := lastRetry(past), 0
	for _, op := range past.Ops {
		cut := op.Status == journal.InFlight || op.Status == runtime.Interrupted
		if op.Status == runtime.Skipped || op.Status == journal.InFlight && passed == op.Attempt {
			passed = op.Attempt
			continue // it was not even begun, nor what was asked for behind it
		}
		if op.Effect == runtime.Read.String() {
			if !cut && op.ID > retried {
				rp.reads = append(rp.reads, op)
			}
			continue
		}
		if !rp.wentAhead(op, past.Logs) {
			rp.cuts = nil // what comes after settled it
		}
		switch {
		case cut:
			rp.acts, rp.cuts = rp.superseded(op), append(rp.cuts, op)
		case op.ID > retried:
			rp.acts = append(rp.superseded(op), op)
		case op.Status == runtime.OK:
			rp.feats = append(rp.feats, op)
		}
	}
	if n := len(rp.acts); n > 0 && rp.cuts == nil && past.Status != journal.Unfinished && rp.acts[n-1].Status != runtime.OK {
		rp.failed = &rp.acts[n-1] // it is carried out again
		rp.acts = rp.acts[:n-1]
	}
	rp.reads = rp.decisive()
	return rp
}

// wentAhead says whether op was asked for while what is in flight was: between the two
// nothing was said, which waits for the one, as what catches its loss does.
func (rp *replay) wentAhead(op journal.Op, logs []journal.Log) bool {
	n := len(rp.cuts)
	if n == 0 || op.Status != journal.InFlight {
		return false
	}
	last := rp.cuts[n-1]
	said := func(l journal.Log) bool { return last.ID <= l.After && l.After < op.ID }
	return last.Status == journal.InFlight && last.Attempt == op.Attempt && !slices.ContainsFunc(logs, said)
}

// decisive are the reads before the last thing that was done: it may depend on
// them. What was observed after it is observed again, since a person may have
// mended it.
func (rp *replay) decisive() []journal.Op {
	last := 0
	if n := len(rp.acts); n > 0 {
		last = rp.acts[n-1].ID
	}
	if n := len(rp.cuts); n > 0 {
		last = rp.cuts[n-1].ID
	}
	return slices.DeleteFunc(rp.reads, func(op journal.Op) bool { return op.ID > last })
}

// superseded are the acts without one that failed and was then carried out
// again by a process that resumed the step: as op.
func (rp *replay) superseded(op journal.Op) []journal.Op {
	n := len(rp.acts)
	if n == 0 {
		return rp.acts
	}
	last := rp.acts[n-1]
	if last.Status != runtime.OK && last.Attempt < op.Attempt && last.Name == op.Name && last.Host == op.Host && bytes.Equal(last.Args, op.Args) {
		return rp.acts[:n-1]
	}
	return rp.acts
}

// lastRetry is the newest operation when the step was last tried again: a clock
// may have been set back since, so times tell nothing.
func lastRetry(past journal.Step) (op int) {
	for _, l := range past.Logs {
		if l.Kind == runtime.StepRetried {
			op = max(op, l.After)
		}
	}
	return op
}

// replayed answers from what was done before.
func replayed(r *run, next runtime.Do) runtime.Do {
	return func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		t := taskOf(ctx)
		switch {
		case t.replay == nil || t.replay.live:
			return t.once(ctx, op, next)
		case op.Effect == runtime.Read:
			if past := t.replay.read(op); past != nil {
				return past.answer(ctx, op, next)
			}
			return next(ctx, op)
		}
		t.replay.skipUndone(op)
		past, err := t.replay.act(op)
		switch {
		case err != nil && !t.replay.lenient:
			return runtime.Result{}, err
		case past != nil:
			return past.answer(ctx, op, next)
		}
		if len(t.replay.cuts) == 0 || err != nil {
			t.replay.live = true
			return t.once(ctx, op, next)
		}
		cut := t.replay.cuts[0]
		t.replay.cuts = t.replay.cuts[1:]
		t.replay.live = len(t.replay.cuts) == 0
		return r.settle(ctx, op, cut, next)
	}
}

// A feat is something that a step did, and that no further attempt may repeat.
type feat struct {
	op  runtime.Op
	res runtime.Result
}

// once carries an operation out, unless an earlier attempt of the step has done
// the very same and it must not be repeated.
func (t *task) once(ctx context.Context, op runtime.Op, next runtime.Do) (runtime.Result, error) {
	if op.Effect < runtime.Change || op.Repeatable || t.retries() == 0 {
		return next(ctx, op)
	}
	if t.redone < len(t.feats) {
		f := t.feats[t.redone]
		if f.op.Name == op.Name && f.op.Host == op.Host && reflect.DeepEqual(f.op.Args, op.Args) {
			t.redone++
			return f.res, nil
		}
	}
	res, err := next(ctx, op)
	if errors.As(err, new(notStarted)) {
		return res, err
	}
	if err != nil {
		return res, unrepeatable{err}
	}
	if res.Value != nil {
		res.Value.Freeze() // a later attempt gets it too
	}
	t.feats = append(t.feats[:t.redone:t.redone], feat{op, res})
	t.redone++
	return res, nil
}

// unrepeatable is the failure of an operation that must not be carried out
// again of itself.
type unrepeatable struct{ error }

func (u unrepeatable) Unwrap() error { return u.error }

// read returns the next observation that is the same as op, or nil: what was
// not observed before is observed now.
func (rp *replay) read(op runtime.Op) *past {
	for i, was := range rp.reads {
		if same(was, op) == nil {
			rp.reads = rp.reads[i+1:]
			return &past{was}
		}
	}
	return nil
}

// act returns what the journal has for op, or nil where it has nothing more.
// Something else than op stops the resume: the plan's code, or what it looks
// at, is not what it was.
func (rp *replay) act(op runtime.Op) (*past, error) {
	if i := slices.IndexFunc(rp.feats, func(was journal.Op) bool { return same(was, op) == nil }); i >= 0 && !op.Repeatable {
		was := rp.feats[i]
		rp.feats = rp.feats[i+1:]
		return &past{was}, nil
	}
	if len(rp.acts) == 0 {
		if len(rp.cuts) > 0 {
			return nil, same(rp.cuts[0], op)
		}
		return nil, nil
	}
	was := rp.acts[0]
	if err := same(was, op); err != nil {
		return nil, err
	}
	rp.acts = rp.acts[1:]
	return &past{was}, nil
}

// skipUndone forgets what the failure of a later operation took back, if it began
// with op: up to where an earlier process began anew, or all of it.
func (rp *replay) skipUndone(op runtime.Op) {
	undoes := func(was journal.Op) bool { return was.Name == op.UndoneBy && was.Host == op.Host }
	for op.UndoneBy != "" && len(rp.acts) > 0 {
		i := slices.IndexFunc(rp.acts, undoes)
		switch {
		case i < 0 && rp.failed != nil && undoes(*rp.failed):
			rp.acts = nil
		case i < 0 || rp.acts[i].Status == runtime.OK || !rp.again(i+1, op):
			return
		default:
			rp.acts = rp.acts[i+1:]
		}
	}
}

// again says whether op comes next, after the first n acts.
func (rp *replay) again(n int, op runtime.Op) bool {
	if n < len(rp.acts) {
		return same(rp.acts[n], op) == nil
	}
	return len(rp.cuts) > 0 && same(rp.cuts[0], op) == nil
}

// same says whether op is the operation that the journal has.
func same(was journal.Op, op runtime.Op) error {
	args, err := runtime.ScrubArgs(op.Args)
	if err != nil {
		return err
	}
	if was.Name == op.Name && was.Host == op.Host && was.Effect == op.Effect.String() && bytes.Equal(was.Args, args) {
		return nil
	}
	return runtime.WithHint(fmt.Errorf("%w: the step does something else than before\nbefore: %s %s %s\nnow:    %s %s %s",
		runtime.ErrHeld, was.Name, was.Host, was.Args, op.Name, op.Host, args),
		"what was done is in infra log; a run from the start is infra run")
}

// pastFailure is how an operation ended before.
type pastFailure struct{ error }

// vain says whether the step ends with a failure from before, although the journal has
// something in flight: that was asked for ahead, and a kill kept its end from the journal.
func (rp *replay) vain(err error) bool {
	return rp != nil && len(rp.acts) == 0 && len(rp.cuts) > 0 && errors.As(err, new(pastFailure))
}

// A past is an operation that ended before.
type past struct{ journal.Op }

// answer is the result that the plan got then, or the failure that it caught.
// What the journal could not keep, since it holds a secret, is observed again;
// of a change it is not known.
func (p *past) answer(ctx context.Context, op runtime.Op, next runtime.Do) (runtime.Result, error) {
	switch {
	case p.Status == runtime.OK:
	case op.Effect == runtime.Read:
		return next(ctx, op)
	default:
		return runtime.Result{}, pastFailure{errors.New(p.Err)}
	}
	value, err := starlark.Value(starlark.None), error(nil)
	if p.Result != nil {
		value, err = runtime.Decode(p.Result)
	}
	switch {
	case err == nil:
		return runtime.Result{Value: value, Changed: p.Changed}, nil
	case op.Effect == runtime.Read:
		return next(ctx, op)
	}
	return runtime.Result{Value: notKnown(op), Changed: p.Changed}, nil
}

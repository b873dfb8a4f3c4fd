package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"

	"go.starlark.net/starlark"

	"infra/runtime"
	"infra/runtime/journal"
)

// A replay answers the operations of a step that an earlier process, or an
// earlier attempt, began: as they were answered then, and without carrying
// them out, until the first that had not ended well.
type replay struct {
	reads, acts []journal.Op // that ended, in order
	cut         *journal.Op  // what was in flight; nil where nothing was
	lenient     bool         // what differs from them is carried out, and all that follows
	live        bool         // past the last of them: from here on everything is carried out
}

// replayOf is the replay of a step in the journal. What acts counts over all
// its attempts, since none of it is ever repeated; what was observed, over the
// last.
func replayOf(past journal.Step, lenient bool) *replay {
	rp := &replay{lenient: lenient}
	for _, op := range past.Ops {
		read := op.Effect == runtime.Read.String()
		switch {
		case op.Status == journal.InFlight && !read:
			rp.cut = &op
		case op.Status == journal.InFlight:
		case !read:
			rp.acts = append(rp.acts, op)
		case op.Attempt == past.Attempts:
			rp.reads = append(rp.reads, op)
		}
	}
	if n := len(rp.acts); n > 0 && rp.cut == nil && rp.acts[n-1].Status != runtime.OK {
		rp.acts = rp.acts[:n-1] // why the step failed, or nearly: it is carried out again
	}
	return rp
}

// replayed answers from what was done before.
func replayed(r *run, next runtime.Do) runtime.Do {
	return func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		t := taskOf(ctx)
		if t.replay == nil || t.replay.live {
			return t.once(ctx, op, next)
		}
		past, err := t.replay.next(op)
		if err != nil && !t.replay.lenient {
			return runtime.Result{}, err
		}
		if past != nil {
			return past.answer(ctx, op, next)
		}
		t.replay.live = true
		if cut := t.replay.cut; cut != nil && err == nil && op.Effect != runtime.Read {
			return r.settle(ctx, op, *cut, next)
		}
		return t.once(ctx, op, next)
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
	if op.Effect < runtime.Change || op.Repeatable {
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

// next returns what the journal has for op, or nil where it has nothing more.
// Something else than op stops the resume: the plan's code, or what it looks
// at, is not what it was.
func (rp *replay) next(op runtime.Op) (*past, error) {
	queue := &rp.acts
	if op.Effect == runtime.Read {
		queue = &rp.reads
	}
	if len(*queue) == 0 {
		if rp.cut != nil && op.Effect != runtime.Read {
			return nil, same(*rp.cut, op)
		}
		return nil, nil
	}
	was := (*queue)[0]
	if err := same(was, op); err != nil {
		return nil, err
	}
	*queue = (*queue)[1:]
	return &past{was}, nil
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
		return runtime.Result{}, errors.New(p.Err)
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

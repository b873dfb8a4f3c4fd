package engine

import (
	"context"
	"fmt"
	"strings"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// foresee is what the door leads to in a dry run: what can be observed is, and
// everything else answers with what is known without it.
func foresee(ctx context.Context, op runtime.Op) (runtime.Result, error) {
	out := outputOf(ctx)
	o := out.run.obstacle(out.task, op)
	if o == nil {
		out.task.history.look(op)
	} else {
		out.note = o.note
	}
	if op.Assumes != "" && (o != nil || op.Effect != runtime.Read) {
		out.note = strings.TrimPrefix(out.note+"; "+op.Assumes, "; ")
	}
	if op.At != nil && op.At.Place != nil {
		out.note = strings.TrimPrefix(out.note+"; "+op.At.Place.String(), "; ")
	}
	if op.Effect == runtime.Read {
		return observe(ctx, op, o)
	}
	if op.Effect == runtime.Build && out.run.opts.Build && o == nil {
		res, err := op.Run(ctx, out)
		if res.Changed || err != nil {
			out.run.opts.Reads.Forget()
		}
		return res, err
	}
	p, err := prediction(ctx, op, o)
	if err != nil {
		return runtime.Result{}, err
	}
	if op.Once && op.Needs == nil && out.task.history.does(op) {
		out.note, p.Verdict, p.Detail = "done before", runtime.NoChange, ""
	}
	out.op.Prediction = &p
	if p.Verdict != runtime.NoChange {
		out.task.history.note(out.task, op)
		runtime.RaiseDoubt(ctx, foreseen(op))
	}
	return runtime.Result{Value: p.Value, Aside: p.Aside}, nil
}

// An obstacle is why a dry run cannot know what an operation will answer.
type obstacle struct {
	note  string // for people; "" where the arguments say it
	early bool   // it can be asked for a prediction, but too early to be believed
}

// obstacle returns nil where the operation can be answered.
func (r *run) obstacle(t *task, op runtime.Op) *obstacle {
	looks := op.Looks == nil || len(op.Looks) > 0
	switch {
	case op.Needs != nil:
		return &obstacle{}
	case r.opts.Offline && (looks && op.Host != "" || op.Beyond):
		return &obstacle{note: "offline"}
	case !t.history.alters(op):
		return nil
	case op.Effect == runtime.Read:
		return &obstacle{note: "after the change"}
	}
	return &obstacle{note: "before the change", early: true}
}

// observe carries a read out, unless its answer would be that of another time
// than the run's: a run may get another one, or none.
func observe(ctx context.Context, op runtime.Op, o *obstacle) (runtime.Result, error) {
	if o == nil {
		return outputOf(ctx).run.opts.Reads.Read(ctx, op)
	}
	runtime.RaiseDoubt(ctx, foreseen(op))
	return runtime.Result{Value: notKnown(op)}, nil
}

// prediction is what can be said of an operation that is not carried out.
func prediction(ctx context.Context, op runtime.Op, o *obstacle) (runtime.Prediction, error) {
	if op.Predict == nil {
		return runtime.Prediction{}, fmt.Errorf("it has no prediction, and a dry run does not guess")
	}
	if o == nil {
		return outputOf(ctx).run.opts.Reads.predict(ctx, op)
	}
	p := runtime.Prediction{Verdict: runtime.NotKnown, Value: notKnown(op)}
	if op.Effect == runtime.Destroy {
		p.Verdict = runtime.WillDestroy
	}
	if o.early {
		before, err := outputOf(ctx).run.opts.Reads.predict(ctx, op)
		if p.Aside = before.Aside; err == nil {
			p.Detail = before.Detail
		}
	}
	return p, nil
}

// notKnown is what the plan gets from an operation without an answer.
func notKnown(op runtime.Op) starlark.Value {
	if op.NotKnown == nil {
		return foreseen(op)
	}
	return op.NotKnown()
}

// foreseen is what an operation will answer in a run.
func foreseen(op runtime.Op) runtime.Unknown {
	return runtime.Unknown{Op: op.Name, Pos: op.Pos}
}

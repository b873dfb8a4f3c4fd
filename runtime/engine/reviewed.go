package engine

import (
	"context"
	"fmt"

	"infra/runtime"
	"infra/runtime/preview"
)

// expected is what a reviewed preview has for each task, in order; nil where
// nothing was reviewed and everything may run.
type expected map[instance][]preview.Operation

// An instance names a task: a step, and the host of its fan-out.
type instance struct{ step, host string }

func (t *task) instance() instance {
	at := instance{step: t.name()}
	if t.host != nil {
		at.host = t.host.Name
	}
	return at
}

// expect refuses a run with a step that was not reviewed: no step of it starts.
func (r *run) expect(tasks *tasks) error {
	if r.opts.Reviewed == nil {
		return nil
	}
	r.expected = expected{}
	for _, s := range r.opts.Reviewed.Steps {
		r.expected[instance{s.Name, s.Host}] = s.Operations
	}
	for _, g := range tasks.groups {
		for _, t := range g.tasks {
			if _, ok := r.expected[t.instance()]; !ok {
				return notReviewed("%w: the step %s is not in the preview", runtime.ErrHeld, t)
			}
		}
	}
	return nil
}

// reviewed lets an operation that does more than look through only where it is
// the next one of its step in the preview that was reviewed.
func reviewed(r *run, next runtime.Do) runtime.Do {
	return func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		if r.expected != nil && op.Effect != runtime.Read {
			err := r.review(taskOf(ctx), op)
			if err == nil {
				err = r.reload(ctx, taskOf(ctx), op)
			}
			if err != nil {
				return runtime.Result{}, scrubbed(err)
			}
		}
		return next(ctx, op)
	}
}

func (r *run) review(t *task, op runtime.Op) error {
	ops := r.expected[t.instance()]
	if t.reviewed == len(ops) {
		return notReviewed("%w: %s is not in the preview, which has nothing more for step %s", runtime.ErrHeld, preview.What(op), t)
	}
	if want := ops[t.reviewed]; !want.Allows(op) {
		return notReviewed("%w: %s is not what was reviewed, which is: %s", runtime.ErrHeld, preview.What(op), want.What())
	}
	t.reviewed++
	return nil
}

// complete refuses the end of a step that left out what was reviewed: what
// needs it must not go on as if that were done.
func (r *run) complete(t *task) error {
	if ops := r.expected[t.instance()]; t.check == nil && t.reviewed < len(ops) {
		return notReviewed("%w: step %s ended without what was reviewed: %s", runtime.ErrHeld, t, ops[t.reviewed].What())
	}
	return nil
}

func notReviewed(format string, args ...any) error {
	return runtime.WithHint(fmt.Errorf(format, args...),
		"what the steps look at is not what the preview saw: make a new one and have it reviewed")
}

// String is the task as people call it: "switch on blackphos".
func (t *task) String() string { return t.instance().String() }

func (i instance) String() string {
	if i.host == "" {
		return i.step
	}
	return i.step + " on " + i.host
}

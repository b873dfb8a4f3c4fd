package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"infra/runtime"
	"infra/runtime/journal"
)

// human is how an operation is carried out that only a person can do: they are asked
// whether they did. Its result is who says so, and when.
func (r *run) human(ctx context.Context, op runtime.Op) (runtime.Result, error) {
	t := taskOf(ctx)
	if !slices.Contains(r.opts.Did, t.name()) {
		if err := r.askDone(ctx, t, op); err != nil {
			return runtime.Result{}, err
		}
	}
	by := journal.Person()
	if r.opts.By != nil {
		by = r.opts.By(ctx)
	}
	said := starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{
		"by": starlark.String(by), "at": starlark.String(r.opts.now().UTC().Format(time.RFC3339)),
	})
	return runtime.Result{Value: said}, nil // of what they changed, if anything, nobody knows: it begins no soak anew
}

// askDone returns an error unless a person says that they did it. A run that is to
// stop does not wait for them.
func (r *run) askDone(ctx context.Context, t *task, op runtime.Op) error {
	if r.opts.Decide == nil {
		return runtime.WithHint(fmt.Errorf("%w: it waits for a person, and nobody is here to answer: %s", runtime.ErrHeld, flat(op.Show)),
			"do it, then say so: infra resume %s --did %s; or answer at a terminal", r.id, t.name())
	}
	type answer struct {
		yes bool
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		yes, err := r.opts.Decide(ctx, doneQuestion(t, op))
		answers <- answer{yes, err}
	}()
	select {
	case a := <-answers:
		if a.err == nil && !a.yes {
			a.err = runtime.WithHint(fmt.Errorf("%w: a person says that it is not done: %s", runtime.ErrHeld, flat(op.Show)), "infra resume %s asks again", r.id)
		}
		return a.err
	case <-r.stop.Done():
	case <-ctx.Done():
	}
	return fmt.Errorf("%w before a person said that it is done", runtime.ErrInterrupted)
}

// doneQuestion is what a person reads: all of what they do, and where.
func doneQuestion(t *task, op runtime.Op) string {
	where := "step " + t.name()
	if t.host != nil {
		where += " on " + t.host.Name
	}
	return runtime.Scrub(where + " is for a person:\n  " + strings.ReplaceAll(op.Show, "\n", "\n  ") + "\nDone?")
}

// flat is a text as one line.
func flat(text string) string { return strings.Join(strings.Fields(text), " ") }

// didKnown refuses to take what is no step of a person as done.
func didKnown(p *runtime.Plan, did []string) error {
	theirs := slices.DeleteFunc(slices.Clone(p.Steps), func(s *runtime.Step) bool { return s.Human == "" })
	if len(did) > 0 && len(theirs) == 0 {
		return fmt.Errorf("%w: the plan has no step for a person, and so no %q", ErrSelection, did[0])
	}
	return known("step for a person", did, theirs, func(s *runtime.Step) string { return s.Name })
}

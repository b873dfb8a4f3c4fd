package interp

import (
	"context"
	"errors"
	"fmt"
	"time"

	starlarktime "go.starlark.net/lib/time"
	"go.starlark.net/starlark"

	"infra/runtime"
)

// maxSteps bounds what one reading or one step may compute: some seconds
// of pure Starlark. It ends runaway loops, which nothing else would notice.
const maxSteps = 100_000_000

// previewSteps bounds the same for a preview, whose files take up to four steps
// where they take one in a run: what a run would reach, its preview does too.
const previewSteps = 4 * maxSteps

// newThread is the only place that makes a thread, because a Starlark thread
// inherits nothing: context, limits, printing and cancellation are set here.
// The thread ends when ctx ends, or stop where it is not nil.
func newThread(ctx, stop context.Context, name string, steps uint64) (*starlark.Thread, func()) {
	t := &starlark.Thread{Name: name}
	runtime.SetContext(t, ctx)
	t.SetMaxExecutionSteps(steps)
	t.OnMaxSteps = func(t *starlark.Thread) {
		t.Cancel(fmt.Sprintf("more than %d steps of computation: is there a loop without end?", maxSteps))
	}
	t.Print = func(t *starlark.Thread, msg string) { runtime.Print(ctx, msg) }
	starlarktime.SetNow(t, func() (time.Time, error) {
		if runtime.ReadingFrom(ctx) != nil {
			return time.Time{}, runtime.WithHint(errors.New("time.now looks at the clock, and reading a file must not"),
				"call it inside a step")
		}
		if err := runtime.AheadOf(ctx).Wait(); err != nil {
			return time.Time{}, err
		}
		return time.Now(), nil
	})
	if stop == nil {
		stop = ctx
	}
	end := func(c context.Context) func() bool {
		return context.AfterFunc(c, func() { t.Cancel(context.Cause(c).Error()) })
	}
	first, second := end(ctx), end(stop)
	return t, func() { first(); second() }
}

// Call runs a function of a plan. Builtins see ctx; the code between them ends
// when ctx ends or, sooner, when stop does. The error is a *[Failure].
func (f *File) Call(ctx, stop context.Context, name string, fn starlark.Callable, args starlark.Tuple) (starlark.Value, error) {
	thread, release := newThread(runtime.WithStatements(ctx, f.statement), stop, name, f.steps)
	defer release()
	v, err := runtime.CallBack(thread, fn, args)
	if err == nil {
		return v, nil
	}
	fail := failure(err, f.sources)
	for _, c := range []context.Context{ctx, stop} {
		if c.Err() != nil {
			fail.Err = errors.Join(context.Cause(c), fail.Err)
		}
	}
	fail.Pos = f.start(fail.Pos)
	return nil, fail
}

package core

import (
	"context"
	"errors"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

type attemptArgs struct {
	Fn starlark.Callable `arg:"fn" doc:"what may fail; it takes no arguments"`
}

func attemptSpec() call.Spec {
	return call.New(call.Spec{
		Name:  "attempt",
		Level: call.Anywhere,
		Doc: "Calls fn and catches its failure. Cancellation, a question nobody answered, a lock and a dry run's \"not known yet\" are never caught. " +
			"Where fn changes something, a dry run does not know whether that will succeed: ok, value and error are not known then.",
		Returns: "attempt", Fields: []call.Field{
			{Name: "ok", Type: "bool", Doc: "whether fn returned"},
			{Name: "value", Type: "value", Doc: "what fn returned, or None"},
			{Name: "error", Type: "string", Doc: "why it failed, or \"\""},
		},
		Example: `tried = attempt(lambda: fail("no"))
if not tried.ok:
    log(tried.error)`,
	}, attempt)
}

func attempt(c *call.Call, a attemptArgs) (starlark.Value, error) {
	if err := runtime.AheadOf(c.Context()).Wait(); err != nil {
		return nil, err // fn has not asked for it
	}
	var states alterations // of what fn could alter, wherever it may fail in a run
	ctx, doubt := runtime.WithDoubt(c.Context(), func() { states.add(captured(a.Fn)) })
	runtime.SetContext(c.Thread, ctx)
	v, err := runtime.CallBack(c.Thread, a.Fn, nil)
	runtime.SetContext(c.Thread, c.Context())
	if err != nil && (c.Context().Err() != nil || !catchable(err)) {
		return nil, err
	}
	if errors.Is(err, runtime.ErrUntold) { // also for a resume: what follows did not go ahead of it
		runtime.Print(c.Context(), "attempt goes on, although "+said(err))
	}
	foreseen := doubt.Raised()
	if foreseen != nil && states.add(captured(a.Fn)) {
		return nil, &runtime.NotKnownError{Field: "whether attempt's function comes to alter what it altered", Origin: *foreseen}
	}
	switch {
	case err == nil && foreseen == nil:
		return outcome(starlark.True, v, starlark.String("")), nil
	case err == nil:
		return outcome(foreseen.As(runtime.BoolShape), foreseen.As(nil), foreseen.As(runtime.StringShape)), nil
	case foreseen != nil: // it fails here, unless it fails before
		return outcome(starlark.False, starlark.None, foreseen.As(runtime.StringShape)), nil
	}
	return outcome(starlark.False, starlark.None, starlark.String(said(err))), nil
}

// said is the failure's text without the place, which the plan knows.
func said(err error) string {
	var eval *starlark.EvalError
	if errors.As(err, &eval) {
		return strings.TrimSpace(runtime.Scrub(eval.Msg))
	}
	return strings.TrimSpace(runtime.Scrub(err.Error()))
}

func catchable(err error) bool {
	var unknown *runtime.NotKnownError
	if errors.As(err, &unknown) {
		return false
	}
	for _, never := range []error{runtime.ErrInterrupted, runtime.ErrHeld, runtime.ErrLocked, context.Canceled} {
		if errors.Is(err, never) {
			return false
		}
	}
	return true
}

func outcome(ok, v, msg starlark.Value) starlark.Value {
	return runtime.NewRecord("attempt", runtime.Field{Name: "ok", Value: ok},
		runtime.Field{Name: "value", Value: v}, runtime.Field{Name: "error", Value: msg})
}

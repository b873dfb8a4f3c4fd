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
		Name:    "attempt",
		Level:   call.Anywhere,
		Doc:     "Calls fn and catches its failure. Cancellation, a question nobody answered, a lock and a dry run's \"not known yet\" are never caught.",
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
	v, err := starlark.Call(c.Thread, a.Fn, nil, nil)
	if err == nil {
		return outcome(true, v, ""), nil
	}
	if c.Context().Err() != nil || !catchable(err) {
		return nil, err
	}
	msg := err.Error()
	var eval *starlark.EvalError
	if errors.As(err, &eval) {
		msg = eval.Msg
	}
	return outcome(false, starlark.None, strings.TrimSpace(runtime.Scrub(msg))), nil
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

func outcome(ok bool, v starlark.Value, msg string) starlark.Value {
	return runtime.NewRecord("attempt", runtime.Field{Name: "ok", Value: starlark.Bool(ok)},
		runtime.Field{Name: "value", Value: v}, runtime.Field{Name: "error", Value: starlark.String(msg)})
}

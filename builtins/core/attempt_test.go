package core

import (
	"context"
	"errors"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/builtins/internal/call"
	"infra/runtime"
)

// TestAttemptDoesNotOutliveItsStep: what fails when the step's context has
// ended fails because of that, whatever it says.
func TestAttemptDoesNotOutliveItsStep(t *testing.T) {
	fails := starlark.NewBuiltin("fails", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		return nil, errors.New("the connection was closed")
	})
	for _, ended := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if ended {
			cancel()
		}
		thread := new(starlark.Thread)
		runtime.SetContext(thread, ctx)
		env := call.Modules(nil, Specs())
		env["fails"] = fails
		_, err := starlark.EvalOptions(&syntax.FileOptions{}, thread, "a.star", "attempt(fails)", env)
		if (err != nil) != ended {
			t.Errorf("with the context ended %v: %v", ended, err)
		}
	}
}

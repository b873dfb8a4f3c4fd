package core

import (
	"errors"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

type sayArgs struct {
	Message starlark.Value `arg:"message" doc:"what to say; secrets show as their names"`
}

func (a sayArgs) text() string {
	if s, ok := starlark.AsString(a.Message); ok {
		return s
	}
	return a.Message.String()
}

func failSpec() call.Spec {
	return call.New(call.Spec{
		Name:    "fail",
		Level:   call.Anywhere,
		Doc:     "Ends the step, or the reading of the file, with an error.",
		Example: `tried = attempt(lambda: fail("the disk is not empty"))`,
	}, func(_ *call.Call, a sayArgs) (starlark.Value, error) {
		return nil, errors.New(a.text())
	})
}

func logSpec() call.Spec {
	return call.New(call.Spec{
		Name:    "log",
		Level:   call.Anywhere,
		Doc:     "Says a line to who watches the run, and keeps it in the journal. print does the same.",
		Example: `log("the pool is healthy")`,
	}, func(c *call.Call, a sayArgs) (starlark.Value, error) {
		runtime.Print(c.Context(), a.text())
		return nil, nil
	})
}

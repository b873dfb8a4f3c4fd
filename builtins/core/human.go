package core

import (
	"context"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/builtins/internal/call"
	"infra/runtime"
)

// checkHuman reports what means nothing to a step that a person does.
func checkHuman(c *call.Call, a stepArgs) {
	if a.Name == "" {
		c.Report(`name = "..."`, "a step that a person does needs a name")
	}
	if strings.TrimSpace(a.Human) == "" {
		c.Report(`human = "Unplug the old disk"`, "human does not say what a person does")
	}
	if a.Fn != nil {
		c.Report("make it two steps, of which one needs the other", "a step is its function, or what a person does, not both")
	}
	for _, no := range []struct {
		given     bool
		name, why string
	}{
		{a.Confirm != "", "confirm", "it is asked whether it is done"},
		{a.Timeout != 0, "timeout", "a person takes the time that it takes"},
		{a.Retries != 0, "retries", "infra resume asks again"},
		{a.Reload, "reload", "infra watch --apply asks nobody"},
	} {
		if no.given {
			c.Report("leave "+no.name+" out: "+no.why, "%s means nothing to a step that a person does", no.name)
		}
	}
}

// A humanFn is the function of a step that a person does. Where it asks is where the
// step is declared, since no line of the plan calls it.
type humanFn struct {
	*starlark.Builtin
	pos syntax.Position
}

// Position is the step's.
func (h humanFn) Position() syntax.Position { return h.pos }

// human makes that function. It takes what any step's function gets, and returns None.
func human(c *call.Call, text string) starlark.Callable {
	ask := c.Method(call.New(call.Spec{Name: "human", Level: call.InStep, Effect: runtime.Change}, func(c *call.Call, _ struct{}) (starlark.Value, error) {
		_, err := c.Do(humanOp(text))
		return starlark.None, err
	}), starlark.None)
	fn := func(thread *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		return starlark.Call(thread, ask, nil, nil)
	}
	return humanFn{starlark.NewBuiltin("human", fn), c.Pos}
}

// humanOp is of no host, so that none has to be up for it. Nobody knows what it
// alters: a preview foresees what follows as if that were nothing.
func humanOp(text string) runtime.Op {
	none := func() starlark.Value { return starlark.None }
	return runtime.Op{
		Human: true, Show: text, Args: runtime.Args{"text": text}, Looks: runtime.Nothing, Alters: runtime.Nothing,
		Repeatable: true, NotKnown: none, // to be asked twice does no harm
		Predict: func(context.Context) (runtime.Prediction, error) {
			return runtime.Prediction{Verdict: runtime.WillChange, Value: none()}, nil
		},
	}
}

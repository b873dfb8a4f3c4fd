package call

import (
	"context"
	"io"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// ReadSecret asks for an operation whose answer, unless it is a plain string,
// stays out of its [runtime.Result]: a result's value may be journaled, and a
// secret has no form in which another process could go on from it. So what get
// returns goes to the plan beside it. Where the engine answers nothing at all,
// as for a resumed run, get is called after all: it only
// reads. What a preview answers instead of running it, the plan gets.
func (c *Call) ReadSecret(op runtime.Op, get func(context.Context, io.Writer) (starlark.Value, error)) (starlark.Value, error) {
	op.Alters = runtime.Nothing
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		v, err := get(ctx, log)
		if err != nil {
			return runtime.Result{}, err
		}
		if plain, ok := v.(starlark.String); ok {
			return runtime.Result{Value: plain}, nil
		}
		return runtime.Result{Aside: v}, nil
	}
	res, err := c.Read(op)
	switch {
	case err != nil:
		return nil, err
	case res.Value != nil && res.Value != starlark.None:
		return res.Value, nil
	}
	if got, ok := res.Aside.(starlark.Value); ok {
		return got, nil
	}
	return get(c.Context(), io.Discard)
}

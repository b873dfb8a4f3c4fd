package terraform

import (
	"context"
	"io"
	"maps"
	"slices"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	tool "infra/builtins/internal/terraform"
	"infra/runtime"
)

var outputSpec = call.Spec{
	Name:     "terraform.output",
	Receiver: "terraform.dir",
	Effect:   runtime.Read,
	Doc:      "Reads one output from the state, as the last apply left it. A sensitive one is a secret: its text, or else its JSON.",
	Returns:  "value",
	Example: example + `tf.apply(tf.plan())
note = tf.output("note")
`,
}

type outputArgs struct {
	Name string `arg:"name" doc:"the output's name"`
}

func oneOutput(c *call.Call, a outputArgs) (starlark.Value, error) {
	d := receiver(c)
	return d.observe(c, "output "+a.Name+" of "+d.shown, runtime.Args{"output": a.Name}, func(all map[string]tool.Output) (starlark.Value, bool, error) {
		o, there := all[a.Name]
		if !there {
			return nil, false, noSuchOutput(a.Name, slices.Sorted(maps.Keys(all)))
		}
		v, err := d.value(a.Name, o)
		return v, o.Sensitive, err
	}, nil)
}

var outputsSpec = call.Spec{
	Name:     "terraform.outputs",
	Receiver: "terraform.dir",
	Effect:   runtime.Read,
	Doc:      "Reads all outputs from the state, as the last apply left them. Sensitive ones are secrets.",
	Returns:  "dict",
	Example:  example + "for name, value in tf.outputs().items():\n    log(name)\n",
}

func outputs(c *call.Call, _ noArgs) (starlark.Value, error) {
	d := receiver(c)
	return d.observe(c, "output of "+d.shown, nil, func(all map[string]tool.Output) (starlark.Value, bool, error) {
		values, secrets, err := d.had(all)
		return values, len(secrets) > 0, err
	}, runtime.DictShape)
}

// observe asks the state, for what choose makes of its outputs: a value, and
// whether it holds secrets. The journal has no form for those, so that a
// resumed run asks the state again.
func (d *directory) observe(c *call.Call, show string, more runtime.Args, choose func(map[string]tool.Output) (starlark.Value, bool, error), shape *runtime.Shape) (starlark.Value, error) {
	var got starlark.Value
	op := d.op(show, more)
	op.Beyond = len(d.given.Backend) > 0
	unknown := c.Unknown().As(shape)
	op.NotKnown = func() starlark.Value { return unknown }
	look := func(ctx context.Context, log io.Writer) (v starlark.Value, secret bool, err error) {
		all, err := d.inState(ctx, log)
		if err != nil {
			return nil, false, err
		}
		return choose(all)
	}
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		v, secret, err := look(ctx, log)
		if err != nil {
			return runtime.Result{}, err
		}
		if got = v; secret {
			v = nil
		}
		return runtime.Result{Value: v}, nil
	}
	res, err := c.Read(op)
	switch {
	case err != nil:
		return nil, err
	case got != nil:
		return got, nil
	case res.Value != nil && res.Value != starlark.None:
		return res.Value, nil
	}
	v, _, err := look(c.Context(), io.Discard)
	return v, err
}

func (d *directory) inState(ctx context.Context, log io.Writer) (map[string]tool.Output, error) {
	w, err := d.work()
	if err != nil {
		return nil, err
	}
	return w.dir.Outputs(ctx, log)
}

// stateOutputs are the outputs that the state has now.
func (d *directory) stateOutputs(ctx context.Context, log io.Writer) (*starlark.Dict, []string, error) {
	all, err := d.inState(ctx, log)
	if err != nil {
		return nil, nil, err
	}
	return d.had(all)
}

package nix

import (
	"context"
	"fmt"
	"io"

	starlarkjson "go.starlark.net/lib/json"
	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

var evalSpec = call.Spec{
	Name:    "nix.eval",
	Effect:  runtime.Read,
	Doc:     "Evaluates an attribute of a flake to plain data: dicts, lists, strings, numbers, True, False and None.",
	Returns: "plain data",
	Example: `name = nix.eval(".#nixosConfigurations.cinnabar.config.networking.hostName")
log("the flake calls it " + name)
`,
}

type evalArgs struct {
	Installable string `arg:"installable" doc:"such as \".#nixosConfigurations.cinnabar.config.networking.hostName\""`
	Raw         bool   `arg:"raw,keyword" default:"False" doc:"the attribute is a string, a path or a derivation: take it as text"`
}

func (m module) eval(c *call.Call, a evalArgs) (starlark.Value, error) {
	installable, err := m.resolve(a.Installable)
	if err != nil {
		return nil, fmt.Errorf("nix.eval: %w", err)
	}
	form := "--json"
	if a.Raw {
		form = "--raw"
	}
	op := runtime.Op{Show: "nix eval " + form + " " + a.Installable, Alters: runtime.Nothing}
	op.Looks, op.Beyond = m.looks(installable)
	op.Flake = true
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		out, err := m.evaluated(ctx, log, installable, "eval", "--no-write-lock-file", form, installable)
		if err != nil {
			return runtime.Result{}, err
		}
		if a.Raw {
			return runtime.Result{Value: starlark.String(out.Stdout)}, nil
		}
		v, err := plainData(c, out.Stdout)
		return runtime.Result{Value: v}, err
	}
	return c.Value(op)
}

// plainData is what JSON says.
func plainData(c *call.Call, text string) (starlark.Value, error) {
	return starlark.Call(c.Thread, starlarkjson.Module.Members["decode"], starlark.Tuple{starlark.String(text)}, nil)
}

package nix

import (
	"context"
	"io"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

var diffSpec = call.Spec{
	Name:    "nix.diff",
	Effect:  runtime.Read,
	Doc:     "Says which packages two closures differ in, a line each: \"openssl: 3.0.13 -> 3.0.14\". It is empty for equal ones.",
	Returns: "string",
	Example: `system = nix.build(".#nixosConfigurations.cinnabar.config.system.build.toplevel")
older = nix.build(".#nixosConfigurations.cinnabar.config.system.build.toplevel")
log(nix.diff(older, system) or "the same system")
`,
}

type diffArgs struct {
	Old  *runtime.StorePath `arg:"old" doc:"the one to go from"`
	New  *runtime.StorePath `arg:"new" doc:"the one to go to"`
	Host *runtime.Host      `arg:"host" default:"" doc:"whose store holds both; the one here if not given"`
}

func (m module) diff(c *call.Call, a diffArgs) (starlark.Value, error) {
	op := runtime.Op{Host: hostName(a.Host), Show: "diff of " + a.Old.Path + " and " + a.New.Path, Looks: storeFiles, Alters: runtime.Nothing}
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		s := m.storeOf(a.Host, log)
		before, err := s.requisites(ctx, a.Old.Path)
		if err != nil {
			return runtime.Result{}, err
		}
		after, err := s.requisites(ctx, a.New.Path)
		if err != nil {
			return runtime.Result{}, err
		}
		return runtime.Result{Value: starlark.String(comparePackages(before, after).String())}, nil
	}
	return c.Value(op)
}

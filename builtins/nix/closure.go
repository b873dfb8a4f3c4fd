package nix

import (
	"context"
	"io"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

var closureSpec = call.Spec{
	Name:    "nix.closure",
	Effect:  runtime.Read,
	Doc:     "Lists what a path needs at run time, itself included, in the store here or on a host.",
	Returns: "closure",
	Fields: []call.Field{
		{Name: "paths", Type: "list of strings", Doc: "store paths; each follows what it needs"},
		{Name: "size", Type: "int", Doc: "what they take together, in bytes"},
	},
	Example: `running = ssh.facts(vps).current_system
if running:
    log("%d paths" % len(nix.closure(running, host = vps).paths))
`,
}

type closureArgs struct {
	Path *runtime.StorePath `arg:"path" doc:"what to ask about"`
	Host *runtime.Host      `arg:"host" default:"" doc:"whose store; the one here if not given"`
}

func (m module) closure(c *call.Call, a closureArgs) (starlark.Value, error) {
	op := runtime.Op{Host: hostName(a.Host), Show: "closure of " + a.Path.Path, Looks: storeFiles, Alters: runtime.Nothing}
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		s := m.storeOf(a.Host, log)
		found, err := s.closure(ctx, a.Path.Path)
		if err != nil {
			return runtime.Result{}, err
		}
		list := make([]starlark.Value, len(found.paths))
		for i, p := range found.paths {
			list[i] = starlark.String(p)
		}
		return runtime.Result{Value: runtime.NewRecord("closure",
			runtime.Field{Name: "paths", Value: starlark.NewList(list)},
			runtime.Field{Name: "size", Value: starlark.MakeInt64(found.size)})}, nil
	}
	return c.Value(op)
}

// hostName is a host's name in an operation, where "" is here.
func hostName(h *runtime.Host) string {
	if h == nil {
		return ""
	}
	return h.Name
}

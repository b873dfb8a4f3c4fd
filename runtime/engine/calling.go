package engine

import (
	"context"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/interp"
)

// Calling is a plan that infra itself makes, of one step: a call of one builtin with
// a host and other arguments. No file is behind it: it is journaled as name, such as
// "infra rollback cinnabar", and a process that resumes the run makes it again.
func Calling(name, title string, step *runtime.Step, host *runtime.Host, spec builtins.Spec, kwargs []starlark.Tuple, preview bool) *interp.File {
	s := *step
	fn := spec.Builtin(door)
	s.Each, s.OnFailure = []*runtime.Host{host}, runtime.StopOnFailure
	s.Fn = placeless{starlark.NewBuiltin(s.Name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		return starlark.Call(thread, fn, args, kwargs)
	})}
	plan := &runtime.Plan{Name: s.Name + " " + host.Name, Title: title, Phase: -1, Hosts: []*runtime.Host{host}, Steps: []*runtime.Step{&s}}
	return &interp.File{Path: name, Plan: plan, Preview: preview}
}

// placeless is a function of no file, so that what it asks for is at no place of one.
type placeless struct{ *starlark.Builtin }

// Position is none.
func (placeless) Position() syntax.Position { return syntax.Position{} }

// Hosts returns the hosts that a plan file declares, or any file of Starlark beside
// plans, with all that it loads.
func (e *Engine) Hosts(ctx context.Context, path string) ([]*runtime.Host, error) {
	return e.in.Hosts(ctx, path)
}

// Package clan is the plan language's module clan: the clan's inventory, its
// vars and its secrets, read by infra itself.
//
//	clan.inventory() -> dict
//	clan.machines(tags = []) -> list of hosts       # at the top level of a file too
//	clan.vars.list(machine) -> list of vars
//	clan.vars.get(machine, var) -> string, or secret
//	clan.vars.check(machines = None, decrypt = True) -> struct
//	clan.secret(name) -> secret
//
// What a clan declares comes from nix, one evaluation for all machines; what is
// there comes from the files under vars/ and sops/, without starting a process.
// Only the sops backend is read: others are refused.
package clan

import (
	"context"
	"io"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/sops"
	"infra/runtime"
)

// A Clan is what the module works with. The zero value will do where nothing
// is called.
type Clan struct {
	Root   string       // the project's root
	Flake  string       // what "." means in an installable; "" is Root
	Sealed *sops.Reader // decrypts

	// Eval evaluates an installable, given to a function in the Nix language
	// first unless apply is "", to JSON. Looks says what it observes for that.
	Eval  func(ctx context.Context, log io.Writer, installable, apply string) ([]byte, error)
	Looks func(installable string) (paths []string, beyond bool)
}

// Specs returns the module's functions.
func (cl Clan) Specs() []call.Spec {
	return []call.Spec{
		call.New(inventorySpec, cl.inventory),
		call.New(machinesSpec, cl.machines),
		call.New(listSpec, cl.list),
		call.New(getSpec, cl.get),
		call.New(checkSpec, cl.check),
		call.New(secretSpec, cl.secret),
	}
}

// read asks for an operation whose answer may be a secret, and then stays out
// of its [runtime.Result], which is journaled. Where the engine answers nothing
// and did not run the operation, as for a resumed run, get is called after all:
// it only reads. What a preview answers instead of running it, the plan gets.
func read(c *call.Call, op runtime.Op, get func(context.Context, io.Writer) (runtime.Text, error)) (starlark.Value, error) {
	var got starlark.Value
	op.Alters = runtime.Nothing
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		text, err := get(ctx, log)
		if err != nil {
			return runtime.Result{}, err
		}
		got = text.Value()
		if text.Secret() {
			return runtime.Result{}, nil
		}
		return runtime.Result{Value: got}, nil
	}
	res, err := c.Read(op)
	switch {
	case err != nil:
		return nil, err
	case res.Value != nil && res.Value != starlark.None:
		return res.Value, nil
	case got != nil:
		return got, nil
	}
	text, err := get(c.Context(), io.Discard)
	return text.Value(), err
}

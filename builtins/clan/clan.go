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

	"infra/builtins/internal/call"
	"infra/builtins/internal/sops"
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

// Package builtins is everything a plan can name, as one table.
package builtins

import (
	"maps"
	"slices"

	"go.starlark.net/lib/json"
	"go.starlark.net/lib/math"
	"go.starlark.net/lib/time"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"infra/builtins/clan"
	"infra/builtins/core"
	"infra/builtins/fs"
	"infra/builtins/http"
	"infra/builtins/internal/call"
	"infra/builtins/internal/sops"
	"infra/builtins/local"
	"infra/builtins/nix"
	"infra/builtins/secrets"
	"infra/builtins/ssh"
	"infra/builtins/terraform"
	"infra/runtime"
	"infra/runtime/remote"
)

// A Spec is everything there is to know about one builtin.
type Spec = call.Spec

// Nearest returns the name closest to a misspelt one, or "".
func Nearest(name string, names []string) string { return call.Nearest(name, names) }

// Deps are what the modules work with. None of them costs anything before it
// is used; the zero value will do where nothing is called.
type Deps struct {
	Root      string       // the project's root, which plain paths are relative to
	Flake     string       // what "." means in an installable; "" is Root
	SSHConfig string       // read by ssh instead of the user's own; "" is that
	Pool      *remote.Pool // the connections to hosts
	Turns     *nix.Turns   // of evaluations by nix; nil are those that memory and cores allow
	CopyRate  *remote.Rate // of all copies by nix to hosts together; nil is no bound
}

// All returns the whole language, module by module.
func All(d Deps) []Spec {
	sealed := sops.NewReader() // one for all, so that nobody is asked for a key twice
	flakes := nix.New(nix.Config{Pool: d.Pool, Flake: d.Flake, Root: d.Root, SSHConfig: d.SSHConfig, Turns: d.Turns, CopyRate: d.CopyRate})
	inventory := clan.Clan{Root: d.Root, Flake: d.Flake, Sealed: sealed, Eval: flakes.JSON, Looks: flakes.Looks}
	return slices.Concat(
		core.Specs(),
		flakes.Specs(),
		inventory.Specs(),
		inventory.Driving(d.Pool),
		ssh.Specs(d.Pool, d.Root),
		terraform.Specs(d.Root),
		secrets.Specs(d.Root, sealed),
		local.Specs(d.Root),
		fs.Specs(d.Root),
		http.Specs(),
	)
}

// Predeclared returns the names that a plan sees: the builtins of specs, whose
// operations go through do, and what comes with Starlark.
func Predeclared(specs []Spec, do runtime.Do) starlark.StringDict {
	env := call.Modules(do, specs)
	maps.Copy(env, starlark.StringDict{
		"struct": starlark.NewBuiltin("struct", starlarkstruct.Make),
		"json":   json.Module,
		"math":   math.Module,
		"time":   time.Module,
	})
	return env
}

// Package nix is the plan language's module nix: what is built here, copied to
// hosts and run there.
//
//	nix.eval(installable, raw = False) -> plain data
//	nix.build(installable) -> store_path
//	nix.closure(path, host = None) -> closure
//	nix.diff(old, new, host = None) -> string
//	nix.copy(path, to)
//	nix.generations(host) -> list of generation
//	nix.switch(host, system, confirm_within, checks, via, action, degraded) -> switch_result
//	nix.flake.check(flake, build, check) -> struct
//	nix.flake.show(flake) -> plain data
//	nix.flake.metadata(flake) -> plain data
//	nix.flake.update(flake, inputs) -> lock_updated
package nix

import (
	"io"

	"infra/builtins/internal/call"
	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

// A Config is what the module works with.
type Config struct {
	Pool      *remote.Pool // reaches hosts
	Flake     string       // what "." means in an installable; "" is Root
	Root      string       // of the project, where nix runs
	SSHConfig string       // the configuration file that the ssh that nix starts is told to use; "" is its own
	Turns     *Turns       // of evaluations; nil are those that memory and cores allow
	CopyRate  *remote.Rate // of all copies to hosts together; nil is no bound
}

// A Module is the functions of nix, and what other modules ask nix themselves.
type Module struct{ module }

// New makes the module. It starts and reads nothing.
func New(c Config) Module {
	if c.Flake == "" {
		c.Flake = c.Root
	}
	if c.Turns == nil {
		c.Turns = NewTurns(0, nil)
	}
	return Module{module{pool: c.Pool, flake: c.Flake, root: c.Root, sshConfig: c.SSHConfig, turns: c.Turns, snapshots: newSnapshots(), copyRate: c.CopyRate, groups: &groups{patience: groupPatience}}}
}

// A module is what every function of nix works with.
type module struct {
	pool      *remote.Pool
	flake     string // what "." means in an installable
	root      string // of the project, where nix runs
	sshConfig string // the configuration file that ssh is told to use; "" is its own
	turns     *Turns
	snapshots *snapshots
	copyRate  *remote.Rate // nil is no bound
	groups    *groups
}

// Specs returns the module's functions.
func (n Module) Specs() []call.Spec {
	m := n.module
	return []call.Spec{
		call.New(evalSpec, m.eval),
		call.New(buildSpec, m.build),
		call.New(closureSpec, m.closure),
		call.New(diffSpec, m.diff),
		call.New(copySpec, m.copy),
		call.New(generationsSpec, m.generations),
		call.New(switchSpec, m.switchTo),
		call.New(flakeCheckSpec, m.flakeCheck),
		call.New(flakeShowSpec, m.flakeShow),
		call.New(flakeMetadataSpec, m.flakeMetadata),
		call.New(flakeUpdateSpec, m.flakeUpdate),
	}
}

// here is the store of the machine infra runs on.
func (m module) here(log io.Writer) store { return store{remote.Run, "here", log} }

// storeOf is a host's store; without a host it is the one here.
func (m module) storeOf(h *runtime.Host, log io.Writer) store {
	if h == nil {
		return m.here(log)
	}
	return store{command.On(m.pool, h), "on " + h.Name, log}
}

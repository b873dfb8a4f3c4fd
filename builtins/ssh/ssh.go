// Package ssh is the plan language's module ssh: what a plan does on a host.
//
//	ssh.at(host, address, key = "", trust = "known", instance = "") -> host
//	ssh.run(host, command, reads = False, check = True, stdin = "", env = {}, sudo = False,
//	        timeout = "", cwd = "", assume = None) -> command_result
//	ssh.put(host, path, content = None, source = "", mode = "0644", owner = "", sudo = False) -> put_result
//	ssh.get(host, path, sudo = False, secret = False) -> string or secret
//	ssh.facts(host) -> host_facts
//	ssh.reachable(host, timeout = "10s") -> bool
//	ssh.wait(host, timeout = "5m", every = "2s")
//	ssh.reboot(host, timeout = "10m") -> reboot_result
package ssh

import (
	"infra/builtins/internal/call"
	"infra/runtime/remote"
)

// A module is what every function of ssh works with.
type module struct {
	pool *remote.Pool
	root string // of the project
	// sources are those of all that a run puts.
	sources *sources
}

// Specs returns the module's functions. They reach hosts through pool; local
// files are named from the project's root.
func Specs(pool *remote.Pool, root string) []call.Spec {
	m := module{pool, root, &sources{byPath: map[string]*sharedSource{}}}
	return []call.Spec{
		call.New(atSpec, m.at),
		call.New(runSpec, m.run),
		call.New(putSpec, m.put),
		call.New(getSpec, m.get),
		call.New(factsSpec, m.facts),
		call.New(reachableSpec, m.reachable),
		call.New(waitSpec, m.wait),
		call.New(rebootSpec, m.reboot),
	}
}

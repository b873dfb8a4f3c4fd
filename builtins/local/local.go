// Package local is the plan language's module local: commands on the machine
// infra runs on.
//
//	local.run(command, reads = False, check = True, stdin = "", env = {}, timeout = "", cwd = "",
//	          assume = None) -> command_result
package local

import (
	"infra/builtins/internal/call"
)

// A module is what every function of local works with.
type module struct {
	root string // of the project, where commands run
}

// Specs returns the module's functions for the project at root.
func Specs(root string) []call.Spec {
	m := module{root}
	return []call.Spec{
		call.New(runSpec, m.run),
	}
}

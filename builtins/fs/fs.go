// Package fs is the plan language's module fs: files of the machine infra runs
// on, named from the project's root or by absolute paths.
//
//	fs.read(path) -> string
//	fs.exists(path) -> bool
//	fs.glob(pattern) -> list of strings
//	fs.write(path, content, mode = "0644") -> write_result
package fs

import (
	"path/filepath"

	"infra/builtins/internal/call"
)

// A module is what every function of fs works with.
type module struct {
	root string // of the project
}

// Specs returns the module's functions for the project at root.
func Specs(root string) []call.Spec {
	m := module{root}
	return []call.Spec{
		call.New(readSpec, m.read),
		call.New(existsSpec, m.exists),
		call.New(globSpec, m.glob),
		call.New(writeSpec, m.write),
	}
}

// at is the path that a plan names.
func (m module) at(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(m.root, path)
}

package nix

import (
	"infra/builtins/internal/call"
	"infra/runtime/remote"
)

// Specs are the functions of a module made for one test.
func Specs(pool *remote.Pool, flake, root, sshConfig string) []call.Spec {
	return New(Config{Pool: pool, Flake: flake, Root: root, SSHConfig: sshConfig}).Specs()
}

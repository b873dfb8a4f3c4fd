// Package terraformtest finds terraform and tofu for tests.
package terraformtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Binary is the path of "terraform" or "tofu": the one on PATH, or the one that
// the lab keeps.
func Binary(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return kept(t, filepath.Join("bin", name))
}

// Config is the path of a TF_CLI_CONFIG_FILE with which the hcloud provider is
// found without a registry.
func Config(t testing.TB) string {
	t.Helper()
	return kept(t, "terraformrc")
}

// kept is a file that the lab keeps between runs.
func kept(t testing.TB, name string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, "infra-lab", name)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		t.Fatalf("%s is not there: go run ./examples/lab test sets it up", path)
	}
	return path
}

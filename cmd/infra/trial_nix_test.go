package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"infra/examples/lab/fleet"
)

// useNix gives hosts another nix than the one they come with, for tests of a
// client and a host whose versions differ: INFRA_TEST_NIX_HOST is the folder of
// its programs. It and the folder lib beside it come to the same place on the host,
// which must be one that a reboot does not empty. The client's nix is the first of PATH.
func useNix(t *testing.T, f *fleet.Fleet, hosts []string) {
	t.Helper()
	folder := os.Getenv("INFRA_TEST_NIX_HOST")
	if folder == "" {
		return
	}
	version, err := exec.CommandContext(t.Context(), filepath.Join(folder, "nix-store"), "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range hosts {
		if has, err := f.Exec(host, "nix-store", "--version"); err == nil && has == string(version) {
			continue // as where the folder is this machine's own
		}
		send := exec.CommandContext(t.Context(), "sh", "-c", `tar -C / -c "$3/bin" "$3/lib" | ssh -F "$1" "$2" 'tar -x -C / && ln -sf /'"$3"'/bin/nix* /usr/local/bin/'`,
			"sh", f.SSHConfig(), host, strings.TrimPrefix(filepath.Dir(folder), "/"))
		if out, err := send.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if got, err := f.Exec(host, "nix-store", "--version"); err != nil || got != string(version) {
			t.Fatalf("%s has %q, %v", host, got, err)
		}
	}
}

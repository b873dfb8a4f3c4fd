package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheFlakeParses is as much as can be said of flake.nix without nixpkgs.
func TestTheFlakeParses(t *testing.T) {
	if out, err := exec.Command("nix-instantiate", "--parse", "../../flake.nix").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestTheFlakesVendorHash compares the hash of the vendored modules, by which
// nix pins them, to that in flake.nix.
func TestTheFlakesVendorHash(t *testing.T) {
	t.Parallel()
	vendor := filepath.Join(t.TempDir(), "vendor")
	cmd := exec.Command("go", "mod", "vendor", "-o", vendor)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command("nix", "--extra-experimental-features", "nix-command", "hash", "path", "--sri", "--type", "sha256", vendor).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSpace(string(out))
	flake, err := os.ReadFile("../../flake.nix")
	if err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile(`vendorHash = "(.*)"`).FindStringSubmatch(string(flake))
	if got == nil || got[1] != want {
		t.Errorf("flake.nix has vendorHash %q; the modules of go.mod are %s", got, want)
	}
}

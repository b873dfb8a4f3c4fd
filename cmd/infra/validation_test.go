package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestValidation runs phase 0 on the fleet: what is required holds, what is
// optional is named, and each mistake fails the check that is for it.
func TestValidation(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "cinnabar").withClan()
	const plan = "plans/validation.star"
	tr.unchanged(func() {
		tr.plan(plan).want(t, 0, "check the flake evaluates | ok", "check inventory and fleet.star agree | ok", "check vars are sound | ok",
			"check every var is there | warned", "blackphos lacks user/password zerotier/identity zerotier/network-id", "check no slower than before | ok", "6 steps ok")
	})

	project := tr.fleet.Project()
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(project, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, tt := range []struct{ name, file, old, new, says string }{
		{"a system that does not evaluate", "flake.nix", `rosegold = darwin "rosegold";`, `rosegold = throw "no such module";`, "step \"evaluate rosegold\": nix.eval"},
		{"another name", "flake.nix", `argentum = darwin "argentum";`, `argentum = darwin "silver";`, "check clan's machines are the flake's | failed"},
		{"a machine that clan does not know", "clan.nix", `argentum = [ "mac" ];`, ``, "argentum is not in the inventory"},
		{"a machine of another class", "clan.nix", `name == "cinnabar" then "nixos"`, `name == "stibnite" then "nixos"`, "stibnite is nixos in the inventory"},
		{"a var that was tampered with", "vars/per-machine/cinnabar/zerotier/.validation-hash", "zerotier-1", "zerotier-0", "check vars are sound | failed"},
		{"a secret file that was tampered with", "secrets/stibnite.yaml", "ENC[AES256_GCM,data:", "ENC[AES256_GCM,data:AA", "check secrets are sound | failed"},
		{"nothing is documented", "docs/patterns.md", "", "", "check patterns documented | failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := tr.with(t)
			was := read(tt.file)
			defer tr.write(tt.file, was)
			if tt.old == "" {
				if err := os.Remove(filepath.Join(project, tt.file)); err != nil {
					t.Fatal(err)
				}
			} else if now := strings.Replace(was, tt.old, tt.new, 1); now != was {
				tr.write(tt.file, now)
			} else {
				t.Fatalf("%s has no %q", tt.file, tt.old)
			}
			tr.plan(plan).want(t, exitFailed, tt.says)
		})
	}
	t.Run("what is handed past the module system", func(t *testing.T) {
		tr := tr.with(t)
		was := read("clan.nix")
		defer tr.write("clan.nix", was)
		tr.write("clan.nix", was+"# specialArgs\n")
		tr.plan(plan).want(t, 0, "check no specialArgs | warned", "clan.nix (not required)")
	})
}

package interp

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"infra/runtime"
)

const clanFlake = `{ outputs = _: {
  clanInternals.inventoryClass.inventorySerialization.machines.mac = { machineClass = "darwin"; tags = [ "desk" ]; installedAt = 1; deploy.targetHost = "me@mac"; };
  darwinConfigurations.mac.config.nixpkgs.hostPlatform.system = "aarch64-darwin";
}; }`

const clanPlan = `
fleet = clan.machines(tags = ["desk"])
def step_one(host): pass
p = plan(hosts = fleet, steps = [step(step_one, each = fleet)])
`

// TestAnInventoryIsASource: a file may read the clan's machines, through no
// door; other machines are another plan, and what does not matter is not.
func TestAnInventoryIsASource(t *testing.T) {
	in := newInterp(t, map[string]string{"p.star": clanPlan, "flake.nix": clanFlake})
	read := func(flake string) (hosts, digest string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(in.root, "flake.nix"), []byte(flake), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := in.Preview(t.Context(), filepath.Join(in.root, "p.star"))
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range f.Plan.Hosts {
			hosts += h.Name + " " + h.System + " " + h.SSH + "\n"
		}
		sources := f.Sources()
		if len(sources) != 2 || sources[0].Path != `clan.machines {"tags":["desk"]}` || len(sources[0].SHA256) != 64 || sources[1].Path != "p.star" {
			t.Fatalf("sources %v", sources)
		}
		return hosts, sources[0].SHA256
	}
	hosts, before := read(clanFlake)
	if hosts != "mac aarch64-darwin me@mac\n" {
		t.Errorf("hosts %s", hosts)
	}
	if _, same := read(strings.Replace(clanFlake, "installedAt = 1", "installedAt = 2", 1)); same != before {
		t.Error("an hour of installation makes it another plan")
	}
	if _, other := read(strings.Replace(clanFlake, "me@mac", "me@mac2", 1)); other == before {
		t.Error("another address makes it no other plan")
	}
}

func TestAnInventoryThatCannotBeRead(t *testing.T) {
	for flake, want := range map[string]string{
		`{ outputs = _: { }; }`:                           "p.star:2:9: the flake has no clan",
		strings.Replace(clanFlake, `"desk"`, `"desc"`, 1): `p.star:2:9: no machine of the clan has the tag "desk"`,
	} {
		in := newInterp(t, map[string]string{"p.star": clanPlan, "flake.nix": flake})
		_, err := in.Read(t.Context(), filepath.Join(in.root, "p.star"))
		var problems runtime.Problems
		if !errors.As(err, &problems) || len(problems) != 1 || !strings.Contains(err.Error(), want) || problems[0].Hint == "" {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	in := newInterp(t, map[string]string{"p.star": `x = clan.vars.check()`})
	if _, err := in.Read(t.Context(), filepath.Join(in.root, "p.star")); err == nil || !strings.Contains(err.Error(), "clan.vars.check acts on the world") {
		t.Errorf("got %v", err)
	}
}

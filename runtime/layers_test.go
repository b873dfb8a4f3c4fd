package runtime_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// layers are the packages of infra from the bottom up. A package may import
// what stands on a line above its own, and nothing beside it.
var layers = []string{
	"runtime runtime/clock",
	"runtime/journal runtime/remote runtime/watch",
	"builtins/internal/call builtins/internal/sshdtest runtime/gates runtime/preview",
	"builtins/internal/calltest builtins/internal/command builtins/internal/file builtins/internal/sops/sopstest runtime/phases",
	"builtins/internal/clantest builtins/internal/sops builtins/internal/terraform builtins/internal/terraform/terraformtest",
	"builtins/clan builtins/core builtins/fs builtins/http builtins/local builtins/nix builtins/secrets builtins/ssh builtins/terraform",
	"builtins",
	"runtime/interp",
	"runtime/engine",
	"examples/lab/tools",
	"examples/lab/fleet",
	"cmd/infra examples/bench examples/bench/bare examples/bench/wire examples/lab examples/lab/clan examples/lab/hetzner",
}

func TestLayers(t *testing.T) {
	layer := map[string]int{}
	for i, line := range layers {
		for _, pkg := range strings.Fields(line) {
			layer["infra/"+pkg] = i
		}
	}
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "infra/...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	var seen []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg := fields[0]
		seen = append(seen, pkg)
		at, ok := layer[pkg]
		if !ok {
			t.Errorf("%s is in no layer: add it to the list where it belongs", pkg)
			continue
		}
		for _, imp := range fields[1:] {
			below, ours := layer[imp]
			if strings.HasPrefix(imp, "infra/") && (!ours || below >= at) {
				t.Errorf("%s imports %s, which is not below it", pkg, imp)
			}
		}
	}
	for pkg := range layer {
		if !slices.Contains(seen, pkg) {
			t.Errorf("%s is in the list of layers and not in the tree", pkg)
		}
	}
}

package clan

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	goruntime "runtime"
	"slices"
	"strings"

	"infra/builtins/internal/call"
	"infra/runtime"
)

// A wants is what one machine declares of vars.
type wants struct {
	SecretModule  string               `json:"secretModule"`
	DefaultGroups []string             `json:"defaultGroups"`
	Generators    map[string]generator `json:"generators"`
}

// A generator makes files.
type generator struct {
	Share          bool                `json:"share"`
	ValidationHash *string             `json:"validationHash"`
	Files          map[string]declared `json:"files"`
}

// A declared is one file of a generator.
type declared struct {
	Secret bool `json:"secret"`
	Deploy bool `json:"deploy"`
}

// allMachines are the machines' configurations. Under each system there are
// all of them, since clan builds their generators for where it runs.
const allMachines = ".#clanInternals.machines"

// wantsOf is what nix makes of them; %s is the system that we run on and the
// machines' names as a list, or null for all.
const wantsOf = `bySystem:
let
  names = %[2]s;
  all = bySystem.%[1]s or (builtins.foldl' (a: b: a // b) { } (builtins.attrValues bySystem));
  chosen = if names == null then all else builtins.intersectAttrs (builtins.listToAttrs (map (name: { inherit name; value = null; }) names)) all;
  file = f: { secret = f.secret or true; deploy = f.deploy or true; };
  generator = g: {
    share = g.share or false;
    validationHash = g.validationHash or null;
    files = builtins.mapAttrs (_: file) (g.files or { });
  };
  machine = m: {
    secretModule = m.config.clan.core.vars.settings.secretModule or "";
    defaultGroups = m.config.clan.core.sops.defaultGroups or [ ];
    generators = builtins.mapAttrs (_: generator) m.config.clan.core.vars.generators;
  };
in {
  machines = builtins.mapAttrs (_: machine) chosen;
  known = builtins.attrNames all;
}`

// wanted asks nix, once for all, what machines declare; no names are all machines.
func (cl Clan) wanted(ctx context.Context, log io.Writer, names []string) (map[string]wants, error) {
	out, err := cl.Eval(ctx, log, allMachines, fmt.Sprintf(wantsOf, nixString(hereSystem()), nixList(names)))
	if err != nil {
		return nil, fmt.Errorf("what the clan declares: %w", err)
	}
	return parseWanted(out, names)
}

// parseWanted reads what wantsOf prints, and refuses what infra does not read.
func parseWanted(data []byte, names []string) (map[string]wants, error) {
	var said struct {
		Machines map[string]wants `json:"machines"`
		Known    []string         `json:"known"`
	}
	if err := json.Unmarshal(data, &said); err != nil {
		return nil, fmt.Errorf("what the clan declares: nix printed something else: %w", err)
	}
	for _, name := range names {
		if _, ok := said.Machines[name]; !ok {
			return nil, noMachine(name, said.Known)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(said.Machines)) {
		m := said.Machines[name]
		if err := m.readable(name); err != nil {
			return nil, err
		}
		for generator, g := range m.Generators {
			for file := range g.Files {
				if !valid(generator) || !valid(file) {
					return nil, fmt.Errorf("machine %s declares the var %q, which is no name of a file", name, generator+"/"+file)
				}
			}
		}
	}
	return said.Machines, nil
}

func noMachine(name string, known []string) error {
	err := fmt.Errorf("the clan has no machine %s", name)
	if near := call.Nearest(name, known); near != "" {
		return runtime.WithHint(err, "did you mean %s?", near)
	}
	return runtime.WithHint(err, "it has %s", strings.Join(known, ", "))
}

// readable says whether infra reads the place where a machine's secrets are kept.
func (w wants) readable(machine string) error {
	backend := w.SecretModule[strings.LastIndexByte(w.SecretModule, '.')+1:]
	if backend == "" || backend == "sops" {
		return nil
	}
	return otherBackend("machine "+machine, backend)
}

func otherBackend(who, backend string) error {
	return runtime.WithHint(fmt.Errorf("%s keeps its secrets with the backend %s, which infra does not read", who, backend),
		"infra reads the sops backend only (clan.core.vars.settings.secretStore = \"sops\"); for this one use clan itself: clan vars get, clan vars check")
}

// hereSystem is the nix system that infra runs on.
func hereSystem() string {
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[goruntime.GOARCH]
	return arch + "-" + goruntime.GOOS
}

// nixList writes names in the Nix language; none are null.
func nixList(names []string) string {
	if len(names) == 0 {
		return "null"
	}
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = nixString(name)
	}
	return "[ " + strings.Join(quoted, " ") + " ]"
}

// nixString writes a string in the Nix language.
func nixString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`).Replace(s) + `"`
}

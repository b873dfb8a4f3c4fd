package clan

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	goruntime "runtime"
	"slices"
	"strings"

	"infra/builtins/internal/call"
	"infra/runtime"
)

// A flakeSays is what the flake says of the clan's machines, and of one
// machine's vars.
type flakeSays struct {
	Machines map[string]flakeMachine `json:"machines"`
	Vars     *flakeVars              `json:"vars"`
}

type flakeMachine struct {
	Class      string  `json:"class"` // "nixos" or "darwin"
	TargetHost *string `json:"targetHost"`
	BuildHost  *string `json:"buildHost"`
}

type flakeVars struct {
	Backend    string                    `json:"backend"`
	Generators map[string]flakeGenerator `json:"generators"`
}

type flakeGenerator struct {
	Share          bool                   `json:"share"`
	Dependencies   []string               `json:"dependencies"`
	ValidationHash *string                `json:"validationHash"`
	Prompts        map[string]flakePrompt `json:"prompts"`
	Files          map[string]flakeFile   `json:"files"`
}

type flakePrompt struct {
	Description string `json:"description"`
	Type        string `json:"type"` // "line", "hidden", "multiline" or "multiline-hidden"
	Persist     bool   `json:"persist"`
}

func (p flakePrompt) hidden() bool    { return strings.Contains(p.Type, "hidden") }
func (p flakePrompt) multiline() bool { return strings.HasPrefix(p.Type, "multiline") }

type flakeFile struct {
	Secret bool `json:"secret"`
}

// asksFlake is evaluated with what clan itself selects; the parts of it that
// not every version has have defaults.
const asksFlake = `c: let
  all = c.machines or { };
  of = all."%s" or (all.${builtins.head (builtins.attrNames all)} or { });
  known = c.inventoryClass.inventorySerialization.machines or (builtins.mapAttrs (_: _: { }) of);
  vars = of."%s".config.clan.core.vars;
in {
  machines = builtins.mapAttrs (_: m: {
    class = m.machineClass or "nixos";
    targetHost = (m.deploy or { }).targetHost or null;
    buildHost = (m.deploy or { }).buildHost or null;
  }) known;
  vars = if !(of ? "%s") then null else {
    backend = (vars.settings or { }).secretModule or "";
    generators = builtins.mapAttrs (_: g: {
      share = g.share or false;
      dependencies = g.dependencies or [ ];
      validationHash = g.validationHash or null;
      prompts = builtins.mapAttrs (name: p: {
        description = p.description or name;
        type = p.type or "line";
        persist = p.persist or false;
      }) (g.prompts or { });
      files = builtins.mapAttrs (_: f: { secret = f.secret or true; }) g.files;
    }) vars.generators;
  };
}`

// machineName is what clan takes for one; nothing else comes into an
// expression or a path.
var machineName = regexp.MustCompile(`^[a-zA-Z0-9_]([a-zA-Z0-9_.-]*[a-zA-Z0-9_])?$`)

// say asks the flake of one machine, which has to be one of the clan's.
func (d driver) say(ctx context.Context, machine string) (flakeSays, error) {
	var f flakeSays
	if !machineName.MatchString(machine) {
		return f, fmt.Errorf("%q cannot be a machine's name in a clan", machine)
	}
	out, err := d.Eval(ctx, io.Discard, ".#clanInternals", fmt.Sprintf(asksFlake, nixSystem(), machine, machine))
	if err != nil {
		return f, fmt.Errorf("asking the flake for its clan: %w", err)
	}
	if err := json.Unmarshal(out, &f); err != nil {
		return f, fmt.Errorf("what the flake says of its clan cannot be read: %w", err)
	}
	names := slices.Sorted(maps.Keys(f.Machines))
	if _, ok := f.Machines[machine]; ok {
		return f, nil
	}
	err = fmt.Errorf("the clan has no machine %s", machine)
	if near := call.Nearest(machine, names); near != "" {
		return f, runtime.WithHint(err, "did you mean %s?", near)
	}
	return f, runtime.WithHint(err, "there are: %s", strings.Join(names, ", "))
}

// vars is say for what needs the machine's vars.
func (d driver) vars(ctx context.Context, machine string) (*flakeVars, error) {
	f, err := d.say(ctx, machine)
	switch {
	case err != nil:
		return nil, err
	case f.Vars == nil:
		return nil, fmt.Errorf("the flake has no configuration for machine %s", machine)
	case f.Vars.Backend != "" && !strings.HasSuffix(f.Vars.Backend, ".sops") && f.Vars.Backend != "sops":
		return nil, fmt.Errorf("the vars of %s are kept by %s, and only those in sops files are driven", machine, f.Vars.Backend)
	}
	return f.Vars, f.Vars.check()
}

// check refuses names that would lead out of the folder of vars.
func (v flakeVars) check() error {
	for g, of := range v.Generators {
		for _, name := range append(slices.Collect(maps.Keys(of.Files)), g) {
			if !valid(name) {
				return fmt.Errorf("%q cannot be the name of a generator or of its file", name)
			}
		}
	}
	return nil
}

// nixSystem is the machine infra runs on, as nix calls it.
func nixSystem() string {
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[goruntime.GOARCH]
	return arch + "-" + goruntime.GOOS
}

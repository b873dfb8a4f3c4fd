package clan

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

var machinesSpec = call.Spec{
	Name:   "clan.machines",
	Level:  call.Input,
	Effect: runtime.Read,
	Doc: "Makes hosts of the machines in the clan's inventory, sorted by name. " +
		"A host is reached as deploy.targetHost says, with its options, or else as clan.core.networking.targetHost of the machine's configuration says; without either ssh is asked for the machine's name. " +
		"Its system is what the machine's configuration has as nixpkgs.hostPlatform. " +
		"At the top level of a file it is a source of the plan: a preview or a run that was begun with other machines is not gone on with.",
	Returns: "list of hosts",
	Fields: []call.Field{
		{Name: "name", Type: "string", Doc: "the machine's name"}, {Name: "system", Type: "string", Doc: "the nix system"}, {Name: "ssh", Type: "string", Doc: "what ssh reaches"},
		{Name: "kind", Type: "string", Doc: "\"nixos\" or \"darwin\""}, {Name: "tags", Type: "tuple of strings", Doc: "those of the inventory"},
	},
	Example: `for mac in clan.machines(tags = ["darwin"]):
    log("%s is reached at %s" % (mac.name, mac.ssh))
`,
}

type machinesArgs struct {
	Tags []string `arg:"tags" default:"" doc:"only machines that have all of these tags"`
}

func (cl Clan) machines(c *call.Call, a machinesArgs) (starlark.Value, error) {
	op := runtime.Op{Show: "the clan's machines", Alters: runtime.Nothing}
	if len(a.Tags) > 0 {
		op.Show = "the clan's machines with the tags " + strings.Join(a.Tags, ", ")
	}
	op.Looks, op.Beyond = cl.looksAtFlake(serialized)
	op.Flake = true
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		hosts, err := cl.hosts(ctx, log, a.Tags)
		if err != nil {
			return runtime.Result{}, err
		}
		values := make([]starlark.Value, len(hosts))
		for i, h := range hosts {
			values[i] = h
		}
		return runtime.Result{Value: starlark.NewList(values)}, nil
	}
	return c.Value(op)
}

// A machine is one of the inventory.
type machine struct {
	name   string
	Class  string   `json:"machineClass"`
	Tags   []string `json:"tags"`
	Deploy struct {
		TargetHost *string `json:"targetHost"`
	} `json:"deploy"`
}

// configured is what only a machine's configuration knows.
type configured struct {
	System     *string `json:"system"`
	TargetHost *string `json:"targetHost"`
}

// hosts are the machines that have all of the tags.
func (cl Clan) hosts(ctx context.Context, log io.Writer, tags []string) ([]*runtime.Host, error) {
	data, err := cl.evalInventory(ctx, log)
	if err != nil {
		return nil, err
	}
	all, err := parseMachines(data)
	if err != nil {
		return nil, err
	}
	chosen, err := tagged(all, tags)
	if err != nil {
		return nil, err
	}
	configs := map[string]configured{}
	for class, output := range map[string]string{runtime.NixOS: ".#nixosConfigurations", runtime.Darwin: ".#darwinConfigurations"} {
		more, err := cl.configured(ctx, log, output, ofClass(chosen, class))
		if err != nil {
			return nil, err
		}
		maps.Copy(configs, more)
	}
	hosts := make([]*runtime.Host, len(chosen))
	for i, m := range chosen {
		if hosts[i], err = m.host(configs[m.name]); err != nil {
			return nil, err
		}
	}
	return hosts, nil
}

// parseMachines reads the machines of an inventory, sorted by name.
func parseMachines(inventory []byte) ([]machine, error) {
	var said struct {
		Machines map[string]machine `json:"machines"`
	}
	if err := json.Unmarshal(inventory, &said); err != nil {
		return nil, fmt.Errorf("the clan's inventory: nix printed something else: %w", err)
	}
	var all []machine
	for _, name := range slices.Sorted(maps.Keys(said.Machines)) {
		m := said.Machines[name]
		m.name, m.Class = name, cmp.Or(m.Class, runtime.NixOS)
		if !valid(name) || strings.ContainsAny(name, " \t") || strings.HasPrefix(name, "-") {
			return nil, fmt.Errorf("the clan's inventory: %q is no name for a host", name)
		}
		if m.Class != runtime.NixOS && m.Class != runtime.Darwin {
			return nil, fmt.Errorf("machine %s has the class %q; infra knows nixos and darwin", name, m.Class)
		}
		all = append(all, m)
	}
	return all, nil
}

// automatic are the tags that clan gives by itself. Older ones do not write
// them into the inventory.
func (m machine) automatic() []string { return []string{"all", m.Class} }

func (m machine) has(tag string) bool {
	return slices.Contains(m.Tags, tag) || slices.Contains(m.automatic(), tag)
}

// tagged are the machines that have all of tags. A tag that no machine has is
// most likely misspelt.
func tagged(all []machine, tags []string) ([]machine, error) {
	known := []string{"all", runtime.NixOS, runtime.Darwin}
	for _, m := range all {
		known = append(known, m.Tags...)
	}
	slices.Sort(known)
	known = slices.Compact(known)
	for _, tag := range tags {
		if slices.Contains(known, tag) {
			continue
		}
		err := fmt.Errorf("no machine of the clan has the tag %q", tag)
		if near := call.Nearest(tag, known); near != "" {
			return nil, runtime.WithHint(err, "did you mean %q?", near)
		}
		return nil, runtime.WithHint(err, "there are %s", strings.Join(known, ", "))
	}
	return slices.DeleteFunc(all, func(m machine) bool {
		return slices.ContainsFunc(tags, func(tag string) bool { return !m.has(tag) })
	}), nil
}

func ofClass(all []machine, class string) []string {
	var names []string
	for _, m := range all {
		if m.Class == class {
			names = append(names, m.name)
		}
	}
	return names
}

// configuredAs asks configurations for what they say of named machines. A
// platform that is not set in one way is in another.
const configuredAs = `all:
let
  try = value: or_: let t = builtins.tryEval value; in if t.success && t.value != null then t.value else or_;
  system = m:
    try (m.config.nixpkgs.hostPlatform.system or null)
      (try (m.pkgs.stdenv.hostPlatform.system or null)
        (try (m.config.system.build.toplevel.system or null) null));
  one = m: {
    system = system m;
    targetHost = try (m.config.clan.core.networking.targetHost or null) null;
  };
  names = builtins.filter (name: all ? ${name}) %s;
in builtins.listToAttrs (map (name: { inherit name; value = one all.${name}; }) names)`

// configured asks the configurations of one of the flake's outputs, all at once.
func (cl Clan) configured(ctx context.Context, log io.Writer, output string, names []string) (map[string]configured, error) {
	if len(names) == 0 {
		return nil, nil
	}
	data, err := cl.Eval(ctx, log, output, fmt.Sprintf(configuredAs, nixList(names)))
	if err != nil {
		return nil, fmt.Errorf("the systems of the clan's machines: %w", err)
	}
	var configs map[string]configured
	if err := json.Unmarshal(data, &configs); err != nil {
		return nil, fmt.Errorf("the systems of the clan's machines: nix printed something else: %w", err)
	}
	return configs, nil
}

// host makes a host of a machine.
func (m machine) host(c configured) (*runtime.Host, error) {
	h := &runtime.Host{Name: m.name, SSH: m.name, Tags: m.Tags}
	for _, tag := range m.automatic() {
		if !slices.Contains(h.Tags, tag) {
			h.Tags = append(h.Tags, tag)
		}
	}
	slices.Sort(h.Tags)
	if c.System == nil {
		return nil, runtime.WithHint(fmt.Errorf("the system of machine %s is not known: %sConfigurations.%s of the flake does not say it", m.name, m.Class, m.name),
			"the flake hands on clan.config.%[1]sConfigurations, and the machine sets nixpkgs.hostPlatform", m.Class)
	}
	if h.System = *c.System; h.Kind() != m.Class {
		return nil, fmt.Errorf("machine %s has the class %s and the system %s", m.name, m.Class, h.System)
	}
	for _, target := range []*string{m.Deploy.TargetHost, c.TargetHost} {
		if target == nil || *target == "" {
			continue
		}
		ssh, err := parseTarget(*target)
		if err != nil {
			return nil, fmt.Errorf("machine %s: %w", m.name, err)
		}
		h.SSH = ssh
		break
	}
	return h, nil
}

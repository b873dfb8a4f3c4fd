package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// A clan is the flake that --flake names.
type clan struct {
	dir      string
	machines map[string]machine
}

type machine struct {
	Class         string               `json:"class"`
	DefaultGroups []string             `json:"defaultGroups"`
	Generators    map[string]generator `json:"generators"`
}

type generator struct {
	Share          bool              `json:"share"`
	Dependencies   []string          `json:"dependencies"`
	ValidationHash *string           `json:"validationHash"`
	Prompts        map[string]prompt `json:"prompts"`
	Files          map[string]file   `json:"files"`
	Script         string            `json:"script"`
}

type prompt struct {
	Description string `json:"description"`
	Type        string `json:"type"`
	Persist     bool   `json:"persist"`
}

type file struct {
	Secret bool `json:"secret"`
	Deploy bool `json:"deploy"`
}

// selects is what clan selects of a flake, in one evaluation.
const selects = `c: builtins.mapAttrs (name: m: {
  class = c.inventoryClass.inventorySerialization.machines.${name}.machineClass or "nixos";
  defaultGroups = m.config.clan.core.sops.defaultGroups or [ ];
  generators = builtins.mapAttrs (_: g: {
    share = g.share or false;
    dependencies = g.dependencies or [ ];
    validationHash = g.validationHash or null;
    script = g.finalScript;
    prompts = builtins.mapAttrs (name: p: {
      description = p.description or name;
      type = p.type or "line";
      persist = p.persist or false;
    }) (g.prompts or { });
    files = builtins.mapAttrs (_: f: { secret = f.secret or true; deploy = f.deploy or true; }) g.files;
  }) (m.config.clan.core.vars.generators or { });
}) (c.machines."%s" or { })`

// open evaluates the flake of a call: --flake, else $CLAN_DIR, else the folder
// at or above this one that has a flake.
func open(c call) (*clan, error) {
	dir := c.one("--flake")
	if dir == "" {
		dir = os.Getenv("CLAN_DIR")
	}
	for d, _ := os.Getwd(); dir == "" && d != "/"; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "flake.nix")); err == nil {
			dir = d
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	out, err := nix("eval", "--no-write-lock-file", "--json", dir+"#clanInternals", "--apply", fmt.Sprintf(selects, arch+"-"+runtime.GOOS))
	if err != nil {
		return nil, err
	}
	cl := &clan{dir: dir}
	return cl, json.Unmarshal(out, &cl.machines)
}

// machine finds one by its name.
func (cl *clan) machine(name string) (machine, error) {
	m, ok := cl.machines[name]
	if !ok {
		return m, says("Machine %s not found in inventory. Available: %s", name, strings.Join(slices.Sorted(maps.Keys(cl.machines)), ", "))
	}
	return m, nil
}

func nix(args ...string) ([]byte, error) {
	return output(exec.Command("nix", append([]string{"--extra-experimental-features", "nix-command flakes", "--no-warn-dirty"}, args...)...))
}

func output(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("command failed: %s: %w\n%s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

func listMachines(c call) error {
	cl, err := open(c)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(cl.machines)) {
		fmt.Println(name)
	}
	return nil
}

// commit commits files in the middle of a command, as clan does. With
// CLAN_NO_COMMIT it only makes them known to git, so that nix sees them.
func (cl *clan) commit(files []string, message string) error {
	if len(files) == 0 {
		return nil
	}
	if _, err := os.Stat(filepath.Join(cl.dir, ".git")); err != nil {
		return nil
	}
	git := func(args ...string) error {
		_, err := output(exec.Command("git", append([]string{"-C", cl.dir}, args...)...))
		return err
	}
	if os.Getenv("CLAN_NO_COMMIT") != "" {
		return git(append([]string{"add", "--intent-to-add", "--"}, files...)...)
	}
	if err := git(append([]string{"add", "--"}, files...)...); err != nil {
		return err
	}
	if git(append([]string{"diff", "--cached", "--quiet", "--"}, files...)...) == nil {
		return nil
	}
	return git(append([]string{"commit", "-q", "--no-verify", "-m", message, "--"}, files...)...)
}

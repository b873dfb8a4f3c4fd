// Package clantest makes clan repositories for tests, in the layout in which
// clan keeps them: real keys, real sops files, links and validation hashes, and
// a flake that nix evaluates offline.
package clantest

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"filippo.io/age"

	"infra/builtins/internal/sops/sopstest"
)

// A Repo is a clan's repository.
type Repo struct {
	Dir      string
	Declared map[string]*Machine            // what nix says of vars, by machine
	Keys     map[string]*age.X25519Identity // private keys, by "users/alice", "machines/cinnabar"
	Groups   map[string][]string            // members, by group: "users/alice"
	Values   map[string]string              // plain values, by the var's folder
	Inv      map[string]map[string]any      // the inventory's machines
	t        testing.TB
	borrowed bool // the files are those of others too: what is changed is put back when the test ends
}

// A Machine is what one machine declares of vars, as infra asks nix for it.
type Machine struct {
	SecretModule  string               `json:"secretModule"`
	DefaultGroups []string             `json:"defaultGroups"`
	Generators    map[string]Generator `json:"generators"`
}

// A Generator makes files.
type Generator struct {
	Share          bool            `json:"share"`
	ValidationHash *string         `json:"validationHash"`
	Files          map[string]File `json:"files"`
}

// A File is one var.
type File struct {
	Secret bool `json:"secret"`
	Deploy bool `json:"deploy"`
}

// A Var is one value to be written.
type Var struct {
	Machine   string // "" is shared
	Generator string
	File      string
	Value     string
	Secret    bool
	Users     []string // who is linked to a secret
	Machines  []string
	Groups    []string
	Hash      string // the generator's validation hash; "" is none
}

// Dir is the var's folder in the repository.
func (v Var) Dir() string {
	if v.Machine == "" {
		return filepath.Join("vars", "shared", v.Generator, v.File)
	}
	return filepath.Join("vars", "per-machine", v.Machine, v.Generator, v.File)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Empty makes a repository with nothing in it.
func Empty(t testing.TB) *Repo {
	t.Helper()
	return &Repo{Dir: t.TempDir(), Declared: map[string]*Machine{}, Keys: map[string]*age.X25519Identity{},
		Groups: map[string][]string{}, Values: map[string]string{}, Inv: map[string]map[string]any{}, t: t}
}

// Write makes a file and the folders above it.
func (r *Repo) Write(name, text string) {
	r.t.Helper()
	path := r.change(name)
	must(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(r.t, os.WriteFile(path, []byte(text), 0o644))
}

// Read returns a file's content.
func (r *Repo) Read(name string) string {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.Dir, name))
	must(r.t, err)
	return string(data)
}

// Link makes a link, as clan writes it: relative.
func (r *Repo) Link(name, to string) {
	r.t.Helper()
	path := r.change(name)
	must(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
	target, err := filepath.Rel(filepath.Dir(path), filepath.Join(r.Dir, to))
	must(r.t, err)
	must(r.t, os.Symlink(target, path))
}

// AddHolder makes a key for "users/alice" or "machines/cinnabar".
func (r *Repo) AddHolder(who string) {
	r.t.Helper()
	id := sopstest.NewKey(r.t)
	r.Keys[who] = id
	key := []map[string]string{{"publickey": id.Recipient().String(), "type": "age"}}
	text, err := json.MarshalIndent(key, "", "  ")
	must(r.t, err)
	r.Write(filepath.Join("sops", who, "key.json"), string(text))
}

// AddGroup makes a group of "users/alice" and "machines/cinnabar".
func (r *Repo) AddGroup(name string, members ...string) {
	r.t.Helper()
	r.Groups[name] = members
	for _, m := range members {
		r.Link(filepath.Join("sops", "groups", name, m), filepath.Join("sops", m))
	}
}

// AddMachine puts a machine into the inventory, with a key.
func (r *Repo) AddMachine(name, class string, tags []string, target string) {
	r.t.Helper()
	r.AddHolder("machines/" + name)
	deploy := map[string]any{"targetHost": nil, "buildHost": nil}
	if target != "" {
		deploy["targetHost"] = target
	}
	r.Inv[name] = map[string]any{"name": name, "machineClass": class, "tags": tags, "deploy": deploy, "description": nil, "installedAt": nil}
	r.Declared[name] = &Machine{SecretModule: "clan_cli.vars.secret_modules.sops", DefaultGroups: []string{}, Generators: map[string]Generator{}}
}

// Recipients are the public keys of "users/alice", sorted, each once.
func (r *Repo) Recipients(who ...string) []string {
	r.t.Helper()
	keys := map[string]bool{}
	for _, w := range who {
		id := r.Keys[w]
		if id == nil {
			r.t.Fatalf("%s has no key", w)
		}
		keys[id.Recipient().String()] = true
	}
	return slices.Sorted(maps.Keys(keys))
}

// For are all whom a var is for.
func (r *Repo) For(v Var) []string {
	var who []string
	for _, u := range v.Users {
		who = append(who, "users/"+u)
	}
	for _, m := range v.Machines {
		who = append(who, "machines/"+m)
	}
	for _, g := range v.Groups {
		who = append(who, r.Groups[g]...)
	}
	return who
}

// Seal encrypts a value as clan does, in the binary store.
func (r *Repo) Seal(value string, recipients ...string) string {
	r.t.Helper()
	return string(sopstest.Seal(r.t, "secret", value, recipients...).Bytes(r.t))
}

// AddVar writes a var, and does not declare it.
func (r *Repo) AddVar(v Var) {
	r.t.Helper()
	r.Values[v.Dir()] = v.Value
	if v.Hash != "" {
		r.Write(filepath.Join(filepath.Dir(v.Dir()), ".validation-hash"), v.Hash)
	}
	if !v.Secret {
		r.Write(filepath.Join(v.Dir(), "value"), v.Value)
		return
	}
	r.Write(filepath.Join(v.Dir(), "secret"), r.Seal(v.Value, r.Recipients(r.For(v)...)...))
	for kind, names := range map[string][]string{"users": v.Users, "machines": v.Machines, "groups": v.Groups} {
		for _, name := range names {
			r.Link(filepath.Join(v.Dir(), kind, name), filepath.Join("sops", kind, name))
		}
	}
}

// AddSecret writes what clan secrets set would, for some users.
func (r *Repo) AddSecret(name, value string, who ...string) {
	r.t.Helper()
	dir := filepath.Join("sops", "secrets", name)
	r.Values[dir] = value
	var readers []string
	for _, u := range who {
		readers = append(readers, "users/"+u)
		r.Link(filepath.Join(dir, "users", u), filepath.Join("sops", "users", u))
	}
	r.Write(filepath.Join(dir, "secret"), r.Seal(value, r.Recipients(readers...)...))
}

// WantedJSON is what nix would answer about vars.
func (r *Repo) WantedJSON() []byte {
	r.t.Helper()
	data, err := json.Marshal(map[string]any{"machines": r.Declared, "known": slices.Sorted(maps.Keys(r.Declared))})
	must(r.t, err)
	return data
}

// WriteFlake writes flake.nix, which evaluates to what was added.
func (r *Repo) WriteFlake() {
	r.t.Helper()
	data, err := json.MarshalIndent(map[string]any{"machines": r.Inv, "vars": r.Declared}, "", "  ")
	must(r.t, err)
	r.Write("clan.json", string(data))
	r.Write("flake.nix", flake)
}

// flake has the outputs of a clan's flake that infra reads. As with clan, all
// machines stand under each system.
const flake = `{
  description = "A clan without nixpkgs";
  outputs = { self }:
    let
      clan = builtins.fromJSON (builtins.readFile ./clan.json);
      systemOf = m: if m.machineClass == "darwin" then "aarch64-darwin" else "x86_64-linux";
      configuration = name: m: {
        config = {
          nixpkgs.hostPlatform.system = systemOf m;
          clan.core.networking.targetHost = m.deploy.targetHost;
          clan.core.sops.defaultGroups = clan.vars.${name}.defaultGroups;
          clan.core.vars.settings.secretModule = clan.vars.${name}.secretModule;
          clan.core.vars.generators = builtins.mapAttrs (_: g: g // { dependencies = [ ]; prompts = { }; }) clan.vars.${name}.generators;
        };
      };
      all = builtins.mapAttrs configuration clan.machines;
      ofClass = class: builtins.listToAttrs (builtins.concatMap
        (name: if clan.machines.${name}.machineClass == class then [ { inherit name; value = all.${name}; } ] else [ ])
        (builtins.attrNames clan.machines));
    in {
      nixosConfigurations = ofClass "nixos";
      darwinConfigurations = ofClass "darwin";
      clanInternals = {
        inventoryClass.inventorySerialization = {
          inherit (clan) machines;
          meta = { name = "lab"; description = null; icon = null; };
          instances = { };
          tags = { };
        };
        machines = builtins.listToAttrs (map (name: { inherit name; value = all; }) [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ]);
      };
    };
}
`

// New makes a clan of 5 machines, one of them a Mac, 3 users, 2 groups and 120
// vars, 90 of them secret. alice can decrypt all of them; her key is the one in
// the environment, and there is no other.
//
// It is made once in a process, and lent; [CleanUp] removes it.
func New(t testing.TB) *Repo {
	t.Helper()
	sopstest.Lonely(t)
	if whole == nil {
		dir, err := os.MkdirTemp("", "infra-clan-")
		must(t, err)
		whole = Empty(t)
		whole.Dir = dir
		whole.fill()
	}
	t.Setenv("SOPS_AGE_KEY", whole.Keys["users/alice"].String())
	return whole.Borrow(t)
}

var whole *Repo

// CleanUp removes what [New] made. It is for a TestMain.
func CleanUp() {
	if whole != nil {
		_ = os.RemoveAll(whole.Dir)
	}
}

func (r *Repo) fill() {
	r.t.Helper()
	for _, user := range []string{"alice", "bob", "carol"} {
		r.AddHolder("users/" + user)
	}
	r.AddMachine("cinnabar", "nixos", []string{"vps", "all"}, "root@cinnabar.example.org")
	r.AddMachine("electrum", "nixos", []string{"vps", "backup"}, "ssh://admin@[fd00::5]:2222?ConnectTimeout=7")
	r.AddMachine("gallium", "nixos", []string{}, "")
	r.AddMachine("argentum", "nixos", []string{"desk"}, "argentum:22")
	r.AddMachine("blackphos", "darwin", []string{"desk", "mac"}, "crs@blackphos")
	r.AddGroup("admins", "users/alice", "users/bob")
	r.AddGroup("backup", "users/carol", "machines/electrum")
	for name := range r.Inv {
		r.Declared[name].DefaultGroups = []string{"admins"}
	}
	names := slices.Sorted(maps.Keys(r.Inv))
	for g := range 5 {
		for _, m := range names {
			r.generator(m, fmt.Sprintf("gen%d", g), g, []string{m})
		}
		r.generator("", fmt.Sprintf("shared%d", g), g, names)
	}
	r.Write("sops/groups/.gitkeep", "")
	r.Link("sops/machines/electrum/electrum", "sops/machines/electrum/electrum") // a stray link, as seen in the wild
	r.AddSecret("hcloud-token", "the-token-of-hcloud", "alice", "bob")
	r.WriteFlake()
}

// generator declares and writes four vars, one of them public and one not deployed.
func (r *Repo) generator(machine, name string, n int, of []string) {
	r.t.Helper()
	var hash *string
	text := ""
	if n%2 == 0 {
		text = fmt.Sprintf("hash-of-%s", name)
		hash = &text
	}
	files := map[string]File{}
	for i := range 4 {
		v := Var{Machine: machine, Generator: name, File: fmt.Sprintf("file%d", i), Secret: i > 0, Hash: text, Groups: []string{"admins"}}
		v.Value = fmt.Sprintf("value of %s\n", v.Dir())
		deploy := i < 3
		if deploy {
			v.Machines = of
		}
		if i == 2 {
			v.Users, v.Groups = []string{"carol"}, []string{"admins", "backup"}
		}
		files[v.File] = File{Secret: v.Secret, Deploy: deploy}
		r.AddVar(v)
	}
	for _, m := range of {
		r.Declared[m].Generators[name] = Generator{Share: machine == "", ValidationHash: hash, Files: files}
	}
}

// Borrow is the same repository for a test that damages it: what it changes by
// way of the functions here is put back when it ends. No two may do so at once.
func (r *Repo) Borrow(t testing.TB) *Repo {
	c := *r
	c.t, c.borrowed = t, true
	c.Keys, c.Groups, c.Values, c.Inv = maps.Clone(r.Keys), maps.Clone(r.Groups), maps.Clone(r.Values), maps.Clone(r.Inv)
	c.Declared = map[string]*Machine{}
	for name, m := range r.Declared {
		own := *m
		own.Generators = maps.Clone(m.Generators)
		c.Declared[name] = &own
	}
	return &c
}

// change is the path of what is about to be made anew. Where that is borrowed,
// what there is is put aside until the test ends.
func (r *Repo) change(name string) string {
	r.t.Helper()
	path := filepath.Join(r.Dir, name)
	if !r.borrowed {
		return path
	}
	at := path // or the highest folder above it that is not there yet
	for !there(filepath.Dir(at)) {
		at = filepath.Dir(at)
	}
	if !there(at) {
		r.t.Cleanup(func() { must(r.t, os.RemoveAll(at)) })
		return path
	}
	aside := filepath.Join(r.t.TempDir(), "was")
	must(r.t, os.Rename(at, aside))
	r.t.Cleanup(func() {
		must(r.t, os.RemoveAll(at))
		must(r.t, os.Rename(aside, at))
	})
	return path
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Remove takes a file or a folder away.
func (r *Repo) Remove(name string) {
	r.t.Helper()
	must(r.t, os.RemoveAll(r.change(name)))
}

// PointTo replaces a file by a link with exactly this target.
func (r *Repo) PointTo(name, target string) {
	r.t.Helper()
	r.Remove(name)
	must(r.t, os.Symlink(target, filepath.Join(r.Dir, name)))
}

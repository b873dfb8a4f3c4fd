package clan_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"infra/builtins/clan"
	"infra/builtins/internal/calltest"
	"infra/builtins/internal/clantest"
	"infra/builtins/internal/sops"
	"infra/builtins/internal/sops/sopstest"
	"infra/builtins/nix"
	"infra/runtime"
)

// A reader is a clan with real files and the real nix.
func reader(r *clantest.Repo) clan.Clan {
	nix := nix.New(nix.Config{Root: r.Dir})
	return clan.Clan{Root: r.Dir, Sealed: sops.NewReader(), Eval: nix.JSON, Looks: nix.Looks}
}

func door() *calltest.Door {
	return &calltest.Door{Names: starlark.StringDict{
		"mac":     &runtime.Host{Name: "blackphos", System: "aarch64-darwin"},
		"vps":     &runtime.Host{Name: "cinnabar", System: "x86_64-linux"},
		"nobody":  &runtime.Host{Name: "blackfos"},
		"outside": &runtime.Host{Name: "../../sops"},
	}}
}

func TestSpecsAreComplete(t *testing.T) { calltest.Complete(t, clan.Clan{}.Specs()) }

func TestInventory(t *testing.T) {
	r := clantest.New(t)
	d := door()
	got := d.Must(t, reader(r).Specs(), `
inv = clan.inventory()
x = [sorted(inv.keys()), inv["meta"]["name"], inv["machines"]["blackphos"]["machineClass"], inv["machines"]["cinnabar"]["deploy"]["targetHost"]]
`)["x"].String()
	want := `[["instances", "machines", "meta", "tags"], "lab", "darwin", "root@cinnabar.example.org"]`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if d.Last(t) != `read clan.inventory here | the clan's inventory | {}` {
		t.Error(d.Last(t))
	}
}

// TestInventoryAsDocumented: older clans, and other flakes, have it in another place.
func TestInventoryAsDocumented(t *testing.T) {
	r := clantest.Empty(t)
	r.Write("flake.nix", `{ outputs = _: { clan.inventory.machines.a.tags = [ "x" ]; }; }`)
	got := door().Must(t, reader(r).Specs(), `x = clan.inventory()["machines"]["a"]["tags"]`)["x"].String()
	if got != `["x"]` {
		t.Errorf("got %s", got)
	}
	r.Write("flake.nix", `{ outputs = _: { packages.x = 1; }; }`)
	_, err := door().Run(t, reader(r).Specs(), `clan.inventory()`)
	sopstest.CheckError(t, err, "the flake has no clan", "clanInternals")
	r.Write("flake.nix", `{ outputs = _: { clanInternals = throw "broken on purpose"; clan.inventory = { }; }; }`)
	_, err = door().Run(t, reader(r).Specs(), `clan.inventory()`)
	sopstest.CheckError(t, err, "broken on purpose", "")
}

func TestMachines(t *testing.T) {
	r := clantest.New(t)
	for code, want := range map[string]string{
		`[(h.name, h.system, h.kind, h.ssh) for h in clan.machines()]`: `[("argentum", "x86_64-linux", "nixos", "ssh://root@argentum:22"), ` +
			`("blackphos", "aarch64-darwin", "darwin", "crs@blackphos"), ("cinnabar", "x86_64-linux", "nixos", "root@cinnabar.example.org"), ` +
			`("electrum", "x86_64-linux", "nixos", "ssh://admin@[fd00::5]:2222?ConnectTimeout=7"), ("gallium", "x86_64-linux", "nixos", "gallium")]`,
		`[h.tags for h in clan.machines(["mac"])]`:           `[("all", "darwin", "desk", "mac")]`,
		`[h.name for h in clan.machines(tags = ["darwin"])]`: `["blackphos"]`,
		`[h.name for h in clan.machines(["desk", "nixos"])]`: `["argentum"]`,
		`[h.name for h in clan.machines(["mac", "vps"])]`:    `[]`,
		`len(clan.machines(["all"]))`:                        `5`,
	} {
		if got := door().Must(t, reader(r).Specs(), "x = "+code)["x"].String(); got != want {
			t.Errorf("%s\n got %s\nwant %s", code, got, want)
		}
	}
	_, err := door().Run(t, reader(r).Specs(), `clan.machines(["vpss"])`)
	sopstest.CheckError(t, err, `no machine of the clan has the tag "vpss"`, `did you mean "vps"?`)
}

// TestSystems: a machine's system is found in either of the ways that nixpkgs
// has for it, and where there is none that is an error.
func TestSystems(t *testing.T) {
	r := clantest.Empty(t)
	flake := func(config string) {
		r.Write("flake.nix", `{ outputs = _: {
			clanInternals.inventoryClass.inventorySerialization.machines.a = { machineClass = "nixos"; };
			nixosConfigurations.a = `+config+`; }; }`)
	}
	for config, want := range map[string]string{
		`{ config.nixpkgs.hostPlatform.system = "aarch64-linux"; }`:                                                         "aarch64-linux",
		`{ config.nixpkgs.hostPlatform = throw "used but not defined"; pkgs.stdenv.hostPlatform.system = "x86_64-linux"; }`: "x86_64-linux",
		`{ config.system.build.toplevel.system = "x86_64-linux"; }`:                                                         "x86_64-linux",
		`{ config.clan.core.networking.targetHost = "me@host"; config.nixpkgs.hostPlatform.system = "x86_64-linux"; }`:      "me@host",
		`{ config.nixpkgs.hostPlatform.system = "aarch64-darwin"; }`:                                                        "machine a has the class nixos and the system aarch64-darwin",
		`{ }`: "the system of machine a is not known",
		`{ config.nixpkgs.hostPlatform.system = abort "no tryEval catches"; }`: "no tryEval catches",
	} {
		flake(config)
		globals, err := door().Run(t, reader(r).Specs(), `x = [h.system + " " + h.ssh for h in clan.machines()]`)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = globals["x"].String()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", config, got, want)
		}
	}
}

func TestGet(t *testing.T) {
	r := clantest.New(t)
	r.AddVar(clantest.Var{Machine: "blackphos", Generator: "bin", File: "f", Secret: true, Value: "a\x00b\xff\n", Users: []string{"alice"}})
	r.AddVar(clantest.Var{Machine: "blackphos", Generator: "bin", File: "p", Value: "a\x00b\xff\n"})
	for code, want := range map[string]string{
		`clan.vars.get(mac, "gen0/file0")`:    `"value of vars/per-machine/blackphos/gen0/file0\n"`,
		`clan.vars.get(mac, "shared3/file0")`: `"value of vars/shared/shared3/file0\n"`,
		`clan.vars.get(mac, "bin/p")`:         `"a\x00b\xff\n"`,
		`clan.vars.get(mac, "gen0/file1")`:    `‹secret vars/per-machine/blackphos/gen0/file1›`,
		`clan.vars.get(vps, "shared3/file2")`: `‹secret vars/shared/shared3/file2›`,
		`clan.secret("hcloud-token")`:         `‹secret sops/secrets/hcloud-token›`,
		`clan.vars.get(mac, "bin/f")`:         `‹secret vars/per-machine/blackphos/bin/f›`,
	} {
		d := door()
		v := d.Must(t, reader(r).Specs(), "x = "+code)["x"]
		if v.String() != want {
			t.Errorf("%s = %s, want %s", code, v, want)
		}
		s, secret := v.(*runtime.Secret)
		if !secret {
			continue
		}
		if plain := r.Values[s.Name()]; s.Reveal() != plain || plain == "" {
			t.Errorf("%s reveals %q, want %q", code, s.Reveal(), plain)
		}
		if d.Results[0].Value != nil {
			t.Errorf("%s: the journal would see %s", code, d.Results[0].Value)
		}
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	whole := clantest.New(t)
	nothing := func(*clantest.Repo) {}
	for _, tt := range []struct {
		name, code string
		before     func(*clantest.Repo)
		want, hint string
	}{
		{"no such var", `clan.vars.get(mac, "gen0/fil1")`, nothing, "machine blackphos has no var gen0/fil1", "did you mean gen0/file1?"},
		{"no such generator", `clan.vars.get(mac, "zerotier/identity")`, nothing, "has no var zerotier/identity", "clan.vars.generate"},
		{"no var", `clan.vars.get(mac, "gen0")`, nothing, `"gen0" is no name of a var`, ""},
		{"a path", `clan.vars.get(mac, "../x")`, nothing, `"../x" is no name of a var`, ""},
		{"a longer path", `clan.vars.get(mac, "gen0/../../x")`, nothing, "is no name of a var", ""},
		{"a machine that is a path", `clan.vars.get(outside, "users/alice")`, nothing, "is no name of a machine", ""},
		{"no such secret", `clan.secret("hcloud-tokn")`, nothing, "the clan has no secret hcloud-tokn", "did you mean hcloud-token?"},
		{"a secret that is a path", `clan.secret("../users")`, nothing, "is no name of a secret", ""},
		{"the age backend", `clan.vars.get(mac, "a/b")`, func(r *clantest.Repo) { r.Write("secrets/clan-vars/x", "") }, "with the backend age", "sops backend only"},
		{"an unknown machine", `clan.vars.list(nobody)`, nothing, "the clan has no machine blackfos", "did you mean blackphos?"},
		{"a machine that nobody checks", `clan.vars.check([mac, nobody])`, nothing, "the clan has no machine blackfos", "did you mean blackphos?"},
		{"another backend", `clan.vars.check()`, func(r *clantest.Repo) {
			r.Write("clan.json", strings.ReplaceAll(r.Read("clan.json"), "secret_modules.sops", "secret_modules.password_store"))
		}, "machine argentum keeps its secrets with the backend password_store", "clan vars get"},
		{"a link to /etc", `clan.vars.get(mac, "gen0/file0")`, func(r *clantest.Repo) {
			r.PointTo("vars/per-machine/blackphos/gen0/file0/value", "/etc/passwd")
		}, "leads out of the repository", ""},
		{"a link to itself", `clan.vars.get(mac, "gen0/file1")`, func(r *clantest.Repo) {
			r.PointTo("vars/per-machine/blackphos/gen0/file1/secret", "secret")
		}, "in a circle", ""},
		{"a changed secret", `clan.vars.get(mac, "gen0/file1")`, func(r *clantest.Repo) {
			name := "vars/per-machine/blackphos/gen0/file1/secret"
			r.Write(name, strings.Replace(r.Read(name), `"lastmodified": "2`, `"lastmodified": "3`, 1))
		}, "was changed after it was encrypted", "git log"},
		{"a secret for others", `clan.secret("theirs")`, func(r *clantest.Repo) { r.AddSecret("theirs", "value-for-bob", "bob") },
			"no key here can decrypt sops/secrets/theirs/secret", "SOPS_AGE_KEY_FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := whole.Borrow(t)
			tt.before(r)
			_, err := door().Run(t, reader(r).Specs(), tt.code)
			sopstest.CheckError(t, err, tt.want, tt.hint)
			sopstest.CheckQuiet(t, err, "value of vars", "value-for-bob")
		})
	}
}

func TestFlakeElsewhere(t *testing.T) {
	r := clantest.New(t)
	cl := reader(r)
	cl.Root = t.TempDir()
	for flake, want := range map[string]string{
		r.Dir: "", "path:" + r.Dir: "", "git+file://" + r.Dir: "", "github:me/infra": "are not on this machine",
		"path:" + filepath.Dir(r.Dir) + "?dir=" + filepath.Base(r.Dir): "",
	} {
		cl.Flake = flake
		_, err := door().Run(t, cl.Specs(), `clan.vars.get(mac, "gen0/file0")`)
		if err != nil && want == "" || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", flake, err, want)
		}
	}
}

func TestList(t *testing.T) {
	r := clantest.New(t)
	r.Remove("vars/per-machine/blackphos/gen0/file1")
	r.AddVar(clantest.Var{Machine: "blackphos", Generator: "old", File: "left", Secret: true, Value: "x", Users: []string{"alice"}})
	got := door().Must(t, reader(r).Specs(), `
vars = clan.vars.list(mac)
x = [len(vars), len([v for v in vars if v.secret]), len([v for v in vars if v.shared]), len([v for v in vars if not v.deployed]),
     [v.generator + "/" + v.file for v in vars if not v.exists], [v.generator + "/" + v.file for v in vars if not v.declared]]
`)["x"].String()
	if want := `[41, 31, 20, 11, ["gen0/file1"], ["old/left"]]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCheck(t *testing.T) {
	r := clantest.New(t)
	const code = `
c = clan.vars.check(%)
x = [c.ok, c.detail, [(p.kind, p.machine, p.generator, p.file, p.path) for p in c.problems], c.unopened]
`
	check := func(args, want string) {
		t.Helper()
		got := door().Must(t, reader(r).Specs(), strings.Replace(code, "%", args, 1))["x"].String()
		if got != want {
			t.Errorf("%s: got %s, want %s", args, got, want)
		}
	}
	good := `[True, "", [], 0]`
	check("", good)
	r.Remove("vars/per-machine/blackphos/gen0/file1")
	const lost = "vars/per-machine/blackphos/gen0/file1/secret"
	bad := `[False, "blackphos gen0/file1: missing: ` + lost + ` is not there", [("missing", "blackphos", "gen0", "file1", "` + lost + `")], 0]`
	check("", bad)
	check("mac", bad)
	check("[vps, mac]", bad)
	check("vps", good)
	const flipped = "vars/per-machine/cinnabar/gen0/file1/secret"
	r.Write(flipped, strings.Replace(r.Read(flipped), `"lastmodified": "2`, `"lastmodified": "3`, 1))
	check("vps, decrypt = False", good)
	if got := door().Must(t, reader(r).Specs(), "x = clan.vars.check(vps).problems[0].kind")["x"].String(); got != `"damaged"` {
		t.Errorf("got %s", got)
	}
}

// TestLooks: what a value is made of is looked at, and nothing else of the project.
func TestLooks(t *testing.T) {
	r := clantest.New(t)
	home := os.Getenv("HOME")
	real, err := filepath.EvalSymlinks(r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for code, meets := range map[string]map[string]bool{
		`clan.vars.get(mac, "gen0/file1")`: {real + "/vars": true, real + "/vars/per-machine/blackphos/gen0/file1/secret": true,
			real + "/vars/per-machine/blackphos/gen0/file0/value": false, real + "/docs": false, home + "/.ssh/id_ed25519": true},
		`clan.secret("hcloud-token")`: {real + "/sops/secrets/hcloud-token/secret": true, real + "/sops/users": false, home + "/.config/sops/age/keys.txt": true},
		`clan.vars.check(mac)`:        {real + "/flake.nix": true, real + "/vars/x": true, home + "/.ssh/id_rsa": true, "/srv": false},
		`clan.vars.list(mac)`:         {real + "/flake.nix": true, real + "/vars/x": true, "/srv": false},
		`clan.machines()`:             {real + "/flake.nix": true, "/srv": false},
		`clan.inventory()`:            {real + "/inventory.json": true, "/srv": false},
	} {
		d := door()
		d.Must(t, reader(r).Specs(), code)
		op := d.Ops[0]
		for path, want := range meets {
			if got := calltest.Meets(op.Looks, []string{path}); got != want {
				t.Errorf("%s meets a change of %s: %v; it looks at %q", code, path, got, op.Looks)
			}
		}
		if op.Alters == nil || len(op.Alters) > 0 || op.Effect != runtime.Read {
			t.Errorf("%s alters %v", code, op.Alters)
		}
	}
}

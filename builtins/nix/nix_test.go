package nix_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/builtins/internal/call"
	"infra/builtins/internal/calltest"
	"infra/builtins/nix"
	"infra/runtime"
)

func TestSpecsAreComplete(t *testing.T) { calltest.Complete(t, nix.Specs(nil, "", t.TempDir(), "")) }

// flake has no inputs and derivations that /bin/sh builds. %s makes its
// derivations this test's own, so that they are not built yet.
const flake = `{
  outputs = { self }:
    let
      salt = "%s";
      raw = name: script: builtins.derivation {
        inherit name salt;
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [ "-euc" script ];
        PATH = "/usr/bin:/bin";
      };
      lib = version: raw "lib-${version}" "echo ${version} > $out";
    in {
      packages.x86_64-linux = rec {
        default = raw "hello-1.0" "mkdir $out; echo hi > $out/hi; echo the build says hi";
        old = raw "system-25.11.2" "echo ${lib "1.0"} > $out";
        new = raw "system-25.11.77" "echo ${lib "1.1"} ${default} > $out";
        fail = raw "fail-1.0" "i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo line-$i; done; exit 3";
        needs = raw "needs-1.0" "echo ${fail} > $out";
        outputs = builtins.derivation {
          name = "outputs-1.0"; system = "x86_64-linux"; builder = "/bin/sh"; inherit salt;
          outputs = [ "bin" "out" ]; args = [ "-euc" "echo b > $bin; echo o > $out" ]; PATH = "/usr/bin:/bin";
        };
      };
      data = { int = 9007199254740993; float = 1.5; list = [ true null "x" ]; name = "cinnabar"; };
    };
}
`

// project makes a project with the flake, and a nix that builds without help.
func project(t *testing.T) string {
	t.Helper()
	return projectOf(t, flake)
}

func projectOf(t *testing.T, flake string) string {
	t.Helper()
	t.Setenv("NIX_CONFIG", "substituters =\nsandbox = false\nbuild-users-group =\nexperimental-features =\n")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	root := t.TempDir()
	text := fmt.Sprintf(flake, fmt.Sprint(time.Now().UnixNano()))
	if err := os.WriteFile(filepath.Join(root, "flake.nix"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestEval(t *testing.T) {
	specs := nix.Specs(nil, "", project(t), "")
	for _, tt := range []struct{ code, want string }{
		{`x = nix.eval(".#data.int")`, `9007199254740993`},
		{`x = nix.eval(".#data")`, `{"float": 1.5, "int": 9007199254740993, "list": [True, None, "x"], "name": "cinnabar"}`},
		{`x = nix.eval(".#data.name", raw = True)`, `"cinnabar"`},
		{`x = nix.eval(".#default.name")`, `"hello-1.0"`},
	} {
		d := &calltest.Door{DryRun: true}
		if got := d.Must(t, specs, tt.code)["x"].String(); got != tt.want {
			t.Errorf("%s = %s, want %s", tt.code, got, tt.want)
		}
	}
}

func TestOps(t *testing.T) {
	root := project(t)
	specs := nix.Specs(nil, "", root, "")
	for _, tt := range []struct{ code, op string }{
		{`nix.eval(".#data")`, `read nix.eval here | nix eval --json .#data | {"installable":".#data"}`},
		{`nix.eval(".#data.name", raw = True)`, `read nix.eval here | nix eval --raw .#data.name | {"installable":".#data.name","raw":true}`},
		{`nix.build(".")`, `build nix.build here | nix build . | {"installable":"."}`},
		{`nix.closure(nix.build("."))`, `read nix.closure here | closure of PATH | {"path":"PATH"}`},
		{`nix.diff(nix.build("."), nix.build("."))`, `read nix.diff here | diff of PATH and PATH | {"new":"PATH","old":"PATH"}`},
	} {
		d := new(calltest.Door)
		globals := d.Must(t, specs, tt.code+"\npath = str(nix.build(\".\"))")
		path, _ := starlark.AsString(globals["path"])
		d.Ops = d.Ops[:len(d.Ops)-1]
		got := strings.NewReplacer(root, "ROOT", path, "PATH").Replace(d.Last(t))
		if got != tt.op {
			t.Errorf("%s\n got %s\nwant %s", tt.code, got, tt.op)
		}
	}
}

// TestBuild: the preview names the very path that the run builds, without
// building it; the second run builds nothing.
func TestBuild(t *testing.T) {
	root := project(t)
	specs := nix.Specs(nil, root, t.TempDir(), "") // "." is the flake, wherever the project is
	const code = `x = nix.build(".#new")` + "\n" + `path, drv = x.path, x.drv`
	dry := &calltest.Door{DryRun: true}
	foreseen := text(t, dry.Must(t, specs, code), "path")
	p := dry.Predictions[0]
	origin, plan, _ := strings.Cut(p.Detail, ".drv\n")
	if want := "3 derivations would be built:\n  hello-1.0\n  lib-1.1\n  system-25.11.77"; p.Verdict != runtime.WillChange || plan != want || !strings.HasPrefix(origin, foreseen+"\nfrom /nix/store/") {
		t.Errorf("predicted %v %q", p.Verdict, p.Detail)
	}
	if _, err := os.Stat(foreseen); err == nil {
		t.Fatal("the dry run built it")
	}
	run := new(calltest.Door)
	globals := run.Must(t, specs, code)
	if got := text(t, globals, "path"); got != foreseen {
		t.Errorf("built %s, foreseen %s", got, foreseen)
	}
	if _, err := os.Stat(foreseen); err != nil {
		t.Error(err)
	}
	drv := text(t, globals, "drv")
	if !strings.HasSuffix(drv, "-system-25.11.77.drv") || drv != origin[strings.LastIndex(origin, "/nix/store/"):]+".drv" {
		t.Errorf("the derivation is %q, foreseen in %q", drv, origin)
	}
	if log := run.Log.String(); !run.Results[0].Changed || !strings.Contains(log, "the build says hi") {
		t.Errorf("changed = %v, log:\n%s", run.Results[0].Changed, log)
	}
	before := storeHere(t, drv)
	dry = &calltest.Door{DryRun: true}
	dry.Must(t, specs, code)
	if p := dry.Predictions[0]; p.Verdict != runtime.NoChange || p.Detail != foreseen+"\nfrom "+drv {
		t.Errorf("predicted %v %q for what is built", p.Verdict, p.Detail)
	}
	again := new(calltest.Door)
	again.Must(t, specs, code)
	if again.Results[0].Changed || storeHere(t, drv) != before {
		t.Error("the second run built it again, or the store was altered")
	}
}

// storeHere is a text of what the store here holds of a derivation, all that it
// needs and all that they make. Other tests use the same store.
func storeHere(t *testing.T, drv string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-euc", `
paths=$(nix-store --query --requisites --include-outputs "$1")
find $paths -printf '%p %m %U %T@ %l\n' | sort
nix-store --dump-db $paths`, "sh", drv).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestFetch: the preview says what would come from a cache, and how much that is.
func TestFetch(t *testing.T) {
	root := project(t)
	specs := nix.Specs(nil, "", root, "")
	path := text(t, new(calltest.Door).Must(t, specs, `p = nix.build(".#new").path`), "p")
	cache := "file://" + t.TempDir()
	tool := func(argv ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", argv, err, out)
		}
	}
	tool("nix", "--extra-experimental-features", "nix-command", "copy", "--to", cache, path)
	tool("nix-store", "--delete", path)
	t.Setenv("NIX_CONFIG", "substituters = "+cache+"\nrequire-sigs = false\nsandbox = false\nbuild-users-group =\n")
	for _, installable := range []string{path, ".#new"} {
		dry := &calltest.Door{DryRun: true}
		dry.Must(t, specs, `nix.build("`+installable+`")`)
		p := dry.Predictions[0]
		_, plan, _ := strings.Cut(p.Detail, "1 path would be fetched (")
		if p.Verdict != runtime.WillChange || !strings.HasSuffix(plan, " unpacked):\n  system-25.11.77") || strings.Contains(p.Detail, "built") {
			t.Errorf("%s: predicted %v %q", installable, p.Verdict, p.Detail)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Fatal("the dry run fetched it")
	}
	run := new(calltest.Door)
	run.Must(t, specs, `nix.build("`+path+`")`)
	if _, err := os.Stat(path); err != nil || !run.Results[0].Changed {
		t.Errorf("changed = %v, %v", run.Results[0].Changed, err)
	}
}

// TestPathThatNobodyHas: a preview refuses what a run would refuse.
func TestPathThatNobodyHas(t *testing.T) {
	const gone = "/nix/store/00000000000000000000000000000000-gone-1"
	dry := &calltest.Door{DryRun: true}
	_, err := dry.Run(t, nix.Specs(nil, "", project(t), ""), `nix.build("`+gone+`")`)
	if err == nil || !strings.Contains(err.Error(), "gone-1 cannot be had here: nix finds neither a derivation nor a cache for\n  "+gone) {
		t.Errorf("got %v", err)
	}
	if got := dry.Ops[0].NotKnown().String(); got != gone {
		t.Errorf("before it is built it is %s", got)
	}
}

// TestScopes: what each operation says that it looks at and alters.
func TestScopes(t *testing.T) {
	root := project(t)
	hosts := starlark.StringDict{"h": &runtime.Host{Name: "h"}, "mac": &runtime.Host{Name: "mac", System: "aarch64-darwin"}}
	specs := nix.Specs(nil, "", root, "")
	const path = `"/nix/store/00000000000000000000000000000000-gone-1"`
	const store, nothing, everything, running = "[/nix/store /nix/var/nix/db]", "[]", "everything", "[/run/current-system /nix/var/nix/profiles]"
	show := func(paths []string) string {
		if paths == nil {
			return everything
		}
		return strings.ReplaceAll(fmt.Sprint(paths), root, "ROOT")
	}
	for _, tt := range []struct {
		code string
		want []string // host, what it looks at, what it alters, and whether it looks beyond
	}{
		{`nix.eval(".#data")`, []string{"", "[ROOT]", nothing, "false"}},
		{`nix.eval("github:o/r#x")`, []string{"", nothing, nothing, "true"}},
		{`nix.build(".#new")`, []string{"", "[ROOT]", "[/nix/store /nix/var/nix /nix/var/log/nix]", "false"}},
		{`nix.build("nixpkgs#hello")`, []string{"", everything, "[/nix/store /nix/var/nix /nix/var/log/nix]", "true"}},
		{`nix.closure(` + path + `)`, []string{"", store, nothing, "false"}},
		{`nix.closure(` + path + `, host = h)`, []string{"h", store, nothing, "false"}},
		{`nix.diff(` + path + `, ` + path + `, host = h)`, []string{"h", store, nothing, "false"}},
		{`nix.generations(h)`, []string{"h", "[/nix/var/nix/profiles]", nothing, "false"}},
		{`nix.copy(` + path + `, to = h)`, []string{"h", store, store, "false"}},
		{`nix.switch(h, ` + path + `)`, []string{
			"h", store, store, "false", // copy
			"h", running, "[/nix/var/nix/gcroots/infra]", "false", // root
			"h", "[/nix/store /run/current-system]", nothing, "false", // units
			"h", nothing, "[/run/infra/watchdog /run/systemd/transient]", "false", // arm
			"h", running, everything, "false", // activate
			"h", nothing, "[/run/infra/watchdog /run/systemd/transient]", "false", // confirm
			"h", nothing, "[/nix/var/nix/profiles /boot]", "false", // profile
		}},
		{`nix.switch(mac, ` + path + `)`, []string{
			"mac", store, store, "false",
			"mac", running, "[/nix/var/nix/gcroots/infra]", "false",
			"mac", nothing, "[/nix/var/infra/watchdog /Library/LaunchDaemons/org.infra.watchdog.plist]", "false",
			"mac", running, everything, "false",
			"mac", nothing, "[/nix/var/infra/watchdog /Library/LaunchDaemons/org.infra.watchdog.plist]", "false",
			"mac", nothing, "[/nix/var/nix/profiles /boot]", "false",
		}},
	} {
		var got []string
		ask(t, specs, hosts, tt.code, func(op runtime.Op) {
			got = append(got, op.Host, show(op.Looks), show(op.Alters), fmt.Sprint(op.Beyond))
		})
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.code, got, tt.want)
		}
	}
}

// ask runs code whose operations are only seen.
func ask(t *testing.T, specs []call.Spec, names starlark.StringDict, code string, see func(runtime.Op)) {
	t.Helper()
	do := func(_ context.Context, op runtime.Op) (runtime.Result, error) {
		see(op)
		return runtime.Result{Value: op.NotKnown()}, nil
	}
	globals := call.Modules(do, specs)
	maps.Copy(globals, names)
	thread := &starlark.Thread{Name: t.Name()}
	runtime.SetContext(thread, t.Context())
	if _, err := starlark.ExecFileOptions(&syntax.FileOptions{TopLevelControl: true}, thread, "test.star", code, globals); err != nil {
		t.Errorf("%s: %v", code, err)
	}
}

// TestNotKnownArguments: every operation is still asked for where its paths and
// texts will only be known in a run.
func TestNotKnownArguments(t *testing.T) {
	names := starlark.StringDict{"h": &runtime.Host{Name: "h"}}
	for name, shape := range map[string]*runtime.Shape{"path": runtime.StorePathShape, "word": runtime.StringShape} {
		names[name] = runtime.Unknown{Op: "nix.build", Pos: syntax.MakePosition(new("a.star"), 3, 1), Shape: shape}
	}
	// What a preview does not ask for are the reads of a system that runs: reach, verify.
	const switched = "nix.copy nix.switch.root nix.switch.units nix.switch.arm nix.switch.activate nix.switch.confirm nix.switch.profile"
	for code, want := range map[string]string{
		`nix.eval(word)`:                               "nix.eval",
		`nix.build(word)`:                              "nix.build",
		`nix.build(path)`:                              "nix.build",
		`nix.closure(path)`:                            "nix.closure",
		`nix.diff(path, word, host = h)`:               "nix.diff",
		`nix.copy(path, to = [h, h])`:                  "nix.copy nix.copy",
		`nix.copy([path, "/nix/store/0-x"], to = h)`:   "nix.copy",
		`nix.switch(h, path)`:                          switched,
		`nix.switch(h, nix.build(word)).current.path`:  "nix.build " + switched,
		`nix.switch(h, nix.switch(h, word).previous)`:  switched + " " + switched,
		`nix.switch(h, nix.generations(h)[0].path)`:    "nix.generations " + switched,
		`nix.closure(nix.build(word), host = h).paths`: "nix.build nix.closure",
	} {
		var got []string
		ask(t, nix.Specs(nil, "", t.TempDir(), ""), names, code, func(op runtime.Op) {
			got = append(got, op.Name)
			if op.Name != "nix.generations" && op.Needs == nil {
				t.Errorf("%s: %s needs nothing", code, op.Name)
			}
		})
		if strings.Join(got, " ") != want {
			t.Errorf("%s asks for %q, want %s", code, got, want)
		}
	}
}

func TestBuildOfWhatIsNoFlakeOutput(t *testing.T) {
	specs := nix.Specs(nil, "", project(t), "")
	d := new(calltest.Door)
	globals := d.Must(t, specs, `
out = nix.build(".#outputs").path
built = nix.build(".#default")
again = nix.build(built.path)
path, drv = again.path, again.drv
`)
	if got := text(t, globals, "path"); got != globals["built"].String() || text(t, globals, "drv") != "" {
		t.Errorf("a path builds to %s", globals["again"])
	}
	if _, err := os.Stat(text(t, globals, "out")); err != nil {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	specs := nix.Specs(nil, "", project(t), "")
	for _, tt := range []struct {
		code string
		want []string
		hint string
	}{
		{`nix.build(".#fail")`, []string{"the build of fail-1.0 failed with exit code 3 in /nix/store/", "-fail-1.0.drv; the last lines of its log:\nline-11\n", "line-30\nits full log: /nix/var/log/nix/drvs/"}, "nix log /nix/store/"},
		{`nix.build(".#needs")`, []string{"the build of needs-1.0 failed: the build of fail-1.0 failed with exit code 3 in /nix/store/", "-fail-1.0.drv;"}, "-fail-1.0.drv"},
		{`nix.build(".#nope")`, []string{"nix here failed with exit code 1:", "does not provide attribute"}, "nix flake show"},
		{`nix.build(".#data")`, []string{" a derivation"}, ""}, // "is not", or "expected … to be"
		{`nix.build("/nix/store/00000000000000000000000000000000-gone-1")`, []string{"the build of gone-1 here failed", "/nix/store/00000000000000000000000000000000-gone-1"}, ""},
		{`nix.build("--help")`, []string{`nix.build: installable: "--help" is none`}, ""},
		{`nix.eval("/nowhere#x")`, []string{"/nowhere"}, ""},
		{`nix.closure("/nix/store/00000000000000000000000000000000-gone-1")`, []string{"-gone-1 is not in the store here"}, "nix.build"},
		{`nix.diff("/nix/store/00000000000000000000000000000000-gone-1", "/nix/store/00000000000000000000000000000000-gone-2")`, []string{"-gone-1 is not in the store here"}, "nix.build"},
		{`nix.closure("/etc/passwd")`, []string{"want a store path"}, ""},
	} {
		_, err := new(calltest.Door).Run(t, specs, tt.code)
		if err == nil {
			t.Errorf("%s succeeded", tt.code)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v\nwant %q", tt.code, err, want)
			}
		}
		if hint := runtime.HintOf(err); !strings.Contains(hint, tt.hint) {
			t.Errorf("%s: hint %q, want %q", tt.code, hint, tt.hint)
		}
	}
}

// TestNoLockFile: nix would write one for a flake with inputs, even when it only reads.
func TestNoLockFile(t *testing.T) {
	root, input := project(t), project(t)
	text := `{ inputs.other.url = "path:` + input + `"; outputs = { self, other }: other.packages // { inherit (other) data; }; }`
	if err := os.WriteFile(filepath.Join(root, "flake.nix"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d := new(calltest.Door)
	globals := d.Must(t, nix.Specs(nil, "", root, ""), `x = nix.eval(".#data.name")
nix.build(".#x86_64-linux.default")`)
	if got := globals["x"].String(); got != `"cinnabar"` {
		t.Errorf("got %s", got)
	}
	if _, err := os.Stat(filepath.Join(root, "flake.lock")); err == nil {
		t.Error("a lock file was written")
	}
}

func TestNixMissing(t *testing.T) {
	specs := nix.Specs(nil, "", project(t), "")
	bin := t.TempDir()
	if err := os.Symlink("/bin/sh", filepath.Join(bin, "sh")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	_, err := new(calltest.Door).Run(t, specs, `nix.eval(".#data")`)
	if err == nil || !strings.Contains(err.Error(), "nix here: nix was not found there") || !strings.Contains(runtime.HintOf(err), "install nix") {
		t.Errorf("%v (%s)", err, runtime.HintOf(err))
	}
}

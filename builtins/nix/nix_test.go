package nix_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.starlark.net/starlark"

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
		{`nix.eval(".#data")`, `read nix.eval here | nix eval --json ROOT#data | {"installable":".#data"}`},
		{`nix.eval(".#data.name", raw = True)`, `read nix.eval here | nix eval --raw ROOT#data.name | {"installable":".#data.name","raw":true}`},
		{`nix.build(".")`, `build nix.build here | nix build ROOT | {"installable":"."}`},
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
	title, names, _ := strings.Cut(p.Detail, "\n  ")
	listed := strings.Split(names, "\n  ") // in nix's own order
	slices.Sort(listed)
	if want := "3 derivations would be built: hello-1.0 lib-1.1 system-25.11.77"; p.Verdict != runtime.WillChange || title+" "+strings.Join(listed, " ") != want {
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
	if drv := text(t, globals, "drv"); !strings.HasSuffix(drv, "-system-25.11.77.drv") {
		t.Errorf("the derivation is %q", drv)
	}
	if log := run.Log.String(); !run.Results[0].Changed || !strings.Contains(log, "the build says hi") {
		t.Errorf("changed = %v, log:\n%s", run.Results[0].Changed, log)
	}
	again := new(calltest.Door)
	again.Must(t, specs, code)
	if again.Results[0].Changed {
		t.Error("the second run built it again")
	}
	dry = &calltest.Door{DryRun: true}
	dry.Must(t, specs, code)
	if p := dry.Predictions[0]; p.Verdict != runtime.NoChange || p.Detail != "" {
		t.Errorf("predicted %v %q for what is built", p.Verdict, p.Detail)
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
		{`nix.build(".#fail")`, []string{"the build of fail-1.0 failed in /nix/store/", "-fail-1.0.drv; the last lines of its log:\nline-11\n", "line-30"}, "nix log /nix/store/"},
		{`nix.build(".#needs")`, []string{"the build of needs-1.0 failed in /nix/store/", "-fail-1.0.drv;"}, "-fail-1.0.drv"},
		{`nix.build(".#nope")`, []string{"nix here failed with exit code 1:", "does not provide attribute"}, "nix flake show"},
		{`nix.build(".#data")`, []string{"is not a derivation"}, ""},
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

func TestClosureAndDiff(t *testing.T) {
	specs := nix.Specs(nil, "", project(t), "")
	d := &calltest.Door{}
	globals := d.Must(t, specs, `
old, new = nix.build(".#old"), nix.build(".#new")
c = nix.closure(new)
paths, size = c.paths, c.size
names = [p.split("-", 1)[1] for p in paths]
diff = nix.diff(old, new)
same = nix.diff(new, new)
`)
	if got := globals["names"].(*starlark.List); got.Len() != 3 || got.Index(2).String() != `"system-25.11.77"` {
		t.Errorf("the closure is %s", got)
	}
	if size, _ := starlark.AsInt32(globals["size"]); size < 300 || size > 3000 {
		t.Errorf("the closure has %d bytes", size)
	}
	if got, want := text(t, globals, "diff"), "hello: added 1.0\nlib: 1.0 -> 1.1\nsystem: 25.11.2 -> 25.11.77"; got != want {
		t.Errorf("diff:\n%s\nwant:\n%s", got, want)
	}
	if got := text(t, globals, "same"); got != "" {
		t.Errorf("a system differs from itself in %q", got)
	}
}

func text(t *testing.T, globals starlark.StringDict, name string) string {
	t.Helper()
	s, ok := starlark.AsString(globals[name])
	if !ok {
		t.Fatalf("%s is %v", name, globals[name])
	}
	return s
}

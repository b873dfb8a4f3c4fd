package nix_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"infra/builtins/internal/calltest"
	"infra/builtins/nix"
	"infra/runtime"
)

// checked is a flake with three checks, of which the bodies are given.
const checked = `{
  outputs = { self }:
    let
      check = name: script: builtins.derivation {
        inherit name; salt = "%s"; system = "x86_64-linux";
        builder = "/bin/sh"; args = [ "-euc" script ]; PATH = "/usr/bin:/bin";
      };
    in {
      packages.x86_64-linux.default = check "p" "exit 1"; # is not built by a check
      checks.x86_64-linux = {
        first = check "first-1" "echo the first speaks; echo > $out";
        second = check "second-1" "SECOND";
        third = check "third-1" "cat ${check "base-1" "THIRD"} > $out";
      };
      checks.aarch64-darwin.mac = check "mac" "exit 1"; # is not built here
      darwinConfigurations.mac = { };
    };
}
`

func checkedBy(t *testing.T, second, third string) string {
	return projectOf(t, strings.NewReplacer("SECOND", second, "THIRD", third).Replace(checked))
}

func outcome(t *testing.T, v starlark.Value) (ok bool, detail string) {
	t.Helper()
	s, is := v.(starlark.HasAttrs)
	if !is {
		t.Fatalf("it answers %v", v)
	}
	truth, _ := s.Attr("ok")
	said, _ := s.Attr("detail")
	detail, _ = starlark.AsString(said)
	return bool(truth.Truth()), detail
}

// TestFlakeCheck: a dry run names what is not built, builds nothing, and the
// run builds it once.
func TestFlakeCheck(t *testing.T) {
	specs := nix.Specs(nil, "", checkedBy(t, "echo > $out", "echo > $out"), "")
	const code = `x = nix.flake.check()`
	for range 2 { // the first dry run made nothing that the second would miss
		dry := &calltest.Door{DryRun: true}
		ok, _ := outcome(t, dry.Must(t, specs, code)["x"])
		if p := dry.Predictions[0]; !ok || p.Verdict != runtime.WillChange || p.Detail != "3 checks would be built:\n  first\n  second\n  third" {
			t.Errorf("ok = %v, predicted %v %q", ok, p.Verdict, p.Detail)
		}
	}
	unsure := &calltest.Door{DryRun: true}
	v, _ := unsure.Must(t, specs, `x = nix.flake.check(check = False)`)["x"].(starlark.HasAttrs).Attr("ok")
	if _, unknown := v.(runtime.Unknown); !unknown {
		t.Errorf("before it is built, ok is %v", v)
	}
	run := new(calltest.Door)
	if ok, detail := outcome(t, run.Must(t, specs, code)["x"]); !ok || detail != "" || !run.Results[0].Changed {
		t.Errorf("ok = %v %q, changed = %v", ok, detail, run.Results[0].Changed)
	}
	if log := run.Log.String(); !strings.Contains(log, "the first speaks") {
		t.Errorf("the log is\n%s", log)
	}
	dry, again := &calltest.Door{DryRun: true}, new(calltest.Door)
	dry.Must(t, specs, code)
	again.Must(t, specs, code)
	if p := dry.Predictions[0]; p.Verdict != runtime.NoChange || again.Results[0].Changed {
		t.Errorf("once it is built: predicted %v %q, changed = %v", p.Verdict, p.Detail, again.Results[0].Changed)
	}
}

// TestFlakeCheckFails: all that failed is named, with the end of its log, be it
// an error or an answer.
func TestFlakeCheckFails(t *testing.T) {
	specs := nix.Specs(nil, "", checkedBy(t, "i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo line-$i; done; exit 3", "echo base speaks >&2; exit 4"), "")
	wants := []string{"the build of base-1 failed in /nix/store/", "base speaks", "the build of second-1 failed in /nix/store/", "the last lines of its log:\nline-11\n", "line-30"}
	_, err := new(calltest.Door).Run(t, specs, `nix.flake.check()`)
	if err == nil || !strings.Contains(runtime.HintOf(err), "nix log /nix/store/") {
		t.Fatalf("%v, hint %q", err, runtime.HintOf(err))
	}
	run := new(calltest.Door)
	ok, detail := outcome(t, run.Must(t, specs, `x = nix.flake.check(check = False)`)["x"])
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) || !strings.Contains(detail, want) {
			t.Errorf("it does not say %q:\n%v\n%s", want, err, detail)
		}
	}
	if ok || strings.Contains(detail, "third-1 failed") {
		t.Errorf("ok = %v:\n%s", ok, detail)
	}
	// What only evaluates does not see it, and a check of a plan may ask.
	read := &calltest.Door{DryRun: true}
	if ok, detail := outcome(t, read.Must(t, specs, `x = nix.flake.check(build = False)`)["x"]); !ok || read.Ops[0].Effect != runtime.Read {
		t.Errorf("ok = %v %q, effect %v", ok, detail, read.Ops[0].Effect)
	}
}

func TestFlakeCheckOfWhatDoesNotEvaluate(t *testing.T) {
	root := projectOf(t, `{ outputs = { self }: { checks.x86_64-linux.a = throw "no such %%s luck"; }; } # %s`)
	specs := nix.Specs(nil, "", root, "")
	for _, args := range []string{``, `build = False`} {
		if _, err := new(calltest.Door).Run(t, specs, `nix.flake.check(`+args+`)`); err == nil || !strings.Contains(err.Error(), "luck") {
			t.Errorf("%s: %v", args, err)
		}
		for _, dry := range []bool{false, true} {
			d := &calltest.Door{DryRun: dry}
			ok, detail := outcome(t, d.Must(t, specs, `x = nix.flake.check(check = False, `+args+`)`)["x"])
			if ok || !strings.Contains(detail, "luck") {
				t.Errorf("%s, dry %v: ok = %v %q", args, dry, ok, detail)
			}
		}
	}
}

// TestFlakeCheckThatCannotLook: what is not the flake's fault is an error,
// whatever the plan asks for.
func TestFlakeCheckThatCannotLook(t *testing.T) {
	specs := nix.Specs(nil, "", checkedBy(t, "echo > $out", "echo > $out"), "")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if v, err := (&calltest.Door{Context: ended}).Run(t, specs, `x = nix.flake.check(check = False)`); err == nil {
		t.Errorf("of an ended run it answers %v", v)
	}
	bin := t.TempDir()
	if err := os.Symlink("/bin/sh", filepath.Join(bin, "sh")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	if v, err := new(calltest.Door).Run(t, specs, `x = nix.flake.check(check = False)`); err == nil || !strings.Contains(err.Error(), "nix was not found") {
		t.Errorf("without nix it answers %v, %v", v, err)
	}
}

func TestFlakeShowAndMetadata(t *testing.T) {
	root, input := checkedBy(t, "", ""), project(t)
	specs := nix.Specs(nil, "", root, "")
	for code, want := range map[string]string{
		`x = nix.flake.show()["checks"]["x86_64-linux"]["first"]["type"]`: `"derivation"`,
		`x = nix.flake.show(".")["darwinConfigurations"]["type"]`:         `"unknown"`,
		`x = nix.flake.metadata()["locks"]["root"]`:                       `"root"`,
		`x = nix.flake.metadata("path:` + input + `")["locked"]["path"]`:  `"` + input + `"`,
		`x = type(nix.flake.metadata()["lastModified"])`:                  `"int"`,
	} {
		d := &calltest.Door{DryRun: true}
		if got := d.Must(t, specs, code)["x"].String(); got != want {
			t.Errorf("%s = %s, want %s", code, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "flake.lock")); err == nil {
		t.Error("a lock file was written")
	}
}

func TestFlakeOps(t *testing.T) {
	root := project(t)
	specs := nix.Specs(nil, "", root, "")
	for code, want := range map[string]string{
		`nix.flake.check()`:                       `build nix.flake.check here | nix flake check . | {} | looks [ROOT]`,
		`nix.flake.check(build = False)`:          `read nix.flake.check here | nix flake check --no-build . | {"build":false} | looks [ROOT]`,
		`nix.flake.show("./sub")`:                 `read nix.flake.show here | nix flake show --json ./sub | {"flake":"./sub"} | looks [ROOT]`,
		`nix.flake.metadata("github:o/r")`:        `read nix.flake.metadata here | nix flake metadata --json github:o/r | {"flake":"github:o/r"} | looks []`,
		`nix.flake.update(inputs = ["a", "b/c"])`: `change nix.flake.update here | nix flake update . a b/c | {"inputs":["a","b/c"]} | looks [ROOT]`,
	} {
		ask(t, specs, nil, code, func(op runtime.Op) {
			got := calltest.Line(t, op) + " | looks " + "[" + strings.Join(op.Looks, " ") + "]"
			if got = strings.ReplaceAll(got, root, "ROOT"); got != want {
				t.Errorf("%s\n got %s\nwant %s", code, got, want)
			}
			if op.Name == "nix.flake.update" && !slices.Equal(op.Alters, []string{filepath.Join(root, "flake.lock")}) {
				t.Errorf("it alters %q", op.Alters)
			}
		})
	}
	for code, want := range map[string]string{
		`nix.flake.check("--help")`:                   "is none",
		`nix.flake.check(".#x")`:                      "without an attribute",
		`nix.flake.show("")`:                          "is none",
		`nix.flake.update("github:o/r")`:              "is not in a folder here",
		`nix.flake.update("nixpkgs")`:                 "names no folder",
		`nix.flake.update(inputs = ["--commit"])`:     "no name of an input",
		`nix.flake.update(inputs = ["a b"])`:          "no name of an input",
		`nix.flake.update(flake = ".", inputs = "a")`: "want a list of strings",
	} {
		d := new(calltest.Door)
		if _, err := d.Run(t, specs, code); err == nil || !strings.Contains(err.Error(), want) || len(d.Ops) > 0 {
			t.Errorf("%s: %v, want %s", code, err, want)
		}
	}
}

// locking is a project with two inputs, a and b, and b's own input a.
type locking struct {
	*testing.T
	root string
	dirs map[string]string
}

func newLocking(t *testing.T) locking {
	l := locking{t, project(t), map[string]string{"a": t.TempDir(), "b": t.TempDir()}}
	l.write("a", "1")
	l.write("b", "1")
	text := `{ inputs.a.url = "path:` + l.dirs["a"] + `"; inputs.b.url = "path:` + l.dirs["b"] + `"; outputs = { self, a, b }: { }; }`
	if err := os.WriteFile(filepath.Join(l.root, "flake.nix"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return l
}

// write makes an input another one.
func (l locking) write(input, version string) {
	l.Helper()
	text := "{ outputs = { self }: { v = " + version + "; }; }"
	if input == "b" {
		text = `{ inputs.a.url = "path:` + l.dirs["a"] + `"; outputs = { self, a }: { v = ` + version + `; }; }`
	}
	if err := os.WriteFile(filepath.Join(l.dirs[input], "flake.nix"), []byte(text), 0o644); err != nil {
		l.Fatal(err)
	}
}

func (l locking) lock() string {
	text, _ := os.ReadFile(filepath.Join(l.root, "flake.lock"))
	return string(text)
}

// byNix is the lock file that nix itself makes of all inputs as they are.
func (l locking) byNix() string {
	l.Helper()
	cmd := exec.CommandContext(l.Context(), "nix", "--extra-experimental-features", "nix-command flakes", "flake", "update")
	cmd.Dir = l.TempDir()
	if err := os.CopyFS(cmd.Dir, os.DirFS(l.root)); err != nil {
		l.Fatal(err)
	}
	_ = os.Remove(filepath.Join(cmd.Dir, "flake.lock")) // it is all made anew
	if out, err := cmd.CombinedOutput(); err != nil {
		l.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(cmd.Dir, "flake.lock"))
	if err != nil {
		l.Fatal(err)
	}
	return string(text)
}

var narHash = regexp.MustCompile(`sha256-\S+ of \S+`)

func TestFlakeUpdate(t *testing.T) {
	l := newLocking(t)
	specs := nix.Specs(nil, "", l.root, "")
	update := func(code string, verdict runtime.Verdict, detail string) {
		t.Helper()
		before := l.lock()
		dry := &calltest.Door{DryRun: true}
		foreseen := dry.Must(t, specs, "x = "+code)["x"].String()
		p := dry.Predictions[0]
		got := strings.NewReplacer(l.dirs["a"], "A", l.dirs["b"], "B").Replace(narHash.ReplaceAllString(p.Detail, "HASH"))
		if p.Verdict != verdict || got != detail || l.lock() != before {
			t.Errorf("%s: predicted %v\n%s", code, p.Verdict, got)
		}
		run := new(calltest.Door)
		did := run.Must(t, specs, "x = "+code)["x"].String()
		if did != foreseen || run.Results[0].Changed != (verdict == runtime.WillChange) || (l.lock() != before) != run.Results[0].Changed {
			t.Errorf("%s: did %s\nforeseen %s", code, did, foreseen)
		}
	}
	update(`nix.flake.update()`, runtime.WillChange, "a: none -> path:A HASH\na_2: none -> path:A HASH\nb: none -> path:B HASH")
	if l.lock() != l.byNix() {
		t.Errorf("nix would have written\n%sand not\n%s", l.byNix(), l.lock())
	}
	update(`nix.flake.update()`, runtime.NoChange, "")
	l.write("a", "2")
	l.write("b", "2")
	update(`nix.flake.update(inputs = ["b/a"])`, runtime.WillChange, "a_2: path:A HASH -> path:A HASH")
	update(`nix.flake.update(inputs = ["a"])`, runtime.WillChange, "a: path:A HASH -> path:A HASH")
	update(`nix.flake.update(inputs = ["a"])`, runtime.NoChange, "")
	update(`nix.flake.update()`, runtime.WillChange, "b: path:B HASH -> path:B HASH")
	if l.lock() != l.byNix() {
		t.Errorf("nix would have written\n%sand not\n%s", l.byNix(), l.lock())
	}
	if names, _ := filepath.Glob(filepath.Join(l.root, ".infra*")); len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
}

func TestFlakeUpdateFails(t *testing.T) {
	l := newLocking(t)
	specs := nix.Specs(nil, "", l.root, "")
	new(calltest.Door).Must(t, specs, `nix.flake.update()`)
	was := l.lock()
	fails := func(code, want, hint string) {
		t.Helper()
		for _, dry := range []bool{true, false} {
			before := l.lock()
			_, err := (&calltest.Door{DryRun: dry}).Run(t, specs, code)
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(runtime.HintOf(err), hint) || l.lock() != before {
				t.Errorf("%s: %v (%s)", code, err, runtime.HintOf(err))
			}
		}
	}
	fails(`nix.flake.update(inputs = ["nope"])`, `no input "nope"`, "it has a, b")
	fails(`nix.flake.update(inputs = ["a/nope"])`, `no input "a/nope"`, "it has a, b")
	if err := os.RemoveAll(l.dirs["b"]); err != nil {
		t.Fatal(err)
	}
	fails(`nix.flake.update()`, l.dirs["b"], "")
	if err := os.WriteFile(filepath.Join(l.root, "flake.lock"), []byte("<<<<<<< HEAD\n"+was), 0o644); err != nil {
		t.Fatal(err)
	}
	fails(`nix.flake.update()`, "flake.lock: it is no lock file", "")
}

// TestFlakeUpdateInGit: a lock file that is new is one that git knows, as nix
// has it, and the folder of the repository is not a flake's.
func TestFlakeUpdateInGit(t *testing.T) {
	l := newLocking(t)
	git := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", l.root}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	git("init", "-q")
	git("add", "flake.nix")
	specs := nix.Specs(nil, "", l.root, "")
	d := new(calltest.Door)
	globals := d.Must(t, specs, "x = nix.flake.update()\nfile = x.file\nnix.flake.check(build = False)")
	if files := git("ls-files"); files != "flake.lock\nflake.nix\n" || text(t, globals, "file") != "flake.lock" {
		t.Errorf("git knows %q, the file is %s", files, globals["file"])
	}
	if alters := d.Ops[0].Alters; !slices.Contains(alters, filepath.Join(l.root, ".git", "index")) {
		t.Errorf("it alters %q", alters)
	}
}

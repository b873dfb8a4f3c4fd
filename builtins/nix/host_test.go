package nix_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/calltest"
	"infra/builtins/internal/sshdtest"
	"infra/builtins/nix"
	"infra/runtime"
	"infra/runtime/remote"
)

// systems is a flake of systems that a host can really be switched to: as the
// real ones do, they link /run/current-system last of all.
const systems = `{
  outputs = { self }:
    let
      raw = name: does: script: builtins.derivation {
        inherit name does;
        salt = "%s";
        system = "x86_64-linux";
        builder = "/bin/sh";
        args = [ "-euc" script ];
        PATH = "/usr/bin:/bin";
      };
      system = version: does: raw "system-${version}" does ''
        mkdir -p $out/bin
        link="ln -sfn $out /run/current-system"
        printf '#!/bin/sh\n%%s\n%%s\n' "$does" "$link" > $out/activate
        printf '#!/bin/sh\n[ "$1" = switch ] || exit 9\n%%s\n%%s\n' "$does" "$link" > $out/bin/switch-to-configuration
        chmod +x $out/activate $out/bin/switch-to-configuration
      '';
    in {
      packages.x86_64-linux = {
        one = system "1.0" "echo activating one";
        two = system "2.0" "echo activating two";
        broken = system "3.0" "echo some units failed >&2; exit 4";
        lying = system "4.0" "exit 0";
        plain = raw "plain-1.0" "" "echo x > $out";
      };
    };
}
`

// A target is one host with a store and a /run of its own, and a project.
type target struct {
	server *sshdtest.Server
	specs  []call.Spec
	host   *runtime.Host
}

func newTarget(t *testing.T, system string) *target {
	t.Helper()
	root := projectOf(t, systems)
	server := sshdtest.Start(t, "target", true)
	pool := remote.NewPool(remote.Config{SSHConfig: server.Config})
	t.Cleanup(func() { pool.Close() })
	return &target{server, nix.Specs(pool, "", root, server.Config), &runtime.Host{Name: "target", System: system}}
}

func (tg *target) door(dry bool) *calltest.Door {
	return &calltest.Door{DryRun: dry, Names: starlark.StringDict{"h": tg.host}}
}

// TestCopy: the preview counts what the run sends; what is there is not sent again.
func TestCopy(t *testing.T) {
	tg := newTarget(t, "x86_64-linux")
	const code = `nix.copy(nix.build(".#one"), to = h)`
	dry := tg.door(true)
	dry.Must(t, tg.specs, code)
	if p := dry.Predictions[1]; p.Verdict != runtime.WillChange || p.Detail != "not built here yet, and sent with what they need:\n  system-1.0\nwhat they need, and how much it is, is known after the build" {
		t.Errorf("before the build predicted %v %q", p.Verdict, p.Detail)
	}
	globals := tg.door(false).Must(t, tg.specs, `p = str(nix.build(".#one"))`)
	path := text(t, globals, "p")
	dry = tg.door(true)
	dry.Must(t, tg.specs, code)
	if p, want := dry.Predictions[1], "1 path, "+tg.size(t, path)+":\n  system-1.0, "+tg.size(t, path); p.Verdict != runtime.WillChange || p.Detail != want {
		t.Errorf("after the build predicted %v %q", p.Verdict, p.Detail)
	}
	if got := tg.server.Shell(t, "ls /nix/store 2>/dev/null | wc -l"); strings.TrimSpace(got) != "0" {
		t.Fatalf("the dry run left %s paths in the host's store", got)
	}
	run := tg.door(false)
	run.Must(t, tg.specs, code)
	if !run.Results[1].Changed || !strings.Contains(run.Log.String(), "copying 1 path to target") {
		t.Errorf("changed = %v, log %q", run.Results[1].Changed, run.Log.String())
	}
	if got, want := run.Last(t), "change nix.copy target | "+path+" -> target | "+`{"path":["`+path+`"],"to":"target"}`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	tg.server.Shell(t, "test -x "+path+"/activate && nix-store --check-validity "+path)
	before := tg.state(t)
	again := tg.door(false)
	again.Must(t, tg.specs, `nix.copy([nix.build(".#one")], to = [h])`)
	if again.Results[1].Changed {
		t.Error("the second run copied again")
	}
	dry = tg.door(true)
	globals = dry.Must(t, tg.specs, code+`
c = nix.closure("`+path+`", host = h).paths
d = nix.diff("`+path+`", "`+path+`", host = h)`)
	if p := dry.Predictions[1]; p.Verdict != runtime.NoChange || globals["c"].String() != `["`+path+`"]` || text(t, globals, "d") != "" {
		t.Errorf("predicted %v %q, closure %s", p.Verdict, p.Detail, globals["c"])
	}
	if got := tg.state(t); got != before {
		t.Errorf("no change, and still the host went from\n%s\nto\n%s", before, got)
	}
}

// TestCopyOfSome: what the host has needs not be here, and what is not built
// yet hides nothing of the rest.
func TestCopyOfSome(t *testing.T) {
	tg := newTarget(t, "x86_64-linux")
	globals := tg.door(false).Must(t, tg.specs, `one, two = nix.build(".#one").path, nix.build(".#two").path
nix.copy(one, to = h)`)
	one, two := text(t, globals, "one"), text(t, globals, "two")
	if out, err := exec.CommandContext(t.Context(), "nix-store", "--delete", one).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dry := tg.door(true)
	dry.Must(t, tg.specs, `nix.copy(["`+one+`", "`+two+`", nix.build(".#broken")], to = h)`)
	want := "1 path, " + tg.size(t, two) + ":\n  system-2.0, " + tg.size(t, two) +
		"\nand not built here yet, and sent with what they need:\n  system-3.0\nwhat they need, and how much it is, is known after the build"
	if p := dry.Predictions[1]; p.Verdict != runtime.WillChange || p.Detail != want {
		t.Errorf("predicted %v %q\nwant %q", p.Verdict, p.Detail, want)
	}
	run := tg.door(false)
	run.Must(t, tg.specs, `nix.copy(["`+one+`", "`+two+`"], to = h)`)
	if !run.Results[0].Changed || !strings.Contains(run.Log.String(), "copying 1 path to target") {
		t.Errorf("changed = %v, log %q", run.Results[0].Changed, run.Log.String())
	}
	tg.server.Shell(t, "nix-store --check-validity "+one+" "+two)
}

// size is what a path takes, as nix knows it.
func (tg *target) size(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "nix-store", "--query", "--size", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out)) + " B"
}

// state is a text of all that a switch or a copy could alter on the host.
func (tg *target) state(t *testing.T) string {
	t.Helper()
	return tg.server.Shell(t, `nix-store --dump-db; find /nix/store /nix/var/nix/profiles /run -printf '%p %m %U %T@ %l\n' | sort`)
}

func TestCopyErrors(t *testing.T) {
	tg := newTarget(t, "x86_64-linux")
	const gone = "/nix/store/00000000000000000000000000000000-gone-1"
	_, err := tg.door(false).Run(t, tg.specs, `nix.copy("`+gone+`", to = h)`)
	if err == nil || !strings.Contains(err.Error(), "gone-1 is not in the store here") {
		t.Errorf("got %v", err)
	}
	_, err = tg.door(false).Run(t, tg.specs, `nix.copy(h, to = h)`)
	if err == nil || !strings.Contains(err.Error(), "path: want a store path") {
		t.Errorf("got %v", err)
	}
	_, err = tg.door(false).Run(t, tg.specs, `nix.closure("`+gone+`", host = h)`)
	if err == nil || !strings.Contains(err.Error(), "gone-1 is not in the store on target") {
		t.Errorf("got %v", err)
	}
}

// TestSwitchAsAUnit: where systemd runs the host the switch is its unit. None
// runs this one, which the real systemd-run finds out and says.
func TestSwitchAsAUnit(t *testing.T) {
	tg := newTarget(t, "x86_64-linux")
	tg.server.Shell(t, "mkdir -p /run/systemd/system")
	_, err := tg.door(false).Run(t, tg.specs, `nix.switch(h, nix.build(".#one"))`)
	if err == nil || !strings.Contains(err.Error(), "bus") || !strings.Contains(err.Error(), "it runs no system of nix now") {
		t.Errorf("got %v", err)
	}
}

// TestSwitch goes to one system, to another and back, on a host of each kind.
func TestSwitch(t *testing.T) {
	for _, system := range []string{"x86_64-linux", "aarch64-darwin"} {
		t.Run(system, func(t *testing.T) {
			tg := newTarget(t, system)
			globals := tg.door(false).Must(t, tg.specs, `one, two = nix.build(".#one"), nix.build(".#two")
p1, p2 = one.path, two.path`)
			one, two := text(t, globals, "p1"), text(t, globals, "p2")

			tg.expect(t, "", one, 1, "the first system of nix on this host")
			size1, size2 := tg.size(t, one), tg.size(t, two) // the same
			tg.expect(t, one, two, 2, "packages: 1 changed\n  system: 1.0 -> 2.0\nsize: "+size1+" -> "+size2+" (+0 B)")
			tg.expect(t, two, one, 3, "packages: 1 changed\n  system: 2.0 -> 1.0\nsize: "+size2+" -> "+size1+" (+0 B)")
			tg.expect(t, one, one, 3, "")

			globals = tg.door(true).Must(t, tg.specs, `x = [[g.number, g.path.path, g.current] for g in nix.generations(h)]`)
			want := `[[1, "` + one + `", False], [2, "` + two + `", False], [3, "` + one + `", True]]`
			if got := globals["x"].String(); got != want {
				t.Errorf("generations %s, want %s", got, want)
			}
			if before, err := os.Readlink("/run/current-system"); err == nil && before == one {
				t.Error("the machine of the test was switched")
			}
		})
	}
}

// expect previews a switch, carries it out, and checks both against the host.
func (tg *target) expect(t *testing.T, from, to string, generation int, detail string) {
	t.Helper()
	code := `r = nix.switch(h, "` + to + `")`
	dry, before := tg.door(true), tg.state(t)
	foreseen := dry.Must(t, tg.specs, code)["r"].String()
	if tg.state(t) != before {
		t.Errorf("%s -> %s: the preview altered the host", from, to)
	}
	p := dry.Predictions[1]
	verdict, changed := runtime.WillChange, "True"
	if from == to {
		verdict, changed = runtime.NoChange, "False"
	}
	if p.Verdict != verdict || p.Detail != detail {
		t.Errorf("%s -> %s: predicted %v %q", from, to, p.Verdict, p.Detail)
	}
	run := tg.door(false)
	got := run.Must(t, tg.specs, code)["r"].String()
	previous := from
	if previous == "" {
		previous = "None"
	}
	want := "switch_result(changed = " + changed + ", previous = " + previous + ", current = " + to + ", generation = " + starlark.MakeInt(generation).String() + ")"
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if unknown := "(known after nix.switch, test.star:1)"; from != to {
		want = strings.Replace(want, "generation = "+starlark.MakeInt(generation).String(), "generation = "+unknown, 1)
	}
	if foreseen != want {
		t.Errorf("foreseen %s\nwant %s", foreseen, want)
	}
	if altered := tg.state(t) != before; altered != (from != to) {
		t.Errorf("%s -> %s: the host was altered: %v", from, to, altered)
	}
	if acted := strings.Contains(run.Log.String(), "activating"); run.Results[1].Changed != (from != to) || acted != (from != to) {
		t.Errorf("%s -> %s: changed = %v, log %q", from, to, run.Results[1].Changed, run.Log.String())
	}
	if names := run.Ops[0].Name + " " + run.Ops[1].Name; names != "nix.copy nix.switch" {
		t.Errorf("the operations are %s", names)
	}
	now := tg.server.Shell(t, "readlink -f /run/current-system /nix/var/nix/profiles/system")
	if now != to+"\n"+to+"\n" {
		t.Errorf("the host is at %s", now)
	}
}

// TestSwitchFails: the error says what was tried, what the host runs now and how to go back.
func TestSwitchFails(t *testing.T) {
	tg := newTarget(t, "")
	for _, tt := range []struct {
		system, attribute string
		want              []string
		profile           string // which system the profile then leads to
		hint              string
	}{
		{"x86_64-linux", "broken", []string{"some units did not start (systemctl --failed lists them): switch-to-configuration failed with exit code 4:\nsome units failed",
			"it runs ONE now, and its profile leads to NEW (generation 2)"}, "NEW", "go back with: ssh target 'sudo nix-env -p /nix/var/nix/profiles/system --set ONE && sudo ONE/bin/switch-to-configuration switch'"},
		{"x86_64-linux", "lying", []string{"every command succeeded, and still the host does not run NEW", "it runs ONE now"}, "NEW", "go back with"},
		{"x86_64-linux", "plain", []string{"NEW is not a NixOS system: it has no bin/switch-to-configuration"}, "ONE", "build .#nixosConfigurations.target"},
		{"aarch64-darwin", "broken", []string{"the activation failed with exit code 4:\nsome units failed", "it runs ONE now, and its profile leads to ONE (generation 1)"}, "ONE",
			"go back with: ssh target 'sudo ONE/activate && sudo nix-env -p /nix/var/nix/profiles/system --set ONE'"},
		{"aarch64-darwin", "lying", []string{"the activation ended without an error, but not with the system running", "it runs ONE now"}, "ONE", "go back with"},
		{"aarch64-darwin", "plain", []string{"NEW is not a nix-darwin system: it has no activate"}, "ONE", "build .#darwinConfigurations.target.system"},
	} {
		t.Run(tt.system+" "+tt.attribute, func(t *testing.T) {
			tg.host.System = tt.system
			tg.server.Shell(t, "rm -f /run/current-system /nix/var/nix/profiles/system*")
			globals := tg.door(false).Must(t, tg.specs, `one, new = nix.build(".#one"), nix.build(".#`+tt.attribute+`")
nix.switch(h, one)
p1, p2 = one.path, new.path`)
			names := strings.NewReplacer(text(t, globals, "p1"), "ONE", text(t, globals, "p2"), "NEW")
			_, err := tg.door(false).Run(t, tg.specs, `nix.switch(h, nix.build(".#`+tt.attribute+`"))`)
			if err == nil {
				t.Fatal("the switch succeeded")
			}
			for _, want := range tt.want {
				if !strings.Contains(names.Replace(err.Error()), want) {
					t.Errorf("got %s\nwant %s", names.Replace(err.Error()), want)
				}
			}
			if hint := names.Replace(runtime.HintOf(err)); !strings.Contains(hint, tt.hint) {
				t.Errorf("hint %s\nwant %s", hint, tt.hint)
			}
			now := names.Replace(tg.server.Shell(t, "readlink -f /run/current-system /nix/var/nix/profiles/system"))
			if want := "ONE\n" + tt.profile + "\n"; now != want {
				t.Errorf("the host is at %s, want %s", now, want)
			}
		})
	}
}

// TestSwitchPreview: a preview refuses what a run would refuse, and says where it cannot know.
func TestSwitchPreview(t *testing.T) {
	tg := newTarget(t, "x86_64-linux")
	globals := tg.door(false).Must(t, tg.specs, `nix.switch(h, nix.build(".#one"))
p = nix.build(".#plain").path`)
	plain := text(t, globals, "p")
	refused := func(where string) {
		_, err := tg.door(true).Run(t, tg.specs, `nix.switch(h, "`+plain+`")`)
		if err == nil || !strings.Contains(err.Error(), "is not a NixOS system") {
			t.Errorf("with the path %s: %v", where, err)
		}
	}
	refused("here only")
	tg.door(false).Must(t, tg.specs, `nix.copy("`+plain+`", to = h)`)
	if out, err := exec.CommandContext(t.Context(), "nix-store", "--delete", plain).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	refused("on the host only")
	dry := tg.door(true)
	dry.Must(t, tg.specs, `nix.switch(h, nix.build(".#two"))`)
	if p := dry.Predictions[2]; p.Verdict != runtime.WillChange || p.Detail != "system: 1.0 -> 2.0\nit is not built yet: what else differs is known after the build" {
		t.Errorf("predicted %v %q", p.Verdict, p.Detail)
	}
}

func TestConfigurationWithASpace(t *testing.T) {
	tg := newTarget(t, "x86_64-linux")
	config := filepath.Join(t.TempDir(), "my config")
	pool := remote.NewPool(remote.Config{SSHConfig: tg.server.Config})
	t.Cleanup(func() { pool.Close() })
	specs := nix.Specs(pool, "", projectOf(t, systems), config)
	_, err := tg.door(false).Run(t, specs, `nix.copy(nix.build(".#one"), to = h)`)
	if err == nil || !strings.Contains(err.Error(), "nix cannot be told of the ssh configuration") {
		t.Errorf("got %v", err)
	}
}

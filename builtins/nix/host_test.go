package nix_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/calltest"
	"infra/builtins/internal/sshdtest"
	"infra/builtins/nix"
	"infra/builtins/ssh"
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
        printf '#!/bin/sh\ncase "$1" in\ndry-activate) echo "would restart the following units: a.service, b.service" >&2; exit ;;\nboot) echo $out > /run/booted-next; exit ;;\ntest) ;;\n*) exit 9 ;;\nesac\n%%s\n%%s\n' "$does" "$link" > $out/bin/switch-to-configuration
        chmod +x $out/activate $out/bin/switch-to-configuration
      '';
    in {
      packages.x86_64-linux = {
        one = system "1.0" "echo activating one";
        two = system "2.0" "echo activating two";
        broken = system "3.0" "echo some units failed >&2; exit 4";
        lying = system "4.0" "exit 0";
        hangs = system "5.0" "sleep 666";
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
	specs := append(nix.Specs(pool, "", root, server.Config), ssh.Specs(pool, root)...)
	return &target{server, specs, &runtime.Host{Name: "target", System: system}}
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
	if !run.Results[1].Changed || !strings.Contains(run.Log.String(), "copying 1 paths") {
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
	if !run.Results[0].Changed || !strings.Contains(run.Log.String(), "copying 1 paths") {
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
	bytes, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil || bytes < 1024 {
		t.Fatalf("it takes %s: %v", out, err)
	}
	return fmt.Sprintf("%.1f KiB", bytes/1024)
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

			const nothing = "no system of nix runs there: there is nothing to go back to, and no watchdog"
			known, later, ready := "\nrestart: a.service, b.service", "\nwhich units stop and start is known after the copy", "\nif a new connection to target works"
			if system == "aarch64-darwin" {
				known, later = "", ""
			}
			const size = "\nsize: 1.1 KiB -> 1.1 KiB (+0 B)"
			tg.expect(t, "", one, 1, nothing+"\nthe first system of nix on this host"+later+ready)
			tg.expect(t, one, two, 2, "back to "+one+"\npackages: 1 changed\n  system: 1.0 -> 2.0"+size+later+ready)
			tg.expect(t, two, one, 3, "back to "+two+"\npackages: 1 changed\n  system: 2.0 -> 1.0"+size+known+ready)
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
	mac := tg.host.Kind() == runtime.Darwin
	changed, verdict, names := "True", runtime.WillChange, "copy root arm activate reach confirm profile verify"
	if from == to {
		changed, verdict, names = "False", runtime.NoChange, "copy root"
	}
	shown := ""
	for i, p := range dry.Predictions {
		if i > 0 && p.Detail != "" {
			shown += p.Detail + "\n"
		}
	}
	if p := dry.Predictions[1]; p.Verdict != verdict || strings.TrimSpace(shown) != detail {
		t.Errorf("%s -> %s: predicted %v\n%s\nwant\n%s", from, to, p.Verdict, shown, detail)
	}
	run := tg.door(false)
	got := run.Must(t, tg.specs, code)["r"].String()
	previous := from
	if previous == "" {
		previous = "None"
	}
	number := starlark.MakeInt(generation).String()
	want := "switch_result(changed = " + changed + ", previous = " + previous + ", current = " + to + ", generation = " + number + ", units_failed = [], reboot_needed = False)"
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if unknown := "(known after nix.switch, test.star:1)"; from != to {
		want = strings.Replace(want, "generation = "+number, "generation = "+unknown, 1)
		if !mac {
			want = strings.Replace(want, "reboot_needed = False", "reboot_needed = "+unknown, 1)
		}
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
	if guarded := strings.Contains(run.Log.String(), "armed (detached): without a confirmation target goes back to "+from+" in 2m0s"); guarded != (from != to && from != "") {
		t.Errorf("%s -> %s: a watchdog: %v, log %q", from, to, guarded, run.Log.String())
	}
	var asked []string
	for _, op := range run.Ops {
		asked = append(asked, op.Name[strings.LastIndexByte(op.Name, '.')+1:])
	}
	if strings.Join(asked, " ") != names {
		t.Errorf("the operations are %s, want %s", asked, names)
	}
	now := tg.server.Shell(t, "readlink -f /run/current-system /nix/var/nix/profiles/system; ls -d /run/infra/watchdog /nix/var/infra/watchdog 2>/dev/null; pgrep -f back.s[h] || true")
	if now != to+"\n"+to+"\n" {
		t.Errorf("the host is at %s", now)
	}
}

// TestSwitchFails: the host itself goes back to what it ran, and the error says so.
func TestSwitchFails(t *testing.T) {
	tg := newTarget(t, "")
	const back = "rolled back by the host itself to ONE"
	for _, tt := range []struct {
		system, attribute, more string
		want                    []string
		hint                    string
	}{
		{"x86_64-linux", "broken", "", []string{"some units did not start (systemctl --failed lists them): switch-to-configuration failed with exit code 4; " + back + ":\nsome units failed"}, "infra resume tries the same system again"},
		{"x86_64-linux", "lying", "", []string{"the activation ended without an error, and still target runs ONE, not NEW", back}, "infra resume tries the same system again"},
		{"x86_64-linux", "plain", "", []string{"NEW is not a NixOS system: it has no bin/switch-to-configuration"}, "build .#nixosConfigurations.target"},
		{"x86_64-linux", "two", ", checks = [lambda: False]", []string{"check lambda: it returned False", back}, "infra resume tries the same system again"},
		{"x86_64-linux", "two", ", checks = [lambda host: fail(host.name + \" is ill\")]", []string{"target is ill", back}, "infra resume tries the same system again"},
		{"x86_64-linux", "two", ", checks = [lambda host: ssh.run(host, [\"touch\", \"/run/checked\"])]", []string{"check lambda: ", "ssh.run is a change, and a check of nix.switch only reads", back}, "infra resume tries the same system again"},
		{"x86_64-linux", "two", ", via = [\"nowhere.invalid\"], confirm_within = \"5s\"", []string{"nowhere.invalid", back}, "infra resume tries the same system again"},
		{"x86_64-linux", "hangs", ", confirm_within = \"5s\"", []string{back}, "infra resume tries the same system again"},
		{"aarch64-darwin", "broken", "", []string{"the activation failed with exit code 4; " + back + ":\nsome units failed"}, "infra resume tries the same system again"},
		{"aarch64-darwin", "lying", "", []string{"the activation ended without an error, and still target runs ONE, not NEW", back}, "infra resume tries the same system again"},
		{"aarch64-darwin", "hangs", ", confirm_within = \"5s\"", []string{back}, "infra resume tries the same system again"},
		{"aarch64-darwin", "plain", "", []string{"NEW is not a nix-darwin system: it has no activate"}, "build .#darwinConfigurations.target.system"},
	} {
		t.Run(tt.system+" "+tt.attribute+tt.more, func(t *testing.T) {
			tg.host.System = tt.system
			tg.server.Shell(t, "rm -rf /run/current-system /nix/var/nix/profiles/system* /run/infra/watchdog /nix/var/infra/watchdog")
			globals := tg.door(false).Must(t, tg.specs, `one, new = nix.build(".#one"), nix.build(".#`+tt.attribute+`")
nix.switch(h, one)
p1, p2 = one.path, new.path`)
			names := strings.NewReplacer(text(t, globals, "p1"), "ONE", text(t, globals, "p2"), "NEW")
			_, err := tg.door(false).Run(t, tg.specs, `nix.switch(h, nix.build(".#`+tt.attribute+`")`+tt.more+`)`)
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
			now := names.Replace(tg.server.Shell(t, "readlink -f /run/current-system /nix/var/nix/profiles/system; pgrep -f 'back.s[h]|sleep 66[6]' || true"))
			if now != "ONE\nONE\n" {
				t.Errorf("the host is at %s", now)
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
	if p := dry.Predictions[4]; p.Verdict != runtime.WillChange || p.Detail != "system: 1.0 -> 2.0\nit is not built yet: what else differs is known after the build\nwhich units stop and start is known after the copy" {
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

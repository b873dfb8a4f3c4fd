package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// rollback runs infra rollback of a host.
func (tr *trial) rollback(host string, args ...string) ran {
	tr.Helper()
	return tr.infra(append([]string{"rollback", host, "--ssh-config", tr.fleet.SSHConfig(), "--confirm-within", "20s"}, args...)...)
}

// twoGenerations makes the host one that was switched from the old system, generation
// 1, to the new one, generation 2, by somebody else.
func (s *switched) twoGenerations() {
	s.Helper()
	s.exec("cinnabar", "sh", "-c", `rm -rf /etc/lab-fault /ill /begun /run/infra/watchdog /nix/var/nix/profiles/system*
for system; do nix-env -p /nix/var/nix/profiles/system --set "$system" && "$system"/bin/switch-to-configuration switch; done`, "sh", s.old, s.new)
}

// generations is the profile's link, and what each of them leads to.
func (s *switched) generations() string {
	s.Helper()
	said := s.exec("cinnabar", "sh", "-c", `cd /nix/var/nix/profiles && readlink system && for g in system-*-link; do echo "$g=$(readlink $g)"; done`)
	return strings.NewReplacer(s.old, "OLD", s.new, "NEW", "\n", " ").Replace(said)
}

// TestRollback: the host goes to the generation before or to the one that is named, and
// runs what it ran where that is not well. Nothing is done where there is nothing to go
// to, and by a dry run.
func TestRollback(t *testing.T) {
	t.Parallel()
	s := newSwitched(t)
	const (
		there  = "NEW NEW NEW"
		back   = "OLD OLD OLD"
		second = "system-2-link system-1-link=OLD system-2-link=NEW"
		first  = "system-1-link system-1-link=OLD system-2-link=NEW"
	)
	for _, tt := range []struct {
		name        string
		before      string
		broken      string // what the activation of the old system does
		args        []string
		code        int
		says        []string
		state, gens string
	}{
		{name: "a dry run", args: []string{"--dry-run", "--detailed-exitcode"}, code: exitPending, state: there, gens: second,
			says: []string{"dry run of infra rollback cinnabar: cinnabar goes from generation 2 to 1", "back to NEW", "cinnabar -> OLD", "; nothing was changed"}},
		{name: "nobody answers", code: exitHeld, state: there, gens: second,
			says: []string{"Switch cinnabar to generation 1?", "OLD\n", "NEW (current, running)\n", "or with --yes"}},
		{name: "the generation before", args: []string{"--yes"}, state: back, gens: first,
			says: []string{"infra rollback cinnabar: cinnabar goes from generation 2 to 1", "nix.switch.arm", "ok in "}},
		{name: "a generation by its number", before: switchesBack, args: []string{"--yes", "--to", "2"}, state: there, gens: second, says: []string{"ok in "}},
		{name: "the current generation", args: []string{"--to", "2"}, state: there, gens: second, says: []string{"no change"}},
		{name: "there is none before", before: switchesBack, args: []string{"--yes"}, code: exitFailed, state: back, gens: first,
			says: []string{"no generation of cinnabar is before the current one and another system: there is nothing to go back to", "OLD (current, running)", "hint: a later one is gone to by its number: infra rollback cinnabar --to N"}},
		{name: "there is no such generation", args: []string{"--yes", "--to", "7"}, code: exitFailed, state: there, gens: second,
			says: []string{"cinnabar has no generation 7", "    1  2", "OLD\n", "NEW (current, running)"}},
		{name: "there are no generations", before: noProfile, args: []string{"--yes"}, code: exitFailed, state: "NEW /nix/var/nix/profiles/system NEW", gens: "",
			says: []string{"the system profile of cinnabar has no generations: there is nothing to go back to"}},
		{name: "another system was tried out", before: `"$1"/bin/switch-to-configuration test`, args: []string{"--yes"}, state: back, gens: first,
			says: []string{"cinnabar does not run what its profile leads to", "it runs OLD now, and its profile leads to NEW (generation 2)", "It goes to generation 1, which is before that; --to 2 goes to what the profile leads to"}},
		{name: "what the profile leads to", before: `"$1"/bin/switch-to-configuration test`, args: []string{"--yes", "--to", "2"}, state: there, gens: second,
			says: []string{"It goes to generation 2\n"}},
		{name: "it fails", broken: "exit 2", args: []string{"--yes"}, code: exitFailed, state: there + " /run/infra/watchdog/claim /run/infra/watchdog/token", gens: second,
			says: []string{"rolled back by the host itself to NEW", "infra resume"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &switched{s.with(t), s.old, s.new}
			s.twoGenerations()
			s.exec("cinnabar", "sh", "-c", or(tt.before, ":"), "sh", s.old)
			if tt.broken != "" {
				s.fault("", tt.broken)
			}
			var said ran
			if tt.code == exitOK || tt.broken != "" {
				said = s.names(s.rollback("cinnabar", tt.args...))
			} else {
				s.unchanged(func() { said = s.names(s.rollback("cinnabar", tt.args...)) })
			}
			said.want(t, tt.code, tt.says...)
			if got := s.state(); got != tt.state {
				t.Errorf("the host has %s, want %s\n%s", got, tt.state, said.stderr)
			}
			if tt.gens != "" && s.generations() != tt.gens {
				t.Errorf("the profile is %s, want %s", s.generations(), tt.gens)
			}
		})
	}
	t.Run("it is killed, and resumed", func(t *testing.T) { (&switched{s.with(t), s.old, s.new}).killedRollback() })
	t.Run("garbage is collected", func(t *testing.T) { (&switched{s.with(t), s.old, s.new}).collected() })
}

// collected has every system garbage-collected that nothing leads to: while the new one
// is activated, and afterwards. What ran before is there until the next switch, and the
// one that failed is too, for infra resume; after the next it is gone.
func (s *switched) collected() {
	s.Helper()
	const collect = "nix-collect-garbage -d >/dev/null 2>&1"
	third := s.build(3)
	s.write("plans/third.star", fmt.Sprintf(switchPlan, third, "20s", ""))
	held := func(want string) {
		s.Helper()
		s.exec("cinnabar", "sh", "-c", collect)
		said := s.exec("cinnabar", "sh", "-c", `for system; do [ ! -e "$system" ] || echo "$system"; done`, "sh", s.old, s.new, third)
		if got := strings.NewReplacer(s.old, "OLD", s.new, "NEW", third, "THIRD", "\n", " ").Replace(said); got != want {
			s.Errorf("the host has %s, want %s", got, want)
		}
	}
	s.reset()
	s.exec("cinnabar", "sh", "-c", noProfile)
	s.fault(collect+"; exit 2", "")
	s.names(s.switches("20s", "")).want(s.T, exitFailed, "rolled back by the host itself to OLD")
	held("OLD NEW")
	s.exec("cinnabar", "rm", "-rf", "/etc/lab-fault", "/run/infra/watchdog")
	s.plan("plans/third.star").want(s.T, exitOK)
	held("OLD THIRD")
	s.rollback("cinnabar", "--yes").want(s.T, exitFailed, "there is nothing to go back to")
	s.switches("20s", "").want(s.T, exitOK)
	held("NEW THIRD")
}

// switchesBack makes the old system the current one, as nixos-rebuild does.
const switchesBack = `nix-env -p /nix/var/nix/profiles/system --switch-generation 1 && "$1"/bin/switch-to-configuration switch`

// killedRollback kills a rollback whose activation goes on: another process of the same
// run confirms it, without any plan file, and infra undo refuses it.
func (s *switched) killedRollback() {
	s.Helper()
	s.twoGenerations()
	s.fault("", "touch /begun; until [ -e /go ]; do sleep .02; done; rm /go")
	cmd := exec.Command("infra", "rollback", "cinnabar", "--yes", "--ssh-config", s.fleet.SSHConfig())
	cmd.Dir, cmd.Env = s.fleet.Project(), append(os.Environ(), s.fleet.Env()...)
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.wait("it is activated", func() bool { _, err := s.fleet.Exec("cinnabar", "test", "-e", "/begun"); return err == nil })
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	s.exec("cinnabar", "touch", "/go")
	s.write("plans/fleet.star", "this is no Starlark")
	defer func() {
		if err := s.fleet.CopyPlans(s.Context(), "../../plans"); err != nil {
			s.Error(err)
		}
	}()
	s.names(s.infra("resume")).want(s.T, exitOK, "of infra rollback cinnabar: cinnabar goes from generation 2 to 1")
	if got := s.state(); got != "OLD OLD OLD" {
		s.Errorf("the host has %s", got)
	}
	if said := s.infra("log"); !strings.Contains(said.stdout, "  rollback cinnabar  ") {
		s.Errorf("infra log does not have it:\n%s", said.stdout)
	}
	s.infra("undo", "last", "--yes").want(s.T, exitUsage, "is itself a rollback, of cinnabar from generation 2 to 1", "hint: infra rollback cinnabar --to 2 goes to where it was")
	s.infra("resume").want(s.T, exitUsage, "ended well", "hint: infra rollback cinnabar --to 1 runs it again")
}

// TestRollbackOfAMac: a Mac, and a host that only fleet.star declares.
func TestRollbackOfAMac(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "rosegold")
	var systems []string
	for n := range 2 {
		if err := tr.fleet.SetGeneration(t.Context(), n+1); err != nil {
			t.Fatal(err)
		}
		tr.write("plans/t.star", `
load("fleet.star", "fleet")
def f(): nix.switch(fleet["rosegold"], nix.build(".#darwinConfigurations.rosegold.system"), confirm_within = "60s")
p = plan(hosts = [fleet["rosegold"]], steps = [step(f)])
`)
		tr.plan("plans/t.star").want(t, exitOK)
		systems = append(systems, tr.built("darwinConfigurations.rosegold.system"))
	}
	tr.write("plans/t.star", "p = plan(")
	tr.rollback("rosegold", "--yes").want(t, exitOK, "plans/t.star cannot be read, and may declare rosegold too: plans/t.star:", "rosegold goes from generation 2 to 1")
	want := fmt.Sprintf("%s\n%s\nsystem-1-link", systems[0], systems[0])
	if got := tr.exec("rosegold", "sh", "-c", "readlink -f /run/current-system /nix/var/nix/profiles/system; readlink /nix/var/nix/profiles/system; ls -d /nix/var/infra/watchdog 2>/dev/null; true"); got != want {
		t.Errorf("the host has\n%s\nwant\n%s", got, want)
	}
}

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// toplevel is the system of the host that the switches are tried on.
const toplevel = "nixosConfigurations.cinnabar.config.system.build.toplevel"

// A switched is a host that runs one system, and another that it is switched to.
type switched struct {
	*trial
	old, new string
}

const switchPlan = `
load("fleet.star", "fleet")
vps = fleet["cinnabar"]
def well(host): return struct(ok = not ssh.run(host, "test -e /ill", reads = True, check = False).code == 0, detail = "it is ill")
def f():
    r = nix.switch(vps, %q, confirm_within = %q, checks = [well]%s)
    log("changed %%s, previous %%s, current %%s, generation %%d, failed %%s, reboot %%s" %% (r.changed, r.previous, r.current, r.generation, r.units_failed, r.reboot_needed))
p = plan(hosts = [vps], steps = [step(f)])
`

// newSwitched brings up a host with a systemd that runs a system which infra
// never deployed, and builds another one.
func newSwitched(t *testing.T) *switched {
	t.Helper()
	s := &switched{trial: newSystemdTrial(t, "cinnabar")}
	s.old = s.build(1)
	s.new = s.build(2)
	s.write("plans/copy.star", fmt.Sprintf(`
load("fleet.star", "fleet")
def f(): nix.copy([%q, %q], to = fleet["cinnabar"])
p = plan(hosts = [fleet["cinnabar"]], steps = [step(f)])
`, s.old, s.new))
	s.plan("plans/copy.star").want(t, exitOK)
	s.exec("cinnabar", "sh", "-c", `printf '%s\n' "$1" >/etc/systemd/system/starts.service
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -s ../starts.service /etc/systemd/system/multi-user.target.wants/`, "sh", startsSystem)
	s.reset()
	return s
}

// startsSystem is what a boot of a NixOS does: the profile leads to the system.
const startsSystem = `[Unit]
Before=ssh.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'ln -sfn $$(readlink -f /nix/var/nix/profiles/system) /run/current-system'`

// build makes the system of a generation and returns its path.
func (s *switched) build(generation int) string {
	s.Helper()
	if err := s.fleet.SetGeneration(s.Context(), generation); err != nil {
		s.Fatal(err)
	}
	s.write("plans/build.star", fmt.Sprintf("def f(): nix.build(%q)\np = plan(steps = [step(f)])\n", ".#"+toplevel))
	s.plan("plans/build.star").want(s.T, exitOK)
	return s.built(toplevel)
}

// reset makes the host one that somebody else has switched to the old system.
func (s *switched) reset() {
	s.Helper()
	s.exec("cinnabar", "sh", "-c", `rm -rf /etc/lab-fault /ill /fill /nix/fill /run/infra/watchdog
nix-env -p /nix/var/nix/profiles/system --set "$1" && "$1"/bin/switch-to-configuration switch`, "sh", s.old)
}

// fault makes the activation of the new system do one thing, and that of the old one
// another.
func (s *switched) fault(broken, mended string) {
	s.Helper()
	s.exec("cinnabar", "sh", "-c", `printf '%s\n' "$1" >/etc/lab-fault`, "sh",
		fmt.Sprintf("case $action,$system in\ntest,%s)\n%s ;;\ntest,*)\n%s ;;\nesac", s.new, or(broken, ":"), or(mended, ":")))
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func (s *switched) switches(within, more string) ran {
	s.Helper()
	s.write("plans/t.star", fmt.Sprintf(switchPlan, s.new, within, more))
	return s.plan("plans/t.star")
}

// state is what the host runs, what its profile and its boot entry lead to, and what
// is left of a watchdog that may still do something.
func (s *switched) state() string {
	s.Helper()
	said := s.exec("cinnabar", "sh", "-c", `readlink -f /run/current-system /nix/var/nix/profiles/system
sed 's/ init=.*//; s/linux //; s/.kernel//' /boot/loader/entries/nixos.conf
systemctl list-units --all --no-legend --plain 'infra-watchdog*' nixos-rebuild-switch-to-configuration.service | cut -d' ' -f1,3
ls /run/infra/watchdog/claim /run/infra/watchdog/token 2>/dev/null; true`)
	return strings.NewReplacer(s.old, "OLD", s.new, "NEW", "\n", " ").Replace(said)
}

// names are an output with the systems by name.
func (s *switched) names(r ran) ran {
	r.stderr = strings.NewReplacer(s.old, "OLD", s.new, "NEW").Replace(r.stderr)
	return r
}

const (
	confirmedNew = "NEW NEW NEW"
	backAtOld    = "OLD OLD OLD /run/infra/watchdog/claim /run/infra/watchdog/token" // which a boot, or the next switch, removes
)

// TestSwitchUnderSystemd: whatever the new system breaks, the host runs exactly the
// old one in the end, or the confirmed new one, and infra says which.
func TestSwitchUnderSystemd(t *testing.T) {
	t.Parallel()
	s := newSwitched(t)
	rolledBack := "rolled back by the host itself to OLD"
	for _, tt := range []struct {
		name           string
		before         string
		broken, mended string
		within, more   string
		code           int
		says           []string
		state          string
		booted         string // the state after a boot; "" boots nothing
	}{
		{name: "nothing is wrong", says: []string{"changed True, previous OLD, current NEW, generation 2, failed [], reboot False"}, state: confirmedNew},
		{name: "an activation script fails", broken: "exit 2", code: exitFailed, says: []string{"an activation script: switch-to-configuration failed with exit code 2", rolledBack}, state: backAtOld},
		{name: "a check before the switch fails", broken: "exit 1", code: exitFailed, says: []string{"exit code 1", rolledBack}, state: backAtOld},
		{name: "units fail", broken: `ln -sfn $system /run/current-system; echo "warning: the following units failed: b.service, a.service" >&2; exit 4`, code: exitFailed,
			says: []string{"some units did not start", "b.service, a.service", rolledBack}, state: backAtOld},
		{name: "units fail, and may", broken: `ln -sfn $system /run/current-system; echo "warning: the following units failed: b.service, a.service" >&2; exit 4`,
			more: `, degraded = "warn"`, says: []string{`failed ["a.service", "b.service"]`}, state: confirmedNew},
		{name: "it needs a reboot", broken: `exit 100`, says: []string{"current OLD, generation", "reboot True"}, state: "OLD NEW NEW"},
		{name: "the activation hangs", broken: "sleep 1000", code: exitFailed, says: []string{rolledBack}, state: backAtOld},
		{name: "the activation is killed", broken: "ln -sfn $system /run/current-system; kill -KILL $$", code: exitFailed, says: []string{rolledBack}, state: backAtOld},
		{name: "a check fails", broken: "touch /ill", mended: "rm -f /ill", code: exitFailed, says: []string{"check well: it is ill", rolledBack}, state: backAtOld},
		{name: "sshd is gone", broken: "systemctl stop ssh.socket ssh.service", mended: "systemctl start ssh.service", code: exitFailed,
			says: []string{"no new connection", "not confirmed within 10s", rolledBack}, state: backAtOld},
		{name: "sshd and its sessions are gone", broken: "systemctl stop ssh.socket ssh.service; pkill -KILL sshd", mended: "systemctl start ssh.service", code: exitFailed,
			says: []string{rolledBack}, state: backAtOld},
		{name: "the sessions are killed, and sshd is there", broken: "pkill -KILL sshd-session || pkill -KILL -f 'sshd: root@'", says: []string{"changed True, previous OLD, current NEW"}, state: confirmedNew},
		{name: "the network is gone", broken: dropAll, mended: dropNothing, code: exitFailed, says: []string{rolledBack}, state: backAtOld},
		{name: "the host has another key", code: exitFailed, says: []string{"host key", rolledBack}, state: backAtOld,
			broken: `cp -a /etc/ssh /root/ssh; rm /etc/ssh/ssh_host_ed25519_key*; ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key; sed -i /HostCertificate/d /etc/ssh/sshd_config; systemctl restart ssh`,
			mended: `rm -rf /etc/ssh; mv /root/ssh /etc/ssh; systemctl restart ssh`},
		{name: "nothing ran before", before: noSystem, says: []string{"changed True, previous None, current NEW"}, state: confirmedNew},
		{name: "nothing ran before, and it fails", before: noSystem, broken: "exit 2", code: exitFailed,
			says: []string{"failed with exit code 2", "it runs no system of nix now"}, state: "/run/current-system /nix/var/nix/profiles/system OLD"},
		{name: "no generation leads to what ran, and garbage is collected", before: noProfile, broken: "nix-collect-garbage -d >/dev/null 2>&1; exit 2", code: exitFailed,
			says: []string{rolledBack}, state: strings.Replace(backAtOld, "OLD OLD", "OLD /nix/var/nix/profiles/system", 1)},
		{name: "the disk is full", broken: "cat /dev/zero >/fill; cat /dev/zero >/nix/fill; exit 2", code: exitFailed, says: []string{rolledBack}, state: backAtOld},
		{name: "from the next boot on", broken: "touch /ill", more: `, action = "boot"`, says: []string{"changed True, previous OLD, current OLD, generation", "reboot True"},
			state: "OLD NEW NEW", booted: confirmedNew},
		{name: "until the next boot", more: `, action = "test"`, says: []string{"changed True, previous OLD, current NEW, generation", "reboot False"},
			state: "NEW OLD OLD", booted: "OLD OLD OLD"},
		{name: "until the next boot, and it fails", broken: "touch /ill", mended: "rm -f /ill", more: `, action = "test"`, code: exitFailed, says: []string{"check well: it is ill", rolledBack}, state: backAtOld},
		{name: "another way is closed", more: `, via = ["ssh://root@cinnabar:2223"]`, code: exitFailed, says: []string{"no new connection", ":2223", rolledBack}, state: backAtOld},
		{name: "another way is open", more: `, via = ["root@cinnabar"]`, says: []string{"current NEW"}, state: confirmedNew},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &switched{s.with(t), s.old, s.new}
			s.reset()
			s.exec("cinnabar", "sh", "-c", tt.before)
			s.fault(tt.broken, tt.mended)
			began := time.Now()
			said := s.names(s.switches(or(tt.within, "10s"), tt.more))
			t.Logf("it took %s", time.Since(began).Round(100*time.Millisecond))
			said.want(t, tt.code, tt.says...)
			if got := s.state(); got != tt.state {
				t.Errorf("the host has %s, want %s\n%s", got, tt.state, said.stderr)
			}
			if tt.booted == "" {
				return
			}
			if err := s.fleet.Reboot(t.Context(), "cinnabar"); err != nil {
				t.Fatal(err)
			}
			if got := s.state(); got != tt.booted {
				t.Errorf("after a boot the host has %s, want %s", got, tt.booted)
			}
		})
	}
}

// What makes the host one that was not NixOS before, and one whose system is of no generation.
const (
	noProfile = "rm -f /nix/var/nix/profiles/system*"
	noSystem  = noProfile + " /run/current-system"
)

// What drops every packet that goes out, and what ends that.
const (
	laboratory  = `address=$(ip -4 -o address show dev lan0 | sed 's|.*inet ||; s|/.*||'); `
	dropAll     = laboratory + `ip route replace blackhole ${address%.*}.1 table local`
	dropNothing = laboratory + `ip route replace ${address%.*}.1 dev lan0 src $address table local`
)

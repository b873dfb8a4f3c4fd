package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
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

// TestSwitchAndInfraIsKilled: the host goes back without infra, a boot goes back by
// itself, and a run that is resumed in time confirms what ran before it as the previous
// system.
func TestSwitchAndInfraIsKilled(t *testing.T) {
	t.Parallel()
	s := newSwitched(t)
	for _, tt := range []struct {
		name      string
		within    string
		meanwhile func(*switched)
		code      int
		says      []string
		state     string
	}{
		{"resumed in time", "60s", func(*switched) {}, exitOK, []string{"changed True, previous OLD, current NEW"}, confirmedNew},
		{"resumed too late", "5s", func(s *switched) {
			s.wait("the host went back", func() bool { return s.state() == backAtOld })
		}, exitFailed, []string{"was not confirmed within 5s", "rolled back by the host itself to OLD"}, backAtOld},
		{"the host is booted", "60s", func(s *switched) {
			if err := s.fleet.Reboot(s.Context(), "cinnabar"); err != nil {
				s.Fatal(err)
			}
		}, exitFailed, []string{"booted", "the host runs OLD, as before"}, "OLD OLD OLD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &switched{s.with(t), s.old, s.new}
			s.reset()
			s.write("plans/t.star", fmt.Sprintf(switchPlan, s.new, tt.within, ""))
			s.fault("touch /activating; sleep 1", "")
			cmd, lines := s.start("nix.switch.activate", "plans/t.star")
			s.wait("it is activated", func() bool { return strings.HasPrefix(s.state(), "NEW") })
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_, _ = io.ReadAll(lines)
			_ = cmd.Wait()
			tt.meanwhile(s)
			said := s.names(s.infra("resume"))
			said.want(t, tt.code, tt.says...)
			if got := s.state(); got != tt.state {
				t.Errorf("the host has %s, want %s", got, tt.state)
			}
			if testing.Verbose() {
				t.Log(said.stderr)
			}
		})
	}
}

// TestSwitchIsResumedAfterTheHostWentBack: what the host took back is done anew, as
// often as the run is resumed.
func TestSwitchIsResumedAfterTheHostWentBack(t *testing.T) {
	t.Parallel()
	s := newSwitched(t)
	for _, tt := range []struct{ name, broken, mended string }{
		{"the activation failed", "exit 2", ""},
		{"a check failed", "touch /ill", "rm -f /ill"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &switched{s.with(t), s.old, s.new}
			s.reset()
			s.fault(tt.broken, tt.mended)
			back := []string{"rolled back by the host itself to OLD", "hint: infra resume tries the same system again"}
			s.names(s.switches("10s", "")).want(t, exitFailed, back...)
			s.names(s.infra("resume")).want(t, exitFailed, back...)
			if got := s.state(); got != backAtOld {
				t.Errorf("the host has %s, want %s", got, backAtOld)
			}
			s.exec("cinnabar", "rm", "-f", "/etc/lab-fault", "/ill")
			s.names(s.infra("resume")).want(t, exitOK, "changed True, previous OLD, current NEW")
			if got := s.state(); got != confirmedNew {
				t.Errorf("the host has %s, want %s", got, confirmedNew)
			}
		})
	}
}

// TestSwitchAndTheConfirmationIsLost cuts the link when the confirmation is on its way,
// for less and for more than the host waits.
func TestSwitchAndTheConfirmationIsLost(t *testing.T) {
	t.Parallel()
	s := newSwitched(t)
	link, err := s.fleet.Link("cinnabar", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := link.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, tt := range []struct {
		name   string
		marker string // the operation that is asked for; "" waits for the activation on the host
		within string
		cut    time.Duration
		code   int // -1: whichever the moment makes it
	}{
		{"the confirmation, for a moment", "nix.switch.confirm", "20s", 2 * time.Second, exitOK},
		{"the confirmation, for too long", "nix.switch.confirm", "5s", 15 * time.Second, -1},
		{"the activation, for too long", "", "5s", 15 * time.Second, exitFailed},
		{"the activation, for a moment", "", "20s", 10 * time.Second, exitOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &switched{s.with(t), s.old, s.new}
			s.reset()
			s.fault("touch /ill; sleep 1; rm /ill", "")
			s.write("plans/t.star", fmt.Sprintf(switchPlan, s.new, tt.within, ""))
			cmd, lines := s.start(or(tt.marker, "nix.switch.activate"), "plans/t.star")
			if tt.marker == "" {
				s.wait("it is activated", func() bool { _, err := s.fleet.Exec("cinnabar", "test", "-e", "/ill"); return err == nil })
			}
			link.Cut()
			time.AfterFunc(tt.cut, link.Mend)
			said := s.names(ended(t, cmd, lines))
			s.agrees(said)
			if tt.code >= 0 && said.code != tt.code {
				t.Errorf("exit code %d, want %d\n%s", said.code, tt.code, said.stderr)
			}
			t.Logf("it ended with %d, and the host has %s", said.code, s.state())
		})
	}
}

// agrees holds a report against its host.
func (s *switched) agrees(said ran) {
	s.Helper()
	state := s.state()
	switch {
	case said.code == exitOK && state == confirmedNew:
	case said.code == exitFailed && (state == backAtOld || state == "OLD OLD OLD") &&
		(strings.Contains(said.stderr, "rolled back by the host itself to OLD") || strings.Contains(said.stderr, "the host runs OLD, as before")):
	default:
		s.Errorf("exit code %d, and the host has %s\n%s", said.code, state, said.stderr)
	}
}

// TestSwitchAtRandom disturbs switches at random moments: after every one the host
// runs the old system or the confirmed new one, and infra's report says which.
func TestSwitchAtRandom(t *testing.T) {
	t.Parallel()
	s := newSwitched(t)
	switches := 5
	if n, err := strconv.Atoi(os.Getenv("INFRA_SWITCHES")); err == nil {
		switches = n
	}
	ends := map[string]int{}
	for i := range switches {
		s.reset()
		s.fault("sleep 0.5", "")
		s.write("plans/t.star", fmt.Sprintf(switchPlan, s.new, "6s", ""))
		cmd, lines := s.start("run ", "plans/t.star")
		delay := time.Duration(rand.IntN(2500)) * time.Millisecond
		time.Sleep(delay) // the moment is what is random
		disturbances := []string{"infra is killed", "the sessions are killed", "the host is booted", "the activation is killed", "sshd is stopped for a while"}
		what := disturbances[rand.IntN(len(disturbances))]
		var err error
		switch what {
		case "infra is killed":
			err = cmd.Process.Kill()
		case "the sessions are killed":
			_, _ = s.fleet.Exec("cinnabar", "pkill", "-KILL", "sshd-session")
		case "the host is booted":
			err = s.fleet.Reboot(t.Context(), "cinnabar")
		case "the activation is killed":
			_, _ = s.fleet.Exec("cinnabar", "systemctl", "kill", "-s", "KILL", "nixos-rebuild-switch-to-configuration.service")
		case "sshd is stopped for a while":
			s.exec("cinnabar", "sh", "-c", "systemctl stop ssh.service; systemd-run --quiet --on-active=3 --timer-property=AccuracySec=100ms systemctl start ssh.service")
		}
		if err != nil && cmd.ProcessState == nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		said := s.names(ended(t, cmd, lines))
		s.wait("sshd answers", func() bool {
			_, err := s.fleet.Exec("cinnabar", "systemctl", "is-active", "ssh.service")
			return err == nil
		})
		for n := 0; said.code != exitOK && !isVerdict(said) && n < 5; n++ {
			said = s.names(s.infra("resume"))
			if said.code == exitUsage && strings.Contains(said.stderr, "ended well: there is nothing to go on with") {
				said.code = exitOK // it was killed when all was done
			}
		}
		before := t.Failed()
		s.agrees(said)
		ends[fmt.Sprintf("%s: %s", what, strings.Fields(s.state())[0])]++
		if t.Failed() && !before {
			t.Errorf("%d: %s after %s", i, what, delay)
		}
	}
	t.Logf("%d switches: %v", switches, ends)
}

// isVerdict says whether a report tells what the host runs.
func isVerdict(r ran) bool {
	return strings.Contains(r.stderr, "rolled back by the host itself to OLD") || strings.Contains(r.stderr, "the host runs OLD, as before")
}

// launchctl stands in for launchd's: it starts a daemon in a session of its own, and
// ends it.
const launchctl = `#!/bin/sh
echo "launchctl $*" >>/var/log/launchctl
case $1 in
bootstrap) setsid sh -c "$(sed -n '/<array>/,/<\/array>/p' "$3" | tr -d '\n' | sed 's|.*<string>-c</string> *<string>||; s|</string>.*||')" </dev/null >/dev/null 2>&1 & ;;
bootout) pkill -KILL -f 'watchdog/back.s[h]' ;;
esac
`

// TestSwitchOnAMac has launchd's stand-in hold the watchdog: it goes back, also after a
// boot, and is gone without a trace after the confirmation.
func TestSwitchOnAMac(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "blackphos")
	tr.exec("blackphos", "sh", "-c", `mkdir -p /Library/LaunchDaemons; printf '%s' "$1" >/usr/local/bin/launchctl; chmod +x /usr/local/bin/launchctl`, "sh", launchctl)
	var systems []string
	for n := range 2 {
		if err := tr.fleet.SetGeneration(t.Context(), n+1); err != nil {
			t.Fatal(err)
		}
		tr.write("plans/t.star", `
load("fleet.star", "fleet")
def f(): nix.copy(nix.build(".#darwinConfigurations.blackphos.system"), to = fleet["blackphos"])
p = plan(hosts = [fleet["blackphos"]], steps = [step(f)])
`)
		tr.plan("plans/t.star").want(t, exitOK)
		systems = append(systems, tr.built("darwinConfigurations.blackphos.system"))
	}
	switches := func(system, more string) {
		tr.write("plans/t.star", `
load("fleet.star", "fleet")
def f(): log("previous %s" % nix.switch(fleet["blackphos"], "`+system+`", confirm_within = "6s"`+more+`).previous)
p = plan(hosts = [fleet["blackphos"]], steps = [step(f)])
`)
	}
	is := func(current string) {
		t.Helper()
		left := tr.exec("blackphos", "sh", "-c", "readlink -f /run/current-system /nix/var/nix/profiles/system; ls /Library/LaunchDaemons | grep -v zerotier; pgrep -f 'back.s[h]'; true")
		if left != current+"\n"+current {
			t.Errorf("the host has %s, want %s", left, current)
		}
	}
	switches(systems[0], "")
	tr.plan("plans/t.star").want(t, exitOK, "previous None")
	switches(systems[1], "")
	tr.plan("plans/t.star").want(t, exitOK, "previous "+systems[0])
	is(systems[1])
	if said := tr.exec("blackphos", "cat", "/var/log/launchctl"); !strings.Contains(said, "bootstrap system /Library/LaunchDaemons/org.infra.watchdog.plist") {
		t.Errorf("launchctl was asked for %q", said)
	}
	tr.exec("blackphos", "sh", "-c", "! test -e /nix/var/infra/watchdog")

	switches(systems[0], ", checks = [lambda: False]")
	tr.plan("plans/t.star").want(t, exitFailed, "rolled back by the host itself to "+systems[1])
	is(systems[1])

	switches(systems[0], "")
	tr.exec("blackphos", "sh", "-c", `printf '%s\n' 'if [ $system = `+systems[0]+` ]; then echo half >/etc/half; sleep 100; else rm -f /etc/half; fi' >/etc/lab-fault`)
	cmd, lines := tr.start("nix.switch.activate", "plans/t.star")
	tr.wait("it is half activated", func() bool { _, err := tr.fleet.Exec("blackphos", "test", "-e", "/etc/half"); return err == nil })
	_ = cmd.Process.Kill()
	ended(t, cmd, lines)
	if err := tr.fleet.Reboot(t.Context(), "blackphos"); err != nil {
		t.Fatal(err)
	}
	// As launchd does at a boot, with what it finds in its folder; and nix-darwin, from the profile.
	tr.exec("blackphos", "sh", "-c", `ln -sfn $(readlink -f /nix/var/nix/profiles/system) /run/current-system
launchctl bootstrap system /Library/LaunchDaemons/org.infra.watchdog.plist`)
	tr.wait("the host has gone back", func() bool {
		_, err := tr.fleet.Exec("blackphos", "test", "-h", "/nix/var/infra/watchdog/ended")
		return err == nil
	})
	is(systems[1])
	tr.exec("blackphos", "sh", "-c", "! test -e /etc/half")
}

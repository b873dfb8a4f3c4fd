package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

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
	tr.exec("blackphos", "sh", "-c", "! ls -d /nix/var/infra/*")

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

// TestSwitchOfAMacGoesWrong has launchd's stand-in take the Mac back from whatever the
// new system breaks.
func TestSwitchOfAMacGoesWrong(t *testing.T) {
	t.Parallel()
	const host, system = "blackphos", "darwinConfigurations.blackphos.system"
	tr := newTrial(t, host)
	tr.exec(host, "sh", "-c", `mkdir -p /Library/LaunchDaemons; printf '%s' "$1" >/usr/local/bin/launchctl; chmod +x /usr/local/bin/launchctl`, "sh", launchctl)
	plan := func(system, within string) {
		tr.write("plans/t.star", fmt.Sprintf(`
load("fleet.star", "fleet")
def f():
    r = nix.switch(fleet["blackphos"], %s, confirm_within = %q)
    log("changed %%s, previous %%s, current %%s" %% (r.changed, r.previous, r.current))
p = plan(hosts = [fleet["blackphos"]], steps = [step(f)])
`, system, within))
	}
	var systems []string
	for n := range 2 {
		if err := tr.fleet.SetGeneration(t.Context(), 2-n); err != nil {
			t.Fatal(err)
		}
		systems = append([]string{tr.built(system)}, systems...)
		plan(`nix.build(".#`+system+`")`, "60s")
		tr.plan("plans/t.star").want(t, exitOK)
	}
	before, after := systems[0], systems[1]
	names := func(text string) string { return strings.NewReplacer(before, "OLD", after, "NEW").Replace(text) }
	state := func() string {
		return names(tr.exec(host, "sh", "-c", "echo $(readlink -f /run/current-system /nix/var/nix/profiles/system; ls /Library/LaunchDaemons | grep infra; pgrep -f 'back.s[h]')"))
	}
	killed := func(tr *trial) {
		cmd, lines := tr.start("nix.switch.activate", "plans/t.star")
		tr.wait("it is activated", func() bool { _, err := tr.fleet.Exec(host, "test", "-e", "/activating"); return err == nil })
		if err := cmd.Process.Kill(); err != nil {
			tr.Fatal(err)
		}
		_, _ = io.ReadAll(lines)
		_ = cmd.Wait()
		tr.exec(host, "rm", "-f", "/held")
	}
	// It is not over before infra is.
	const held = "[ -e /activating ] || { touch /held /activating; while [ -e /held ]; do sleep 0.1; done; }"
	const back = "rolled back by the host itself to OLD"
	const once = "[ ! -e /activating ] || exit 7; touch /activating; "
	for _, tt := range []struct {
		name, broken, mended, within string
		killed                       bool // infra is, once it is activated
		late                         bool // and it is resumed when the host has gone back
		booted                       bool // which it does after a boot
		code                         int
		says, state                  string
	}{
		{name: "the activation fails", broken: "exit 3", within: "60s", code: exitFailed, says: back, state: "OLD OLD"},
		{name: "the activation hangs", broken: "sleep 1000", within: "5s", code: exitFailed, says: back, state: "OLD OLD"},
		{name: "the activation is killed midway", broken: "ln -sfn $system /run/current-system; kill -KILL $$", within: "60s", code: exitFailed, says: back, state: "OLD OLD"},
		{name: "sshd answers nobody", broken: "pkill -STOP -o -x sshd", mended: "pkill -CONT -o -x sshd", within: "5s", code: exitFailed, says: back, state: "OLD OLD"},
		{name: "infra is killed, and resumed too late, which activates anew", broken: "ln -sfn $system /run/current-system; " + held, within: "5s", killed: true, late: true,
			says: "blackphos went back to OLD by itself, since infra had ended before it confirmed NEW", state: "NEW NEW"},
		{name: "infra is killed, and the Mac is booted", broken: "ln -sfn $system /run/current-system; " + held, within: "60s", killed: true, late: true, booted: true,
			code: exitFailed, says: "blackphos was booted, or switched, before the confirmation; " + back, state: "OLD OLD"},
		{name: "infra is killed, and resumed in time", broken: "ln -sfn $system /run/current-system; " + held, within: "60s", killed: true,
			says: "changed True, previous OLD, current NEW", state: "NEW NEW"},
		{name: "infra is killed amid the activation, and resumed", broken: once + "sleep 5; ln -sfn $system /run/current-system", within: "60s", killed: true,
			says: "changed True, previous OLD, current NEW", state: "NEW NEW"},
		{name: "its connection is killed amid the activation", broken: once + "pkill -KILL sshd-session || pkill -KILL -f 'sshd: root@'; sleep 5", within: "60s",
			says: "changed True, previous OLD, current NEW", state: "NEW NEW"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := tr.with(t)
			tr.exec(host, "sh", "-c", `rm -f /etc/lab-fault; nix-env -p /nix/var/nix/profiles/system --set "$1" && "$1"/activate`, "sh", before)
			tr.exec(host, "sh", "-c", "rm -f /activating; printf '%s\n' \"$1\" >/etc/lab-fault", "sh",
				fmt.Sprintf("case $system in\n%s)\n%s ;;\n*)\n%s ;;\nesac", after, tt.broken, or(tt.mended, ":")))
			plan(`"`+after+`"`, tt.within)
			var said ran
			if tt.killed {
				killed(tr)
				if tt.booted {
					tr.exec(host, "ln", "-sfn", "an-earlier-one", "/nix/var/infra/watchdog/boot")
				}
				if tt.late {
					tr.wait("the host has gone back", func() bool { return state() == "OLD OLD" })
				}
				said = tr.infra("resume")
			} else {
				said = tr.plan("plans/t.star")
			}
			said.stderr = names(said.stderr)
			said.want(t, tt.code, tt.says)
			tr.wait("nothing watches any more", func() bool { return state() == tt.state })
		})
	}
}

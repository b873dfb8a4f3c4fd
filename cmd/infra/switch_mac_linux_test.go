package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

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
	}
	const back = "rolled back by the host itself to OLD"
	for _, tt := range []struct {
		name, broken, mended, within string
		killed                       bool // infra is, once it is activated
		late                         bool // and it is resumed when the host has gone back
		code                         int
		says, state                  string
	}{
		{name: "the activation fails", broken: "exit 3", within: "60s", code: exitFailed, says: back, state: "OLD OLD"},
		{name: "the activation hangs", broken: "sleep 1000", within: "5s", code: exitFailed, says: back, state: "OLD OLD"},
		{name: "the activation is killed midway", broken: "ln -sfn $system /run/current-system; kill -KILL $$", within: "60s", code: exitFailed, says: back, state: "OLD OLD"},
		{name: "sshd answers nobody", broken: "pkill -STOP -o -x sshd", mended: "pkill -CONT -o -x sshd", within: "5s", code: exitFailed, says: back, state: "OLD OLD"},
		{name: "infra is killed, and resumed too late, which activates anew", broken: "ln -sfn $system /run/current-system; touch /activating", within: "5s", killed: true, late: true,
			says: "changed True, previous OLD, current NEW", state: "NEW NEW"},
		{name: "infra is killed, and resumed in time", broken: "ln -sfn $system /run/current-system; touch /activating", within: "60s", killed: true,
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

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"infra/examples/lab/fleet"
)

// A rebooted is a host with a systemd that counts its boots on its disk, and that
// keeps its sshd down in each until there is a file.
type rebooted struct {
	*trial
	home string // root's, on the host's disk, which can be looked at while the host boots
}

// rebootPlan reboots a host and goes on there.
const rebootPlan = `
load("fleet.star", "fleet")
vps = fleet[%q]
def f():
    before = ssh.facts(vps).boot_id
    done = ssh.reboot(vps, timeout = %q)
    held = ssh.run(vps, ["flock", "-n", "/tmp/infra.lock", "true"], reads = True, check = False).code == 1
    now = ssh.facts(vps).boot_id
    log("another boot %%s, the one that it says %%s, held %%s" %% (now != before, now == done.boot_id, held))
def after(_): ssh.run(vps, "echo after >> /root/after")
p = plan(hosts = [vps], steps = [step(f), step(after, needs = [f])])
`

const wellRebooted = "another boot True, the one that it says True, held True"

// bootUnits are what counts the boots, what sshd waits for, and somebody who takes
// the lock of the host in a boot before infra can.
const bootUnits = `
unit() { cat >/etc/systemd/system/$1.service; ln -sf ../$1.service /etc/systemd/system/multi-user.target.wants/; }
mkdir -p /etc/systemd/system/multi-user.target.wants
unit counts <<'end'
[Unit]
Before=gate.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cat /proc/sys/kernel/random/boot_id >>/root/boots'
end
unit gate <<'end'
[Unit]
Before=ssh.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'while [ -e /root/shut ]; do sleep .02; done'
end
unit intruder <<'end'
[Unit]
Before=ssh.service
ConditionPathExists=/root/intrudes
[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c 'mkdir -m 1777 /tmp/infra.lock && exec flock /tmp/infra.lock sh -c "systemd-notify --ready; exec sleep infinity"'
end
systemctl daemon-reload`

// newRebooted finds the disk: the box that the host boots in has it.
func newRebooted(t *testing.T) *rebooted {
	t.Helper()
	tr := onFleet(t, fleet.Options{Hosts: []string{"blackphos", "cinnabar"}, Systemd: []string{"cinnabar"}})
	tr.exec("cinnabar", "sh", "-c", bootUnits)
	running, err := tr.fleet.Running()
	if err != nil {
		t.Fatal(err)
	}
	box := parent(t, parent(t, running["cinnabar"]))
	home := filepath.Join("/proc", strconv.Itoa(box), "root", tr.fleet.State(), "hosts/cinnabar/root/merged/root")
	if _, err := os.Stat(home); err != nil {
		t.Fatal(err)
	}
	return &rebooted{tr, home}
}

func parent(t *testing.T, pid int) int {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	of, err := strconv.Atoi(strings.Fields(rest)[1])
	if err != nil {
		t.Fatal(err)
	}
	return of
}

// booted is how often the host was booted since it was forgotten.
func (r *rebooted) booted() int {
	r.Helper()
	boots, err := os.ReadFile(filepath.Join(r.home, "boots"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.Fatal(err)
	}
	return strings.Count(string(boots), "\n")
}

func (r *rebooted) forget() { _ = os.Remove(filepath.Join(r.home, "boots")) }

// shut keeps sshd down in the boots that follow, or lets it go on.
func (r *rebooted) shut(keep bool) {
	r.Helper()
	file := filepath.Join(r.home, "shut")
	err := os.Remove(file)
	if keep {
		err = os.WriteFile(file, nil, 0o600)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.Fatal(err)
	}
}

// isBooted waits until the host has begun a boot.
func (r *rebooted) isBooted() {
	r.Helper()
	r.wait("it is booted", func() bool { return r.booted() > 0 })
}

// goesOn wants the run to end well, with the host booted so often, and the next step done.
func (r *rebooted) goesOn(said ran, boots int) {
	r.Helper()
	said.want(r.T, exitOK, wellRebooted)
	if got := r.booted(); got != boots {
		r.Errorf("it was booted %d times, want %d\n%s", got, boots, said.stderr)
	}
	if got := r.exec("cinnabar", "sh", "-c", "cat /root/after; rm -f /root/after"); got != "after" {
		r.Errorf("the next step did %q", got)
	}
}

// TestReboot: a host is rebooted once, whatever becomes of infra meanwhile, and what
// the plan does next is done under the host's lock in the new boot.
func TestReboot(t *testing.T) {
	t.Parallel()
	r := newRebooted(t)
	for name, test := range map[string]func(*rebooted){
		"nothing is wrong":           (*rebooted).isRebooted,
		"sshd refuses for a while":   (*rebooted).refuses,
		"infra is killed":            (*rebooted).killed,
		"it stays away":              (*rebooted).staysAway,
		"somebody else has the lock": (*rebooted).intruded,
		"the host refuses":           (*rebooted).refusesTo,
		"it stays up":                (*rebooted).staysUp,
		"the request is lost":        (*rebooted).losesRequest,
		"a dry run":                  (*rebooted).foreseen,
		"it is a Mac":                (*rebooted).shutsDown,
		"a step is tried again":      (*rebooted).triedAgain,
	} {
		t.Run(name, func(t *testing.T) {
			r := &rebooted{r.with(t), r.home}
			r.write("plans/t.star", fmt.Sprintf(rebootPlan, "cinnabar", "2m"))
			r.forget()
			test(r)
		})
	}
}

func (r *rebooted) isRebooted() { r.goesOn(r.plan("plans/t.star"), 1) }

func (r *rebooted) refuses() {
	r.shut(true)
	cmd, lines := r.start("connection refused", "plans/t.star")
	r.isBooted()
	r.shut(false)
	r.goesOn(ended(r.T, cmd, lines), 1)
}

// killed: once when the host was asked, and once in the run that is resumed.
func (r *rebooted) killed() {
	r.shut(true)
	cmd, lines := r.start("was asked to reboot", "plans/t.star")
	_ = cmd.Process.Kill()
	ended(r.T, cmd, lines)
	o := r.operator()
	first := o.start("resume")
	o.says(first, "connection refused")
	_ = first.Process.Kill()
	<-first.ended
	second := o.start("resume")
	o.says(second, "connection refused")
	r.isBooted()
	r.shut(false)
	o.ends(second, exitOK)
	r.goesOn(ran{code: exitOK, stderr: second.said()}, 1)
}

// staysAway: who switches it on again, and resumes the run, has it rebooted no more.
func (r *rebooted) staysAway() {
	r.write("plans/t.star", fmt.Sprintf(rebootPlan, "cinnabar", "4s"))
	r.shut(true)
	cmd, lines := r.start("was asked to reboot", "plans/t.star")
	r.isBooted()
	if err := r.fleet.PowerOff("cinnabar"); err != nil {
		r.Fatal(err)
	}
	ended(r.T, cmd, lines).want(r.T, exitFailed, "ssh.reboot on cinnabar: it has not come back within 4s", "hint: look at its console")
	r.shut(false)
	if err := r.fleet.PowerOn(r.Context(), "cinnabar"); err != nil {
		r.Fatal(err)
	}
	r.goesOn(r.infra("resume"), 2)
}

// intruded: the boot ends the lock, and another has it first.
func (r *rebooted) intruded() {
	r.exec("cinnabar", "touch", "/root/intrudes")
	r.plan("plans/t.star").want(r.T, exitLocked, "ssh.reboot.after on cinnabar was not started: cinnabar is locked by")
	r.exec("cinnabar", "sh", "-c", "rm /root/intrudes; systemctl stop intruder; test ! -e /root/after")
	r.goesOn(r.infra("resume"), 1)
}

// asks makes the host answer a request to reboot by a script, until it is removed.
func (r *rebooted) asks(script string) (remove func()) {
	r.Helper()
	r.exec("cinnabar", "sh", "-c", `printf '%s\n' "$1" >/usr/local/bin/systemctl; chmod 755 /usr/local/bin/systemctl`, "sh",
		"#!/bin/sh\n[ \"$1\" != reboot ] || { "+script+"; }\nexec /usr/bin/systemctl \"$@\"")
	return func() { r.exec("cinnabar", "rm", "/usr/local/bin/systemctl") }
}

func (r *rebooted) refusesTo() {
	remove := r.asks("echo there is no leave for it >&2; exit 1")
	r.plan("plans/t.star").want(r.T, exitFailed, "asking for the reboot failed with exit code 1:\n", "there is no leave for it")
	remove()
	r.goesOn(r.infra("resume"), 1)
}

func (r *rebooted) staysUp() {
	r.write("plans/t.star", fmt.Sprintf(rebootPlan, "cinnabar", "2s"))
	remove := r.asks("exit 0")
	r.plan("plans/t.star").want(r.T, exitFailed, "after 2s it has not gone down", "hint: systemctl list-jobs")
	remove()
	var said ran
	r.wait("it goes on", func() bool { said = r.infra("resume"); return said.code != exitFailed }) // 2s may be too short
	r.goesOn(said, 1)
}

// losesRequest: the connection ends before the host has heard.
func (r *rebooted) losesRequest() {
	remove := r.asks("[ -e /root/lost ] || { touch /root/lost; pkill -KILL sshd-session || pkill -KILL -f \"sshd: root@\"; exit 0; }")
	defer remove()
	r.goesOn(r.plan("plans/t.star"), 1)
	r.exec("cinnabar", "rm", "/root/lost")
}

func (r *rebooted) foreseen() {
	r.unchanged(func() {
		r.plan("--dry-run", "plans/t.star").want(r.T, exitOK, "ssh.reboot", "cinnabar ends all that runs there, and is back within 2m")
	})
	if n := r.booted(); n != 0 {
		r.Errorf("it was booted %d times", n)
	}
}

// shutsDown: what reboots a Mac is shutdown, which the lab's has not.
func (r *rebooted) shutsDown() {
	r.exec("blackphos", "sh", "-c", `printf '#!/bin/sh\n[ "$*" = "-r now" ] && exec reboot -f\n' >/usr/local/bin/shutdown; chmod 755 /usr/local/bin/shutdown`)
	r.write("plans/t.star", fmt.Sprintf(rebootPlan, "blackphos", "2m"))
	r.plan("plans/t.star").want(r.T, exitOK, wellRebooted)
}

// triedAgain: a step that fails behind the reboot does not reboot its host again.
func (r *rebooted) triedAgain() {
	r.write("plans/t.star", `
load("fleet.star", "fleet")
vps = fleet["cinnabar"]
def f():
    ssh.reboot(vps)
    ssh.run(vps, "rm /root/tried || { touch /root/tried; exit 1; }", repeatable = True)
p = plan(hosts = [vps], steps = [step(f, retries = 1)])
`)
	r.plan("plans/t.star").want(r.T, exitOK, "attempt 1 of 2 failed")
	if n := r.booted(); n != 1 {
		r.Errorf("it was booted %d times", n)
	}
}

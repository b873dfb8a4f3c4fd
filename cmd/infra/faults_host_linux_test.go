package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// gate is a line of a plan at which it waits until the test has done something.
const gate = `local.run("touch at-gate; while ! test -e go; do sleep 0.02; done", reads = True)`

// atGate runs the program on a plan, does something when that is at its gate,
// and lets it go on.
func (tr *trial) atGate(meanwhile func()) ran {
	tr.Helper()
	file := func(name string) string { return filepath.Join(tr.fleet.Project(), name) }
	_, _ = os.Remove(file("at-gate")), os.Remove(file("go"))
	done := make(chan ran, 1)
	go func() { done <- tr.plan("plans/t.star") }()
	tr.wait("the plan is at its gate", func() bool {
		_, err := os.Stat(file("at-gate"))
		return err == nil || len(done) > 0
	})
	meanwhile()
	tr.write("go", "")
	return <-done
}

// wait waits until something is so.
func (tr *trial) wait(what string, so func() bool) {
	tr.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			tr.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// TestAHostIsRebootedBetweenOperations: what the plan does next is done on
// another connection, since nothing of it had begun.
func TestAHostIsRebootedBetweenOperations(t *testing.T) {
	t.Parallel()
	tr := newSystemdTrial(t, "cinnabar")
	tr.write("plans/t.star", `
load("fleet.star", "fleet")
vps = fleet["cinnabar"]
def count(n): ssh.run(vps, "echo done >> /root/count-%d" % n)
def f():
    count(1)
    `+gate+`
    count(2)
    ssh.put(vps, "/root/put", content = "put\n")
p = plan(hosts = [vps], steps = [step(f)])
`)
	for name, again := range map[string]func() error{
		"it says so": func() error { return tr.fleet.Reboot(t.Context(), "cinnabar") },
		"by a power cut": func() error {
			if err := tr.fleet.PowerOff("cinnabar"); err != nil {
				return err
			}
			return tr.fleet.PowerOn(t.Context(), "cinnabar")
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr := tr.with(t)
			tr.exec("cinnabar", "sh", "-c", "rm -f /root/count-* /root/put")
			said := tr.atGate(func() {
				if err := again(); err != nil {
					t.Fatal(err)
				}
			})
			if said.code != exitOK {
				t.Logf("%s", said.stderr)
				said = tr.infra("resume")
			}
			said.want(t, exitOK)
			if got := tr.exec("cinnabar", "sh", "-c", "cat /root/count-1 /root/count-2 /root/put"); got != "done\ndone\nput" {
				t.Errorf("the host has %q", got)
			}
		})
	}
}

// processesOn are those of a host with marker among their arguments. Other
// tests, of other packages too, have hosts on this machine.
func (tr *trial) processesOn(host, marker string) []int {
	tr.Helper()
	running, err := tr.fleet.Running()
	if err != nil {
		tr.Fatal(err)
	}
	of := func(pid int) string {
		ns, _ := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/pid_for_children")
		return ns
	}
	var found []int
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range paths {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(p)))
		if text, err := os.ReadFile(p); err == nil && strings.Contains(strings.ReplaceAll(string(text), "\x00", " "), marker) && of(pid) == of(running[host]) {
			found = append(found, pid)
		}
	}
	return found
}

// waits puts a program before that of its name, which waits as long as it is there.
const waits = `program=$(command -v "$1") && first=/usr/local/bin/$1 && test "$program" != "$first" &&
printf '#!/bin/sh\nwhile test -e %s; do sleep 0.1; done\nexec %s "$@"\n' "$first" "$program" >"$first" && chmod +x "$first"`

// TestSSHDIsKilled kills it while an operation is on its way over it.
func TestSSHDIsKilled(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "blackphos")
	tests := []struct {
		name, op string
		there    string // a process on the host that says that the operation has begun
		slow     string // a program of the host that is not to be over before that is seen
		held     bool   // nothing tells whether it happened
		done     string // what is on the host in the end: a command says it
	}{
		{name: "ssh.run", op: `ssh.run(mac, "echo done >> /done; sleep 7773.5 & wait")`, there: "sleep 7773.5", held: true, done: "cat /done"},
		{name: "ssh.put", op: `ssh.put(mac, "/done", content = "x" * 30000000 + "done\n")`, there: "head -c 30000005", slow: "head", done: "tail -c 5 /done"},
		{name: "nix.copy", op: `nix.copy(nix.build(".#big"), to = mac)`, there: "nix-daemon --stdio", slow: "nix-daemon", done: "nix-store --check-validity /nix/store/*-big* && echo done"},
	}
	for _, tt := range tests {
		for name, kill := range map[string]func(*trial){"its session": (*trial).killSessions, "the machine": (*trial).killMachine} {
			t.Run(tt.name+", "+name, func(t *testing.T) {
				tr := tr.with(t)
				tr.exec("blackphos", "sh", "-c", "rm -f /done /after; nix-store --delete /nix/store/*-big || true")
				if tt.slow != "" {
					tr.exec("blackphos", "sh", "-c", waits, "sh", tt.slow)
				}
				tr.write("plans/t.star", `
load("fleet.star", "fleet")
mac = fleet["blackphos"]
def f(): `+tt.op+`
def after(_): ssh.run(mac, "echo after >> /after")
p = plan(hosts = [mac], steps = [step(f), step(after, needs = [f])])
`)
				cmd, lines := tr.start("f blackphos | "+tt.name, "plans/t.star")
				tr.wait(tt.there+" runs", func() bool { return len(tr.processesOn("blackphos", tt.there)) > 0 })
				kill(tr)
				ended(t, cmd, lines).want(t, exitFailed, "step \"f\": "+tt.name+" on blackphos: ", "hint: ")
				if err := tr.fleet.PowerOn(t.Context(), "blackphos"); name == "the machine" && err != nil {
					t.Fatal(err)
				}
				if tt.slow != "" {
					tr.exec("blackphos", "rm", "/usr/local/bin/"+tt.slow)
				}
				tr.wait(tt.there+" has ended", func() bool { return len(tr.processesOn("blackphos", tt.there)) == 0 })
				resume := []string{"resume"}
				if tt.held {
					tr.infra("resume").want(t, exitHeld, "was in flight when the run ended", "--in-flight=done")
					resume = append(resume, "--in-flight=done")
				}
				tr.infra(resume...).want(t, exitOK)
				if got := tr.exec("blackphos", "sh", "-c", tt.done+"; cat /after"); got != "done\nafter" {
					t.Errorf("the host has %q", got)
				}
			})
		}
	}
}

func (tr *trial) killSessions() {
	for _, pid := range tr.processesOn("blackphos", "sshd: root@") {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
}

func (tr *trial) killMachine() {
	tr.Helper()
	running, err := tr.fleet.Running()
	if err == nil {
		err = syscall.Kill(running["blackphos"], syscall.SIGKILL)
	}
	if err != nil {
		tr.Fatal(err)
	}
}

// ended waits for a program that was started and read to its marker.
func ended(t *testing.T, cmd *exec.Cmd, lines *bufio.Reader) ran {
	t.Helper()
	stuck := time.AfterFunc(patience, func() {
		t.Error("it hangs")
		_ = cmd.Process.Kill()
	})
	defer stuck.Stop()
	rest, _ := io.ReadAll(lines)
	_ = cmd.Wait()
	return ran{code: cmd.ProcessState.ExitCode(), stderr: string(rest)}
}

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"infra/examples/lab/fleet"
)

// An operator has a project of their own, with a plan that works on hosts until
// there is a file /tmp/go on the first.
type operator struct {
	*testing.T
	fleet *fleet.Fleet
	dir   string
	infra string // the program
}

func newOperator(tr *trial, hosts ...string) *operator {
	tr.Helper()
	o := &operator{tr.T, tr.fleet, tr.TempDir(), "infra"}
	var list strings.Builder
	for _, h := range hosts {
		fmt.Fprintf(&list, "host(%q, system = \"x86_64-linux\"), ", h)
	}
	o.write("infra.toml", "")
	o.write("a.star", fmt.Sprintf(`
hosts = [%s]
def work():
    ssh.run(hosts[0], "echo yes >/tmp/begun; until [ -e /tmp/go ]; do sleep .02; done")
    ssh.run(hosts[-1], "echo yes >/tmp/worked", repeatable = True)
a = plan(hosts = hosts, steps = [step(work)])
`, list.String()))
	return o
}

// with is the operator for a subtest.
func (o *operator) with(t *testing.T) *operator { return &operator{t, o.fleet, o.dir, o.infra} }

func (o *operator) write(name, text string) {
	o.Helper()
	if err := os.WriteFile(filepath.Join(o.dir, name), []byte(text), 0o600); err != nil {
		o.Fatal(err)
	}
}

// A calling is infra, as an operator called it.
type calling struct {
	*exec.Cmd
	ended chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
}

// Write takes what it says.
func (c *calling) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

func (c *calling) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

func (o *operator) start(args ...string) *calling {
	o.Helper()
	c := &calling{Cmd: exec.Command(o.infra, args...), ended: make(chan struct{})}
	c.Dir, c.Env, c.Stdout, c.Stderr = o.dir, append(os.Environ(), o.fleet.Env()...), c, c
	if err := c.Start(); err != nil {
		o.Fatal(err)
	}
	go func() { _ = c.Wait(); close(c.ended) }()
	o.Cleanup(func() { _ = c.Process.Kill(); <-c.ended })
	return c
}

func (o *operator) run(args ...string) *calling {
	o.Helper()
	return o.start(append([]string{"run", "--ssh-config", o.fleet.SSHConfig(), "a.star"}, args...)...)
}

func (o *operator) unlock(args ...string) *calling {
	o.Helper()
	return o.start(append([]string{"unlock", "--ssh-config", o.fleet.SSHConfig(), "--grace", "1s"}, args...)...)
}

// ends wants the command to end with a code, and to say some words.
func (o *operator) ends(c *calling, code int, words ...string) {
	o.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		_ = c.Process.Signal(syscall.SIGQUIT)
		<-c.ended
		o.Fatalf("%q does not end\n%s", c.Args, c.said())
	}
	if got := c.ProcessState.ExitCode(); got != code {
		o.Errorf("%q: exit code %d, want %d", c.Args, got, code)
	}
	for _, w := range words {
		if !strings.Contains(c.said(), w) {
			o.Errorf("%q does not say %q", c.Args, w)
		}
	}
	if o.Failed() {
		o.Fatalf("it said\n%s", c.said())
	}
}

// says waits until the command has said some words.
func (o *operator) says(c *calling, words string) {
	o.Helper()
	for end := time.Now().Add(patience); !strings.Contains(c.said(), words); time.Sleep(5 * time.Millisecond) {
		select {
		case <-c.ended:
			if !strings.Contains(c.said(), words) {
				o.Fatalf("it ended, and does not say %q:\n%s", words, c.said())
			}
		default:
		}
		if time.Now().After(end) {
			o.Fatalf("it does not say %q:\n%s", words, c.said())
		}
	}
}

// begins waits until the command works on a host.
func (tr *trial) begins(c *calling, host string) {
	tr.Helper()
	for end := time.Now().Add(patience); !tr.there(host, "begun"); time.Sleep(5 * time.Millisecond) {
		select {
		case <-c.ended:
			tr.Fatalf("it did not begin:\n%s", c.said())
		default:
		}
		if time.Now().After(end) {
			tr.Fatalf("it does not begin:\n%s", c.said())
		}
	}
}

func (tr *trial) there(host, name string) bool {
	tr.Helper()
	text, err := tr.fleet.Read(host, "/tmp/"+name)
	if err != nil {
		tr.Fatal(err)
	}
	return text != ""
}

func (tr *trial) letGo(host string) { tr.Helper(); tr.exec(host, "touch", "/tmp/go") }

func (tr *trial) forget(host string) {
	tr.Helper()
	tr.exec(host, "rm", "-f", "/tmp/go", "/tmp/begun", "/tmp/worked")
}

func TestTwoOperatorsOnAHost(t *testing.T) {
	t.Parallel()
	const h = "blackphos"
	tr := newTrial(t, h)
	a, b := newOperator(tr, h), newOperator(tr, h)

	t.Run("the second ends with 5, or waits", func(t *testing.T) {
		tr, a, b := tr.with(t), a.with(t), b.with(t)
		tr.forget(h)
		first := a.run()
		tr.begins(first, h)
		b.ends(b.run(), exitLocked, "error: blackphos is locked by ", "of a.star)", `hint: wait with --wait 5m, or infra unlock blackphos --because "..."`)
		b.ends(b.start("log"), exitOK, "nothing has been run here yet")
		b.ends(b.run("--wait", "300ms"), exitLocked, "waiting: blackphos is locked by", "waited for 300ms in vain: blackphos is locked by")
		stopped := b.run("--wait", "5m")
		b.says(stopped, "waiting: ")
		_ = stopped.Process.Signal(os.Interrupt)
		b.ends(stopped, exitInterrupted, "waiting ended: interrupted")
		waits := b.run("--wait", "5m", "--json")
		b.says(waits, `"event":"waiting"`)
		tr.letGo(h)
		a.ends(first, exitOK)
		b.ends(waits, exitOK, `"event":"waiting"`)
	})

	t.Run("a dry run takes no lock", func(t *testing.T) {
		tr, a, b := tr.with(t), a.with(t), b.with(t)
		tr.forget(h)
		first := a.run()
		tr.begins(first, h)
		b.ends(b.run("--dry-run"), exitOK)
		tr.letGo(h)
		a.ends(first, exitOK)
	})

	t.Run("what a killed run held is free at once", func(t *testing.T) {
		tr, a, b := tr.with(t), a.with(t), b.with(t)
		tr.forget(h)
		first := a.run()
		tr.begins(first, h)
		_ = first.Process.Kill()
		<-first.ended
		tr.letGo(h)
		b.ends(b.run("--wait", "5m"), exitOK)
	})

	t.Run("a lost lock ends what runs there", func(t *testing.T) {
		tr, a := tr.with(t), a.with(t)
		tr.forget(h)
		first := a.run()
		tr.begins(first, h)
		tr.exec(h, "sh", "-c", "kill -KILL $(head -c 9 /tmp/infra.lock/* | cut -d ' ' -f 1)")
		a.ends(first, exitFailed, "ssh.run on blackphos", "the lock of blackphos was lost", "infra resume")
		if tr.there(h, "worked") {
			t.Error("something new was started on the host")
		}
		tr.letGo(h)
		a.ends(a.start("resume", "--in-flight=again"), exitOK)
		if !tr.there(h, "worked") {
			t.Error("it did not go on")
		}
	})

	t.Run("unlock breaks it and is journaled", func(t *testing.T) {
		tr, a, b := tr.with(t), a.with(t), b.with(t)
		tr.forget(h)
		first := a.run()
		tr.begins(first, h)
		b.ends(b.unlock("blackphos", "--because", "it hangs"), exitHeld, "blackphos is locked by ", "nobody is here to answer")
		breaks := b.unlock("blackphos", "--because", "it hangs", "--yes")
		b.ends(breaks, exitOK, "the lock of blackphos is broken")
		kept := regexp.MustCompile(`infra log (\S+) keeps why`).FindStringSubmatch(breaks.said())
		a.ends(first, exitFailed, "the connection to blackphos")
		b.ends(b.start("log"), exitOK, "unlock blackphos")
		b.ends(b.start("log", kept[1]), exitOK, "of infra unlock", "held by ", "because it hangs", "by root on ")
		b.ends(b.start("resume", kept[1]), exitUsage, "is no run of a plan")
		b.ends(b.start("undo", kept[1]), exitUsage, "is no run of a plan")
		b.ends(b.start("log", "last"), exitOK, "of a.star")
		b.ends(b.start("log", "--verify"), exitOK, "whole")
		tr.letGo(h)
		b.ends(b.unlock("blackphos", "--because", "it hangs"), exitOK, "blackphos is not locked")
		b.ends(b.run(), exitOK)
	})
}

// Of two runs that are started at the same moment exactly one goes on, which
// then works until the other one has given up. The plan has next to nothing to
// do: it is run a hundred times.
func TestTwoRunsAtOnce(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "blackphos", "rosegold", "argentum", "stibnite")
	var ids sync.Map
	for _, c := range []struct {
		name, h, other string
		projects       int
	}{{"in one project", "blackphos", "rosegold", 1}, {"in two projects", "argentum", "stibnite", 2}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tr := tr.with(t)
			operators := []*operator{newOperator(tr, c.h, c.other), newOperator(tr, c.h, c.other)}[:c.projects]
			gate := filepath.Join(t.TempDir(), "go")
			for _, o := range operators {
				o.infra = quick(t, "infra")
				o.write("once.star", fmt.Sprintf(`
def wait(): local.run("until [ -e %s ]; do sleep .02; done")
once = plan(hosts = [host(%q, system = "x86_64-linux"), host(%q, system = "x86_64-linux")], steps = [step(wait)])
`, gate, c.h, c.other))
			}
			for range 50 {
				_ = os.Remove(gate)
				run := func(o *operator) *calling { return o.start("run", "--ssh-config", tr.fleet.SSHConfig(), "once.star") }
				id := tr.oneOf(run(operators[0]), run(operators[c.projects-1]), gate)
				if _, twice := ids.LoadOrStore(id, true); twice {
					t.Fatalf("there are two runs %s", id)
				}
			}
		})
	}
}

var runID = regexp.MustCompile(`run (\d{8}T\d{6}-[a-z2-7]{4})`)

// oneOf wants exactly one of two runs to go on, until there is the file gate,
// and the other to say whose the lock is. It returns the id of the former.
func (tr *trial) oneOf(x, y *calling, gate string) string {
	tr.Helper()
	select {
	case <-x.ended:
		x, y = y, x
	case <-y.ended:
	case <-time.After(patience):
		tr.Fatal("both go on")
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		tr.Fatal(err)
	}
	<-x.ended
	codes := []int{x.ProcessState.ExitCode(), y.ProcessState.ExitCode()}
	went, gave := runID.FindStringSubmatch(x.said()), runID.FindStringSubmatch(y.said())
	if codes[0] != exitOK || codes[1] != exitLocked || went == nil || gave == nil || went[1] != gave[1] {
		tr.Fatalf("exit codes %d\n%s\n%s", codes, x.said(), y.said())
	}
	return went[1]
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"infra/examples/lab/fleet"
	"infra/runtime"
	"infra/runtime/journal"
)

// crashPlan counts, on the hosts, how often each command that must not be
// repeated was carried out. Each says that it has begun and takes a moment.
const crashPlan = `
hosts = [host(name, system = "x86_64-linux") for name in ["cinnabar", "blackphos", "rosegold"]]
dir = "%s"
def count(h, id, code = "0"):
    command = "mkdir -p $0; echo begun; sleep 0.03; echo x >> $0/count-$1; sleep 0.02; echo made $1; exit $2"
    return ssh.run(h, ["sh", "-c", command, dir, id, code]).stdout
def first(h):
    made = [count(h, "first-%%d" %% i) for i in range(3)]
    ssh.put(h, dir + "/put", "".join(made))
    if ssh.run(h, ["cat", dir + "/put"], reads = True).stdout != "".join(made):
        fail("it is not there")
    if attempt(lambda: count(h, "fails", "3")).ok:
        fail("it succeeded")
    return made
def between(made):
    for name, lines in made.items():
        fs.write("out/" + name, "".join(lines))
    return local.run(["cat"] + ["out/" + name for name in made], repeatable = True).stdout
def last(h, made, all):
    ssh.put(h, dir + "/all", all)
    again = ssh.run(h, ["sh", "-c", "cat $0/all; echo begun; sleep 0.03", dir], repeatable = True).stdout
    for i in range(5):
        count(h, "last-%%d" %% i)
    return again
first_step = step(first, each = hosts)
between_step = step(between, needs = [first_step])
p = plan(hosts = hosts, steps = [first_step, between_step, step(last, each = hosts, needs = [first_step, between_step])])
`

// mortal is infra on the plan of the working directory, run or resumed, that
// kills itself at an event: at the KILL_AT'th that the journal keeps, or at the
// KILL_IN'th line that a command prints.
func mortal() {
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	f := runFlags{sshConfig: os.Getenv("SSH_CONFIG"), wait: time.Minute, grace: time.Second}
	show := &deadly{reader: newPlain(os.Stderr, false, false)}
	show.at, _ = strconv.Atoi(os.Getenv("KILL_AT"))
	show.in, _ = strconv.Atoi(os.Getenv("KILL_IN"))
	root, err := os.Getwd()
	if err == nil {
		s := a.newSession(context.Background(), root, f, &outputs{app: a, show: show})
		if os.Getenv("RESUME") == "" {
			err = s.runFile("a.star")
		} else {
			err = s.resumeLast()
		}
		s.close()
	}
	fmt.Println("kept", show.kept, "printed", show.printed, "resumed", show.resumed)
	if err != nil {
		os.Exit(a.report(err))
	}
	os.Exit(exitOK)
}

// deadly kills the process at an event, which the journal has by then.
type deadly struct {
	reader
	at, in                 int
	kept, printed, resumed int
}

func (d *deadly) Read(e runtime.Event) {
	d.reader.Read(e)
	switch e.Kind {
	case runtime.StepRestored, runtime.Stopping:
		return
	case runtime.OpResumed:
		d.resumed++
		fmt.Println("looks for", e.Op.Op.Name)
		return
	case runtime.OpOutput:
		if d.printed++; d.printed != d.in {
			return
		}
	default:
		if d.kept++; d.kept != d.at {
			return
		}
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func (s *session) runFile(path string) error {
	file, err := s.read(s.engine.Read, path)
	if err != nil {
		return err
	}
	out, err := s.carryOut(file, s.options())
	return s.end(file, out, err)
}

func (s *session) resumeLast() error {
	past, err := pastRun(s.root, "last")
	if err != nil {
		return err
	}
	f := resumeFlags{runFlags: s.flags}
	return s.resume(past, f)
}

// A journey is one run of the plan, through all the processes that it takes.
type journey struct {
	*testing.T
	fleet *fleet.Fleet
	root  string
	dir   string // on the hosts
}

func newJourney(t *testing.T, f *fleet.Fleet, name string) *journey {
	t.Helper()
	j := &journey{t, f, t.TempDir(), "/root/" + name}
	for file, text := range map[string]string{"infra.toml": "", "a.star": fmt.Sprintf(crashPlan, j.dir)} {
		if err := os.WriteFile(filepath.Join(j.root, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

// goes runs a process, and says whether it was killed.
func (j *journey) goes(env ...string) (killed bool, said string) {
	j.Helper()
	cmd := exec.Command("infra-mortal")
	cmd.Dir = j.root
	cmd.Env = append(append(os.Environ(), j.fleet.Env()...), append(env, "SSH_CONFIG="+j.fleet.SSHConfig())...)
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		j.Fatal(err)
	}
	if state := cmd.ProcessState.Sys().(syscall.WaitStatus); state.Signaled() {
		return true, both.String()
	}
	if err != nil {
		j.Fatalf("%v: %v\n%s", env, err, both.String())
	}
	return false, both.String()
}

// outcome is every file that the plan made, here and on the hosts, with its
// content. The hosts count what was done.
func (j *journey) outcome() []string {
	j.Helper()
	var all []string
	for _, host := range []string{"cinnabar", "blackphos", "rosegold"} {
		said, err := j.fleet.Exec(host, "sh", "-c", `cd "$1" && grep . *`, "sh", j.dir)
		if err != nil {
			j.Fatal(err)
		}
		for line := range strings.Lines(said) {
			all = append(all, host+" "+line)
		}
	}
	here, err := filepath.Glob(filepath.Join(j.root, "out", "*"))
	if err != nil {
		j.Fatal(err)
	}
	for _, name := range here {
		data, err := os.ReadFile(name)
		if err != nil {
			j.Fatal(err)
		}
		all = append(all, filepath.Base(name)+" "+string(data))
	}
	return all
}

// ended says whether the journal has the run's good end.
func (j *journey) ended() bool {
	j.Helper()
	ledger, err := journal.Read(j.root)
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	if err != nil {
		j.Fatal(err)
	}
	defer ledger.Close()
	run, err := ledger.Run("last")
	if err != nil {
		j.Fatal(err)
	}
	return run.Status == runtime.OK
}

// TestKilledOnTheFleet kills a run of over forty operations on three hosts at
// everything that its journal keeps, which is before and after each operation,
// and inside its commands; then what resumes it, too. Every run ends as one
// that nobody disturbed, and the hosts have counted each command once.
func TestKilledOnTheFleet(t *testing.T) {
	names := []string{"cinnabar", "blackphos", "rosegold"}
	f, err := fleet.Up(t.Context(), fleet.Options{State: filepath.Join(t.TempDir(), "lab"), Net: fleet.RandomNet(), Hosts: names, Systemd: names})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Down(); err != nil {
			t.Error(err)
		}
	})
	undisturbed := newJourney(t, f, "undisturbed")
	_, said := undisturbed.goes()
	want := undisturbed.outcome()
	if n := strings.Count(strings.Join(want, ""), "count-"); n != 3*(3+1+5) {
		t.Fatalf("%d commands were counted: %q", n, want)
	}
	var kept, printed, resumed int
	if _, err := fmt.Sscanf(said[strings.LastIndex(said, "kept "):], "kept %d printed %d resumed %d", &kept, &printed, &resumed); err != nil || kept < 90 || printed < 20 {
		t.Fatalf("%d events, %d lines: %v\n%s", kept, printed, err, said)
	}
	var points []string
	for at := 1; at < kept; at++ { // the last event ends the run
		points = append(points, "KILL_AT="+strconv.Itoa(at))
	}
	for in := 1; in <= printed; in++ {
		points = append(points, "KILL_IN="+strconv.Itoa(in))
	}
	kills, looked := 0, 0
	for i, point := range points {
		j := newJourney(t, f, "journey-"+strconv.Itoa(i))
		killed, said := j.goes(point)
		if !killed {
			t.Logf("%s was not reached", point) // into how many pieces a command's output comes varies
			continue
		}
		for kills++; !j.ended(); {
			env := []string{"RESUME=1"}
			if rand.IntN(2) == 0 {
				env = append(env, "KILL_AT="+strconv.Itoa(2+rand.IntN(12)))
			}
			killed, said = j.goes(env...)
			looked += strings.Count(said, "looks for ssh.run")
			if killed {
				kills++
			}
		}
		if got := strings.ReplaceAll(strings.Join(j.outcome(), ""), j.dir, undisturbed.dir); got != strings.Join(want, "") {
			t.Fatalf("%s: it ends with\n%s\nwant\n%s", point, got, strings.Join(want, ""))
		}
	}
	t.Logf("%d kill points; %d times a command was looked for", kills, looked)
	if kills < 200 || looked < 40 {
		t.Errorf("there were %d kill points, and %d times a command was looked for", kills, looked)
	}
}

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
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"infra/examples/lab/fleet"
	"infra/runtime"
	"infra/runtime/clock"
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
// kills itself at one of the moments in the file MOMENTS, or some time AFTER it:
// at the first that it comes to once it has let SKIP of them pass.
func mortal() {
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, clock: clock.Now}
	f := runFlags{sshConfig: os.Getenv("SSH_CONFIG"), wait: time.Minute, grace: time.Second}
	moments, _ := os.ReadFile(os.Getenv("MOMENTS"))
	show := &deadly{reader: newPlain(os.Stderr, false, false), moments: strings.Split(string(moments), "\n")}
	show.skip, _ = strconv.Atoi(os.Getenv("SKIP"))
	show.after, _ = time.ParseDuration(os.Getenv("AFTER"))
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
	if err != nil {
		os.Exit(a.report(err))
	}
	os.Exit(exitOK)
}

// deadly kills the process at an event, which the journal has by then, or some
// time after it.
type deadly struct {
	reader
	moments []string
	skip    int
	after   time.Duration
}

var journeysFolder = regexp.MustCompile(`/root/[a-z0-9-]+`)

// moment names an event so that it is the same one in every run of the plan.
func moment(e runtime.Event) string {
	m := string(e.Kind) + " " + e.Step + " " + e.Host
	if e.Op != nil {
		m += " " + e.Op.Op.Name + " " + journeysFolder.ReplaceAllString(e.Op.Op.Show, "")
	}
	return strings.TrimSpace(m)
}

func (d *deadly) Read(e runtime.Event) {
	d.reader.Read(e)
	m := moment(e)
	fmt.Println("moment", m)
	if !slices.Contains(d.moments, m) {
		return
	}
	if d.skip--; d.skip >= 0 {
		return
	}
	fmt.Println("dies at", m)
	d.moments = nil
	if d.after == 0 {
		die()
	}
	time.AfterFunc(d.after, die)
}

func die() {
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
	cmd := exec.Command(quick(j.T, "infra-mortal"))
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
func (j *journey) outcome() string {
	j.Helper()
	var all strings.Builder
	for _, host := range []string{"cinnabar", "blackphos", "rosegold"} {
		said, err := j.fleet.Exec(host, "sh", "-c", `cd "$1" && grep . *`, "sh", j.dir)
		if err != nil {
			j.Fatal(err)
		}
		for line := range strings.Lines(said) {
			all.WriteString(host + " " + line)
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
		all.WriteString(filepath.Base(name) + " " + string(data))
	}
	return all.String()
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
// inside of its commands, and at any time; what resumes it is killed too. Every
// run ends as one that nobody disturbed, and the hosts have counted each command
// once.
func TestKilledOnTheFleet(t *testing.T) {
	t.Parallel()
	first := newCrashes(t)
	undisturbed := newJourney(t, first.fleet, "undisturbed")
	_, said := undisturbed.goes()
	first.want, first.dir = undisturbed.outcome(), undisturbed.dir
	if n := strings.Count(first.want, "count-"); n != 3*(3+1+5) {
		t.Fatalf("%d commands were counted:\n%s", n, first.want)
	}
	moments := momentsOf(said)
	if n := countOf(moments, "op_asked "); n < 40 {
		t.Fatalf("the plan has %d operations", n)
	}
	second := newCrashes(t)
	second.want, second.dir = first.want, first.dir
	t.Run("side by side", func(t *testing.T) {
		t.Run("at each moment", func(t *testing.T) {
			t.Parallel()
			first.all(t, moments, 0)
		})
		t.Run("inside of the operations", func(t *testing.T) {
			t.Parallel()
			inside := slices.DeleteFunc(slices.Clone(moments), func(m string) bool { return !strings.HasPrefix(m, "op_asked ") })
			for range 2 {
				second.all(t, inside, 60*time.Millisecond)
			}
		})
	})
	kills, looked := first.kills+second.kills, first.looked+second.looked
	t.Logf("%d kill points in %d runs; %d times a command was looked for", kills, first.runs+second.runs, looked)
	if kills < 200 || looked < 50 {
		t.Errorf("%d kill points, %d times a command was looked for", kills, looked)
	}
}

// momentsOf are the moments that a process lived through, in order, but for
// those that the journal does not keep and that no command is behind.
func momentsOf(said string) []string {
	var all []string
	for line := range strings.Lines(said) {
		m, ok := strings.CutPrefix(strings.TrimSpace(line), "moment ")
		if ok && !strings.HasPrefix(m, "step_restored ") && !strings.HasPrefix(m, "run_ended ") && !slices.Contains(all, m) {
			all = append(all, m)
		}
	}
	return all
}

func countOf(moments []string, kind string) (n int) {
	for _, m := range moments {
		if strings.HasPrefix(m, kind) {
			n++
		}
	}
	return n
}

// crashes are the runs that were killed so far.
type crashes struct {
	fleet               *fleet.Fleet
	want, dir           string // of the undisturbed run
	kills, looked, runs int
}

// newCrashes brings up hosts for runs that will be killed.
func newCrashes(t *testing.T) *crashes {
	t.Helper()
	names := []string{"cinnabar", "blackphos", "rosegold"}
	return &crashes{fleet: onFleet(t, fleet.Options{Hosts: names, Systemd: names}).fleet}
}

// all kills at each of the moments, or up to so long after it. A run goes
// through as many of them as it comes by.
func (c *crashes) all(t *testing.T, moments []string, after time.Duration) {
	t.Helper()
	for moments = slices.Clone(moments); len(moments) > 0 && !t.Failed(); {
		before := len(moments)
		moments = c.journey(t, moments, after)
		if len(moments) < before {
			continue
		}
		for _, m := range moments { // into how many pieces a command's output comes varies
			if after == 0 && !strings.HasPrefix(m, "op_output ") {
				t.Errorf("%q was not reached", m)
			}
		}
		return
	}
}

// journey is one run and its resumes, killed at the first of the moments that
// it comes to, and then at every third. It returns the moments that it was not
// killed at.
func (c *crashes) journey(t *testing.T, moments []string, after time.Duration) []string {
	t.Helper()
	c.runs++
	j := newJourney(t, c.fleet, "journey-"+strconv.Itoa(c.runs))
	file := filepath.Join(j.root, "moments")
	env := []string{"MOMENTS=" + file}
	for killed := true; killed && !j.ended(); {
		if err := os.WriteFile(file, []byte(strings.Join(moments, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
		call := env
		if after > 0 {
			call = append(call, "AFTER="+rand.N(after).String())
		}
		var said string
		killed, said = j.goes(call...)
		c.looked += strings.Count(said, "moment op_resumed ")
		if _, m, dies := strings.Cut(said, "dies at "); dies {
			m, _, _ = strings.Cut(m, "\n")
			moments = slices.DeleteFunc(moments, func(x string) bool { return x == m })
		}
		if killed {
			c.kills++
		}
		env = []string{"MOMENTS=" + file, "RESUME=1", "SKIP=2"}
	}
	if got := strings.ReplaceAll(j.outcome(), j.dir, c.dir); got != c.want {
		t.Errorf("it ends with\n%s\nwant\n%s", got, c.want)
	}
	return moments
}

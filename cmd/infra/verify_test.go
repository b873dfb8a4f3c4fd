package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"infra/runtime"
	"infra/runtime/clock"
)

// TestItLooksAgainAndAgain has a clock that a test steps, on a machine that sleeps
// and on one that does not tell its boot.
func TestItLooksAgainAndAgain(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name  string
		boot  string
		jumps map[time.Duration]time.Duration // what is added to a rest that begins then
		set   time.Duration                   // by which somebody sets the clock back after an hour and a half
		want  []time.Duration                 // when it looks
	}{
		{"each hour", "a", nil, 0, []time.Duration{0, 1 * time.Hour, 2 * time.Hour, 3 * time.Hour}},
		{"once after a sleep", "a", map[time.Duration]time.Duration{90 * time.Minute: 10 * time.Hour}, 0,
			[]time.Duration{0, time.Hour, 11*time.Hour + 30*time.Minute + nap, 12*time.Hour + 30*time.Minute + nap}},
		{"the clock is set back", "a", nil, 24 * time.Hour, []time.Duration{0, 1 * time.Hour, 2 * time.Hour, 3 * time.Hour}},
		{"no boot", "", nil, 0, []time.Duration{0, 1 * time.Hour, 2 * time.Hour, 3 * time.Hour}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var up time.Duration
			var looked []time.Duration
			w := watch{
				every: time.Hour,
				now: func() clock.Instant {
					i := clock.Instant{Wall: start.Add(up)}
					if up >= 90*time.Minute {
						i.Wall = i.Wall.Add(-tt.set)
					}
					if tt.boot != "" {
						i.Mark = clock.Mark{Boot: tt.boot, Up: up + time.Minute}
					}
					return i
				},
				rest: func(d time.Duration) bool {
					up += d + tt.jumps[up]
					return len(looked) < 4
				},
				round: func() int { looked = append(looked, up); return exitFailed },
			}
			if code := w.stay(); code != exitOK || !slices.Equal(looked, tt.want) {
				t.Errorf("exit code %d, it looked at %s, want %s", code, looked, tt.want)
			}
		})
	}
}

// A project is a folder with plans on which the program is run.
type project struct {
	*testing.T
	dir string
}

func newProject(t *testing.T, files map[string]string) *project {
	t.Helper()
	p := &project{t, t.TempDir()}
	p.write("infra.toml", "")
	for name, text := range files {
		p.write(name, text)
	}
	return p
}

// write puts a file there as a whole: who reads it meanwhile sees the old one or this.
func (p *project) write(name, text string) {
	p.Helper()
	if err := replaceFile(filepath.Join(p.dir, name), []byte(text)); err != nil {
		p.Fatal(err)
	}
}

// start starts the program, and gives the lines that it prints on stdout and stderr.
func (p *project) start(args ...string) (*exec.Cmd, *bufio.Reader) {
	p.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		p.Fatal(err)
	}
	cmd := exec.Command("infra", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, write, write
	if err := cmd.Start(); err != nil {
		p.Fatal(err)
	}
	_ = write.Close()
	stuck := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	p.Cleanup(func() { stuck.Stop(); _ = cmd.Process.Kill(); _ = read.Close() })
	return cmd, bufio.NewReader(read)
}

// says waits for a line with each of the markers, in this order.
func (p *project) says(lines *bufio.Reader, markers ...string) {
	p.Helper()
	said := ""
	for len(markers) > 0 {
		line, err := lines.ReadString('\n')
		if said += line; err != nil {
			p.Fatalf("it ended before it said %q:\n%s", markers[0], said)
		}
		if strings.Contains(line, markers[0]) {
			markers = markers[1:]
		}
	}
}

// ends waits for the end, and wants an exit code.
func (p *project) ends(cmd *exec.Cmd, lines *bufio.Reader, code int) {
	p.Helper()
	rest, _ := io.ReadAll(lines)
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != code {
		p.Errorf("exit code %d, want %d\n%s", got, code, rest)
	}
}

// TestVerifyStays has it look every second at two plans, one of which is edited, and
// breaks, meanwhile.
func TestVerifyStays(t *testing.T) {
	t.Parallel()
	p := newProject(t, map[string]string{
		"a.star": `a = plan(checks = [check(lambda: True, name = "good")])`,
		"b.star": `b = plan(checks = [check(lambda: True, name = "good")])`,
	})
	cmd, lines := p.start("verify", "--every", "1s", "--pause", "1ms", "a.star", "b.star")
	p.says(lines, "a: GO: 1 check held", "b: GO: ", "a: GO: ")
	p.write("a.star", `a = plan(checks = [check(lambda: False, name = "bad")])`)
	p.says(lines, "a: NO-GO: bad failed", "b: GO: ")
	p.write("a.star", `a = plan(`)
	p.says(lines, "a.star cannot be looked at", "error: ", "b: GO: ", "a.star cannot be looked at")
	p.write("a.star", `a = plan(checks = [check(lambda: True, name = "c"), check(lambda: True, name = "d")])`)
	p.says(lines, "a: GO: 2 checks held")
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}

	cmd, lines = p.start("verify", "--every", "1h", "a.star")
	p.says(lines, "a: GO: ")
	_ = cmd.Process.Signal(syscall.SIGTERM)
	p.ends(cmd, lines, exitOK)

	p.write("b.star", `
def slow(): local.run("touch begun; sleep 1000", reads = True)
b = plan(checks = [check(slow)])`)
	cmd, lines = p.start("verify", "--every", "1h", "--grace", "10ms", "b.star")
	p.appears("begun")
	_ = cmd.Process.Signal(os.Interrupt)
	p.says(lines, "b: interrupted: this time does not count")
	p.ends(cmd, lines, exitInterrupted)
}

// appears waits for a file.
func (p *project) appears(name string) {
	p.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(p.dir, name)); err == nil {
			return
		}
	}
	p.Fatalf("%s does not appear", name)
}

// TestObservationsAndARunAtOnce has a run go on while two look at its plan and at
// others, and nobody waits for the other. The journal is whole afterwards.
func TestObservationsAndARunAtOnce(t *testing.T) {
	t.Parallel()
	files := map[string]string{"r.star": `
h = host("h", system = "x86_64-linux")
def work(): local.run("touch begun; until [ -e go ]; do sleep .02; done")
r = plan(hosts = [h], steps = [step(work, locks = ["l"])], checks = [check(lambda h: fs.exists("begun"), name = "c", host = h)])
`}
	verify := []string{"verify", "--pause", "1ms", "r.star"}
	for i := range 4 {
		files[fmt.Sprintf("p%d.star", i)] = fmt.Sprintf(`p%d = plan(checks = [check(lambda: fs.exists("begun"), name = "c%%d" %% k) for k in range(9)])`, i)
		verify = append(verify, fmt.Sprintf("p%d.star", i))
	}
	p := newProject(t, files)
	run, runLines := p.start("run", "r.star")
	p.appears("begun")
	var both sync.WaitGroup
	for range 2 {
		cmd, lines := p.start(verify...)
		both.Go(func() { p.ends(cmd, lines, exitOK) })
	}
	both.Wait()
	p.write("go", "")
	p.ends(run, runLines, exitOK)
	cmd, lines := p.start("log", "--verify")
	p.says(lines, "")
	p.ends(cmd, lines, exitOK)
	cmd, lines = p.start("log", "--all")
	rest, _ := io.ReadAll(lines)
	_ = cmd.Wait()
	if n := strings.Count(string(rest), " ok"); n < 11 {
		t.Errorf("%d of 11 are in the journal:\n%s", n, rest)
	}
}

// TestTheEventsOfAnObservationFitTheSchema has checks that hold, flap, take too long
// and are not required.
func TestTheEventsOfAnObservationFitTheSchema(t *testing.T) {
	t.Parallel()
	p := newProject(t, map[string]string{"a.star": `
def flaps(): return local.run("[ -e seen ] || { touch seen; exit 1; }", reads = True)
def slow(): local.run(["sleep", "1000"], reads = True)
a = plan(checks = [check(lambda: True, name = "c"), check(flaps, required = False), check(slow, timeout = "10ms")])`})
	var out strings.Builder
	cmd := exec.Command("infra", "verify", "--json", "--pause", "1ms", "a.star")
	cmd.Dir, cmd.Stdout = p.dir, &out
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != exitFailed {
		t.Errorf("it ended with %v", err)
	}
	events := validator{eventSchema(t)}.lines(t, "infra verify --json", out.String())
	for event, want := range map[runtime.EventKind]int{runtime.RunStarted: 1, runtime.StepStarted: 3, runtime.StepRetried: 4, runtime.StepEnded: 3, runtime.RunEnded: 1} {
		if n := strings.Count(strings.Join(events, " ")+" ", string(event)+" "); n != want {
			t.Errorf("%d times %s, want %d", n, event, want)
		}
	}
}

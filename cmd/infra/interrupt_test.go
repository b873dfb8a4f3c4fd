package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// start starts the program on a plan of the project and returns once it has
// said marker.
func (tr *trial) start(marker string, args ...string) (*exec.Cmd, *bufio.Reader) {
	tr.Helper()
	cmd := exec.Command("infra", append([]string{"run", "--ssh-config", tr.fleet.SSHConfig()}, args...)...)
	cmd.Dir, cmd.Env = tr.fleet.Project(), append(os.Environ(), tr.fleet.Env()...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		tr.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tr.Fatal(err)
	}
	lines := bufio.NewReader(stderr)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			tr.Fatalf("it ended before it said %q: %v", marker, err)
		}
		if strings.Contains(line, marker) {
			return cmd, lines
		}
	}
}

// processes are those on this machine, hosts included, with marker among their
// arguments. The shells that were given the whole command hold it too.
func processes(marker string) []string {
	var found []string
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range paths {
		if data, err := os.ReadFile(p); err == nil && strings.Contains(strings.ReplaceAll(string(data), "\x00", " "), marker) {
			found = append(found, string(data))
		}
	}
	return found
}

// until waits for such processes to be there, or to be gone.
func until(t *testing.T, there bool, marker string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if found := processes(marker); (len(found) > 0) == there {
			return
		}
	}
	t.Errorf("processes with %q: %q", marker, processes(marker))
}

// stops waits until the program says that it stops.
func stops(t *testing.T, lines *bufio.Reader) {
	t.Helper()
	for said := ""; !strings.Contains(said, "stopping: "); {
		line, err := lines.ReadString('\n')
		if said += line; err != nil {
			t.Fatalf("it did not say that it stops:\n%s", said)
		}
	}
}

func TestInterruptions(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "blackphos")
	tr.write("plans/t.star", `
load("fleet.star", "fleet")
mac = fleet["blackphos"]
def there(): ssh.run(mac, "echo begun; sleep 7771.5; touch /not-reached")
def here(): local.run("echo begun; sleep 7771.5; touch not-reached")
def short(): ssh.run(mac, "until [ -e /go ]; do sleep .02; done; touch /reached")
def after(_): ssh.run(mac, ["touch", "/not-reached"])
p = plan(hosts = [mac], steps = [step(there), step(here), step(short), step(after, needs = [short])])
`)
	end := func(t *testing.T, cmd *exec.Cmd, lines *bufio.Reader) string {
		t.Helper()
		rest, _ := io.ReadAll(lines)
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
			t.Errorf("exit code %d\n%s", code, rest)
		}
		return string(rest)
	}
	for _, step := range []string{"there", "here"} {
		t.Run("a second Ctrl-C ends what runs "+step, func(t *testing.T) {
			tr := tr.with(t)
			cmd, lines := tr.start(step+" ", "plans/t.star", "--step", step)
			until(t, true, "sleep 7771.5")
			_ = cmd.Process.Signal(os.Interrupt)
			stops(t, lines)
			_ = cmd.Process.Signal(os.Interrupt)
			end(t, cmd, lines)
			until(t, false, "sleep 7771.5")
		})
		t.Run("the grace period ends what runs "+step, func(t *testing.T) {
			tr := tr.with(t)
			cmd, lines := tr.start(step+" ", "plans/t.star", "--step", step, "--grace", "200ms")
			until(t, true, "sleep 7771.5")
			_ = cmd.Process.Signal(syscall.SIGTERM)
			end(t, cmd, lines)
			until(t, false, "sleep 7771.5")
		})
		t.Run("a killed infra leaves nothing "+step, func(t *testing.T) {
			tr := tr.with(t)
			cmd, _ := tr.start(step+" ", "plans/t.star", "--step", step)
			until(t, true, "sleep 7771.5")
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			until(t, false, "sleep 7771.5")
		})
	}
	t.Run("the first lets the running operation end and starts nothing", func(t *testing.T) {
		tr := tr.with(t)
		cmd, lines := tr.start("short ", "plans/t.star", "--step", "after")
		until(t, true, "touch /reached")
		_ = cmd.Process.Signal(os.Interrupt)
		stops(t, lines)
		tr.exec("blackphos", "touch", "/go")
		out := end(t, cmd, lines)
		tr.exec("blackphos", "test", "-e", "/reached")
		if _, err := tr.fleet.Exec("blackphos", "test", "-e", "/not-reached"); err == nil {
			t.Errorf("something new was started:\n%s", out)
		}
	})
}

// TestInterruptedInEachPhase asks it to stop, in each way and in each thing that
// it may be at: it ends with its exit code, the journal says so, and nothing of
// it is left, here or on the host.
func TestInterruptedInEachPhase(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "blackphos")
	silent := tr.silentHost()
	tests := []struct {
		name, body, options string
		args                []string
		there               string // a process of it
		says                string // or a line
		hosts               string // that it changes; no two of these may run at once
		once                bool   // it takes ten seconds from TERM to KILL
	}{
		{name: "reading the plan", body: `pass
print("it is read")
forever = [0 for _ in range(1 << 40)]`, says: "it is read"},
		{name: "previewing", body: `ssh.run(mac, "sleep 7774.1 & wait", reads = True)`, args: []string{"--dry-run"}, there: "sleep 7774.1"},
		{name: "connecting", body: `ssh.facts(mac)`, args: []string{"--ssh-config", silent}, says: "ssh.facts"},
		{name: "building", body: `nix.build(".#slow")`, there: "echo started; sleep 60"},
		{name: "a command there that is deaf to TERM", body: `ssh.run(mac, "trap '' TERM; while :; do sleep 7774.2; done")`, there: "sleep 7774.2", hosts: "mac", once: true},
		{name: "a command here that is deaf to TERM", body: `local.run("trap '' TERM; while :; do sleep 7774.3; done")`, there: "sleep 7774.3", once: true},
		{name: "before another attempt", body: `local.run("exit 1", repeatable = True)`, options: ", retries = 20", says: "attempt 1 of 21"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := tr.with(t)
			plan := "plans/phase" + string(rune('a'+i)) + ".star"
			tr.write(plan, `
load("fleet.star", "fleet")
mac = fleet["blackphos"]
def f(): `+tt.body+`
p = plan(steps = [step(f`+tt.options+`)], hosts = [`+tt.hosts+`])
`)
			signals := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}
			if tt.once {
				signals = signals[i%3 : i%3+1]
			}
			for _, signal := range signals {
				cmd := tr.program(append([]string{"--grace", "100ms", plan}, tt.args...)...)
				stderr, err := cmd.StderrPipe()
				if err == nil {
					err = cmd.Start()
				}
				if err != nil {
					t.Fatal(err)
				}
				stuck := time.AfterFunc(2*patience, func() {
					t.Errorf("%s: it hangs", signal)
					_ = cmd.Process.Kill()
				})
				defer stuck.Stop()
				lines := bufio.NewReader(stderr)
				said := ""
				for !strings.Contains(said, tt.says) {
					line, err := lines.ReadString('\n')
					if err != nil {
						t.Fatalf("it ended before it said %q: %s", tt.says, said)
					}
					said += line
				}
				if tt.there != "" {
					until(t, true, tt.there)
				}
				_ = cmd.Process.Signal(signal)
				began := time.Now()
				rest, _ := io.ReadAll(lines)
				_ = cmd.Wait()
				if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
					t.Errorf("%s: exit code %d\n%s%s", signal, code, said, rest)
				}
				if took := time.Since(began); took > patience {
					t.Errorf("%s: it took %s", signal, took)
				}
				if tt.there != "" {
					until(t, false, tt.there)
				}
			}
		})
	}
}

// silentHost is an ssh configuration by which blackphos never greets.
func (tr *trial) silentHost() string {
	tr.Helper()
	config, err := os.ReadFile(tr.fleet.SSHConfig())
	if err != nil {
		tr.Fatal(err)
	}
	tr.write("silent_config", strings.ReplaceAll(string(config), "Port 2222", "Port "+silentPort(tr.T)))
	return filepath.Join(tr.fleet.Project(), "silent_config")
}

// program is infra run on the fleet. What comes last of an option counts.
func (tr *trial) program(args ...string) *exec.Cmd {
	cmd := exec.Command("infra", append([]string{"run", "--ssh-config", tr.fleet.SSHConfig()}, args...)...)
	cmd.Dir, cmd.Env = tr.fleet.Project(), append(os.Environ(), tr.fleet.Env()...)
	return cmd
}

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
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if found := processes(marker); (len(found) > 0) == there {
			return
		}
	}
	t.Errorf("processes with %q: %q", marker, processes(marker))
}

func TestInterruptions(t *testing.T) {
	tr := newTrial(t, "blackphos")
	tr.write("plans/t.star", `
load("fleet.star", "fleet")
mac = fleet["blackphos"]
def there(): ssh.run(mac, "echo begun; sleep 7771.5; touch /not-reached")
def here(): local.run("echo begun; sleep 7771.5; touch not-reached")
def short(): ssh.run(mac, "sleep 1; touch /reached")
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
			time.AfterFunc(1*time.Millisecond, func() { _ = cmd.Process.Signal(os.Interrupt) })
			time.AfterFunc(600*time.Millisecond, func() { _ = cmd.Process.Signal(os.Interrupt) })
			if out := end(t, cmd, lines); !strings.Contains(out, "stopping: ") {
				t.Errorf("it did not say that it stops:\n%s", out)
			}
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
		out := end(t, cmd, lines)
		tr.exec("blackphos", "test", "-e", "/reached")
		if _, err := tr.fleet.Exec("blackphos", "test", "-e", "/not-reached"); err == nil {
			t.Errorf("something new was started:\n%s", out)
		}
	})
}

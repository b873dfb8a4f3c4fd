package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"infra/runtime"
)

var markers atomic.Int64

// marker is a word that no other process has.
func marker() string { return fmt.Sprintf("infra-test-%d-%d", os.Getpid(), markers.Add(1)) }

// A signalled writer tells when something came.
type signalled struct {
	once sync.Once
	came chan struct{}
	mu   sync.Mutex
	text bytes.Buffer
}

func newSignalled() *signalled { return &signalled{came: make(chan struct{})} }

func (s *signalled) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.came) })
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func TestEnvironment(t *testing.T) {
	p := newServer(t).pool(t)
	secret := marker()
	out := newSignalled()
	ctx, cancel := context.WithCancel(inTime(t))
	done := make(chan error, 1)
	go func() {
		_, err := p.Run(ctx, target, Command{
			Argv: []string{"sh", "-c", `printf %s "$A_SECRET|$PATH|$LINES2"; exec sleep 60`}, Stdout: out,
			Env: map[string]runtime.Text{"A_SECRET": runtime.PlainText(secret + " 'x' $y"), "PATH": runtime.PlainText("/usr/bin:/bin:/odd"), "LINES2": runtime.PlainText("a\nb")},
		})
		done <- err
	}()
	<-out.came
	if found := processes(secret); len(found) > 0 {
		t.Errorf("the secret is in the argument list of %q", found)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got, want := out.text.String(), secret+" 'x' $y|/usr/bin:/bin:/odd|a\nb"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCancel(t *testing.T) {
	for _, c := range []struct {
		name, script string
		input        int
		least        time.Duration // how long the end takes
	}{
		{"plain", "echo up; sleep 300", 0, 0},
		{"with children", "sleep 300 & sleep 300 & echo up; wait", 0, 0},
		{"unread input", "echo up; sleep 300", 4 << 20, 0},
		{"deaf", "trap '' TERM; echo up; sleep 300; sleep 300; sleep 300", 0, time.Second},
		{"deaf child", "(trap '' TERM; echo up; sleep 300; sleep 300) & wait", 0, time.Second},
		{"cleans up", "trap 'sleep 0.5; echo cleaned; exit' TERM; echo up; sleep 300 & wait", 0, 500 * time.Millisecond},
		{"hangs up", "trap '' PIPE; yes; sleep 300", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newServer(t).pool(t)
			id, out := marker(), newSignalled()
			ctx, cancel := context.WithCancelCause(inTime(t))
			done := make(chan error, 1)
			go func() {
				_, err := p.Run(ctx, target, Command{Argv: []string{"sh", "-c", c.script, id},
					Stdout: out, Stdin: runtime.PlainText(strings.Repeat("x", c.input))})
				done <- err
			}()
			<-out.came
			if len(processes(id)) == 0 {
				t.Error("the marker is not seen while the command runs")
			}
			why := errors.New("changed my mind")
			cancel(why)
			began := time.Now()
			err := <-done
			if took := time.Since(began); took < c.least || took > hang {
				t.Errorf("the end took %s", took)
			}
			if !errors.Is(err, why) || errors.Is(err, runtime.ErrUntold) {
				t.Errorf("got %v", err)
			}
			if found := processes(id); len(found) > 0 {
				t.Errorf("left behind: %q", found)
			}
			if c.name == "cleans up" && out.text.String() != "up\ncleaned\n" {
				t.Errorf("it could not clean up: %q", out.text.String())
			}
		})
	}
}

// sleepers is a command of several processes that all hold the marker.
func sleepers(id string) Command {
	return Command{Argv: []string{"sh", "-c", "echo up; sh -c 'sleep 300; :' " + id + " & wait", id}}
}

func TestLostConnectionEndsCommand(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, *server, *Pool){
		"our side": func(t *testing.T, _ *server, p *Pool) { must(t, p.Close()) },
		"the host's side": func(t *testing.T, s *server, _ *Pool) {
			for _, pid := range sessionsOf(s.cmd.Process.Pid) {
				must(t, syscall.Kill(pid, syscall.SIGKILL))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			p := s.pool(t)
			id, out := marker(), newSignalled()
			cmd := sleepers(id)
			cmd.Stdout = out
			done := make(chan error, 1)
			go func() {
				_, err := p.Run(inTime(t), target, cmd)
				done <- err
			}()
			<-out.came
			eventually(t, "both processes run", func() bool { return len(processes(id)) >= 2 })
			lose(t, s, p)
			err := <-done
			if !errors.Is(err, runtime.ErrUntold) || !strings.Contains(err.Error(), "the connection to target (") ||
				!strings.Contains(err.Error(), "was lost; whether the command finished is not known") {
				t.Errorf("got %v", err)
			}
			eventually(t, "the command has ended", func() bool { return len(processes(id)) == 0 })
		})
	}
}

func TestRedial(t *testing.T) {
	s := newServer(t)
	p := s.pool(t)
	must(t, p.Reach(inTime(t), target))
	for _, pid := range sessionsOf(s.cmd.Process.Pid) {
		must(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	eventually(t, "the loss is noticed", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.conns {
			return c.dead()
		}
		return false
	})
	must(t, p.Reach(inTime(t), target))
}

func TestSilentConnectionIsGivenUp(t *testing.T) {
	s := newServer(t)
	p := s.pool(t)
	p.keepalive = 100 * time.Millisecond
	must(t, p.Reach(inTime(t), target))
	sessions := sessionsOf(s.cmd.Process.Pid)
	for _, pid := range sessions {
		must(t, syscall.Kill(pid, syscall.SIGSTOP))
	}
	defer func() {
		for _, pid := range sessions {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}()
	// What did not begin on it, is carried out on another one.
	for _, c := range p.conns {
		c.idle.heard = 0 // a while ago
	}
	began := time.Now()
	_, err := p.Run(inTime(t), target, Command{Argv: []string{"true"}})
	if err != nil || time.Since(began) > hang {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	if now := sessionsOf(s.cmd.Process.Pid); len(now) == len(sessions) {
		t.Errorf("there is no other connection: %v", now)
	}
}

// A daemon that keeps the output open delays the end for a moment only.
func TestDaemonHoldsOutput(t *testing.T) {
	t.Parallel()
	p := newServer(t).pool(t)
	for _, c := range []struct {
		name, apart string
		stdin       runtime.Text
	}{
		{name: "in its group"},
		{name: "in a group of its own, of a command with a session of its own", apart: "setsid ", stdin: runtime.PlainText("x")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			began := time.Now()
			_, err := p.Run(inTime(t), target, Command{Stdin: c.stdin, Stdout: &out, Reads: true,
				Argv: []string{"sh", "-c", "echo before; " + c.apart + "sh -c 'echo $$; exec sleep 300' " + marker() + " & sleep 0.2; exit 0"}})
			if err != nil || !strings.HasPrefix(out.String(), "before\n") {
				t.Errorf("got %q, %v", &out, err)
			}
			if took := time.Since(began); took < drainQuiet || took > hang {
				t.Errorf("took %s", took)
			}
			var pid int
			fmt.Sscanf(out.String(), "before\n%d", &pid)
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Errorf("the daemon %d was not left alone: %v", pid, err)
			}
		})
	}
}

// A host may tell how a script ended long before what the script said.
func TestAnnouncementIsLate(t *testing.T) {
	t.Parallel()
	c, err := newServer(t).pool(t).to(inTime(t), target)
	must(t, err)
	var out strings.Builder
	status, err := c.run(inTime(t), job{script: fmt.Sprintf("( sleep %.1f; echo "+started+" >&2; echo late ) & exit 5", (drainQuiet + time.Second/2).Seconds()),
		input: strings.NewReader(""), stdout: &out, grace: time.Second})
	if err != nil || status != 5 || out.String() != "late\n" {
		t.Errorf("%d, %v, %q", status, err, &out)
	}
}

// Nothing of the wrapper stays after a command's end.
func TestNothingStays(t *testing.T) {
	s := newServer(t)
	p := s.pool(t)
	must(t, p.Reach(inTime(t), target))
	_, err := p.Run(inTime(t), target, Command{Argv: []string{"cat"}, Stdin: runtime.PlainText("x")})
	must(t, err)
	for _, session := range sessionsOf(s.cmd.Process.Pid) {
		eventually(t, "there are only sshd", func() bool {
			return !slices.ContainsFunc(childrenOf(session), func(pid int) bool {
				line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
				return err == nil && !strings.HasPrefix(string(line), "sshd")
			})
		})
	}
	for _, dir := range []string{"/dev/shm", os.TempDir()} {
		all, _ := filepath.Glob(filepath.Join(dir, "infra.??????")) // also of tests that run elsewhere
		for _, name := range all {
			eventually(t, name+" is gone", func() bool { _, err := os.Stat(name); return err != nil })
		}
	}
}

func TestManyCommands(t *testing.T) {
	for _, c := range []struct{ sessions, commands int }{{10, 100}, {3, 30}, {1, 10}} {
		t.Run(fmt.Sprint(c.sessions), func(t *testing.T) {
			s := newServer(t, fmt.Sprintf("MaxSessions %d", c.sessions))
			p := s.pool(t)
			ctx := inTime(t)
			errs := make(chan error, c.commands)
			for i := range c.commands {
				go func() {
					out, err := p.Output(ctx, target, "echo", fmt.Sprint(i))
					if err == nil && out != fmt.Sprintln(i) {
						err = fmt.Errorf("got %q from %d", out, i)
					}
					errs <- err
				}()
			}
			for range c.commands {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
			log, err := os.ReadFile(s.log)
			must(t, err)
			if n := strings.Count(string(log), "Accepted publickey"); n != 1 {
				t.Errorf("%d logins for one host", n)
			}
			if n, most := strings.Count(string(log), "no more sessions"), sessionsPerConnection-c.sessions; n > most {
				t.Errorf("%d sessions were refused, want at most %d", n, most)
			}
		})
	}
}

func TestCommandThatCannotStart(t *testing.T) {
	p := newServer(t).pool(t)
	for _, c := range []struct {
		name string
		cmd  Command
		want string
	}{
		{"missing program", Command{Argv: []string{"no-such-program"}}, "no-such-program is not installed (not on PATH)"},
		{"missing folder", Command{Argv: []string{"true"}, Dir: "/no/such"}, "/no/such"},
		{"nothing", Command{}, "needs a program"},
		{"a dash", Command{Argv: []string{"-x"}}, "cannot begin with a dash"},
		{"a NUL", Command{Argv: []string{"echo", "a\x00b"}}, "NUL"},
		{"a broken variable", Command{Argv: []string{"echo"}, Env: map[string]runtime.Text{"A-B": {}}}, `"A-B"`},
	} {
		_, err := p.Run(inTime(t), target, c.cmd)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		if c.name == "missing program" && !errors.Is(err, exec.ErrNotFound) {
			t.Errorf("%v is no exec.ErrNotFound", err)
		}
	}
}

// The command gets no file but its own three.
func TestDescriptors(t *testing.T) {
	p := newServer(t).pool(t)
	var out bytes.Buffer
	_, err := p.Run(inTime(t), target,
		Command{Argv: []string{"sh", "-c", "ls /proc/$$/fd; :"}, Stdin: runtime.PlainText("x"), Stdout: &out})
	if err != nil || out.String() != "0\n1\n2\n" {
		t.Errorf("got %q, %v", &out, err)
	}
}

func TestDir(t *testing.T) {
	p := newServer(t).pool(t)
	dir := filepath.Join(t.TempDir(), "a 'b' $c")
	must(t, os.Mkdir(dir, 0o755))
	var out bytes.Buffer
	_, err := p.Run(inTime(t), target, Command{Argv: []string{"pwd"}, Dir: dir, Stdout: &out})
	if err != nil || out.String() != dir+"\n" {
		t.Errorf("got %q, %v", &out, err)
	}
}

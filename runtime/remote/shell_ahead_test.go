package remote

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
	"sync"
	"syscall"
	"testing"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// A going is an attempt of a step that goes ahead. Its commands run in a folder of their
// own, where each notes that it ran by its number, $N.
type going struct {
	t    *testing.T
	p    *Pool
	ctx  context.Context
	dir  string
	asks []*asked
}

// An asked is a statement of it. What came of it is there when it is over.
type asked struct {
	out, diag bytes.Buffer
	err       error
}

func goAhead(t *testing.T, p *Pool, ctx, stop context.Context) *going {
	return &going{t: t, p: p, ctx: runtime.WithAhead(runtime.WithAttempt(ctx), stop), dir: t.TempDir()}
}

var errExit = errors.New("exited with")

// ask asks for a command as ssh.run does.
func (g *going) ask(cmd Command) error {
	x := &asked{}
	g.asks = append(g.asks, x)
	n := strconv.Itoa(len(g.asks))
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = g.dir, &x.out, &x.diag, map[string]runtime.Text{"N": runtime.PlainText(n)}
	op := runtime.Op{Name: "ssh.run", Host: "h", Statement: starlark.CallStack{{Name: n}}}
	_, err := runtime.AheadOf(g.ctx).Do(g.ctx, op, func(ctx context.Context, _ runtime.Op) (runtime.Result, error) {
		exit, err := g.p.Run(ctx, target, cmd)
		if err == nil && exit.Code != 0 {
			err = fmt.Errorf("%w %d", errExit, exit.Code)
		}
		x.err = err
		return runtime.Result{}, err
	})
	return err
}

const (
	notes = "echo $N >>ran; "
	waits = "until [ -e go ]; do sleep .02; done; "
)

func shellOf(script string) Command { return Command{Argv: []string{"sh", "-c", script}} }

func withInput(cmd Command) Command {
	cmd.Stdin = runtime.PlainText("x")
	return cmd
}

func (g *going) wait() error { return runtime.AheadOf(g.ctx).Wait() }

// letGo ends what waits.
func (g *going) letGo() { must(g.t, os.WriteFile(filepath.Join(g.dir, "go"), nil, 0o600)) }

// read reads a file of the folder, as words.
func (g *going) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(g.dir, name))
	return strings.Join(strings.Fields(string(text)), " ")
}

// written waits for a file of the folder.
func (g *going) written(name string) (text string) {
	eventually(g.t, name+" is written", func() bool { text = g.read(name); return text != "" })
	return text
}

// checkAll compares which ran, and their errors.
func (g *going) checkAll(ran string, errs ...error) {
	g.t.Helper()
	if got := g.read("ran"); got != ran {
		g.t.Errorf("%q ran, not %q", got, ran)
	}
	for i, x := range g.asks {
		if want := errs[min(i, len(errs)-1)]; !errors.Is(x.err, want) {
			g.t.Errorf("%d of %d: got %v, want %v", i+1, len(g.asks), x.err, want)
		}
	}
}

// checkEarlier says whether err is that of an earlier statement.
func (g *going) checkEarlier(err error, n string, want error) {
	g.t.Helper()
	var earlier *runtime.EarlierError
	if !errors.As(err, &earlier) || earlier.Stack[0].Name != n || !errors.Is(err, want) {
		g.t.Errorf("got %v, want %v of %s", err, want, n)
	}
}

// TestAheadInOneSession: nobody waits for the answers of commands that run one after another.
func TestAheadInOneSession(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	g := goAhead(t, s.pool(t), inTime(t), t.Context())
	first := waits
	for range 5 {
		must(t, g.ask(shellOf(notes+first+"echo out $N; echo diag $N >&2")))
		first = ""
	}
	g.written("ran")
	if ran := g.read("ran"); ran != "1" {
		t.Errorf("%q ran before the first had ended", ran)
	}
	g.letGo()
	must(t, g.wait())
	g.checkAll("1 2 3 4 5", nil)
	for i, x := range g.asks {
		if got, want := x.out.String()+x.diag.String(), fmt.Sprintf("out %d\ndiag %[1]d\n", i+1); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	log, err := os.ReadFile(s.log)
	must(t, err)
	if n := strings.Count(string(log), "Starting session: command"); n != 1 {
		t.Errorf("%d sessions for it", n)
	}
}

// TestAheadAfterFailure: what comes behind a failure is not begun, and the attempt may go
// on after it, as by a plan's code that catches it.
func TestAheadAfterFailure(t *testing.T) {
	t.Parallel()
	p := newServer(t).pool(t)
	for _, c := range []struct {
		name string
		cmd  Command
		ran  string
		want error
		text string
	}{
		{"it fails", shellOf(notes + "exit 3"), "1 2 6", errExit, "exited with 3"},
		{"it is killed", shellOf(notes + "kill -9 $$"), "1 2 6", errExit, "exited with 137"},
		{"it is not installed", Command{Argv: []string{"no-such-program"}}, "1 6", exec.ErrNotFound, "no-such-program is not installed (not on PATH)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := goAhead(t, p, inTime(t), t.Context())
			for _, cmd := range []Command{shellOf(notes + waits), c.cmd, shellOf(notes), shellOf(notes)} {
				must(t, g.ask(cmd))
			}
			g.letGo()
			err := g.ask(withInput(shellOf(notes))) // is waited for
			g.checkEarlier(err, "2", c.want)
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %q", err, c.text)
			}
			must(t, g.ask(shellOf(notes)))
			must(t, g.wait())
			over := runtime.ErrPassedOver
			g.checkAll(c.ran, nil, c.want, over, over, over, nil)
		})
	}
}

// TestAheadWithInput: what has no place in a shell waits for what is in it, and what
// follows for that, however few sessions there may be.
func TestAheadWithInput(t *testing.T) {
	t.Parallel()
	for _, sessions := range []int{1, 2, 10} {
		t.Run(strconv.Itoa(sessions), func(t *testing.T) {
			t.Parallel()
			g := goAhead(t, newServer(t, fmt.Sprintf("MaxSessions %d", sessions)).pool(t), inTime(t), t.Context())
			slow := "sleep .3; " + notes // others would be before it if they could
			for _, cmd := range []Command{shellOf(slow), shellOf(slow), withInput(shellOf(slow)), shellOf(slow), withInput(shellOf(notes)), shellOf(notes)} {
				must(t, g.ask(cmd))
			}
			must(t, g.wait())
			g.checkAll("1 2 3 4 5 6", nil)
		})
	}
}

// TestAheadStopped: what runs may end, and nothing else is begun.
func TestAheadStopped(t *testing.T) { inEachSession(t, aheadStopped) }

func aheadStopped(t *testing.T, _ *server, p *Pool) {
	stop, cancel := context.WithCancelCause(t.Context())
	g := goAhead(t, p, inTime(t), stop)
	must(t, g.ask(shellOf(notes+"echo $PPID >runner; "+waits)))
	for range 3 {
		must(t, g.ask(shellOf(notes)))
	}
	runner := g.written("runner")
	var before string
	eventually(t, "the runner waits for the command", func() bool {
		before = sleeps(runner)
		return before != ""
	})
	cancel(runtime.ErrInterrupted)
	eventually(t, "the runner has a signal", func() bool { now := sleeps(runner); return now != "" && now != before })
	g.letGo()
	g.checkEarlier(g.wait(), "2", runtime.ErrInterrupted)
	g.checkAll("1", nil, runtime.ErrPassedOver)
}

// sleeps is how often a process that sleeps has begun to.
func sleeps(pid string) string {
	status, _ := os.ReadFile("/proc/" + pid + "/status")
	_, times, _ := strings.Cut(string(status), "\nvoluntary_ctxt_switches:")
	if !strings.Contains(string(status), "\nState:\tS") {
		return ""
	}
	return strings.Fields(times)[0]
}

// TestAheadIsCutOff: what became of commands is known where they were ended, and is not
// where the host is lost.
func TestAheadIsCutOff(t *testing.T) {
	t.Parallel()
	why := errors.New("enough")
	for _, c := range []struct {
		name        string
		cut         func(*testing.T, *server, context.CancelCauseFunc)
		first, rest error
	}{
		{"cancelled", func(_ *testing.T, _ *server, cancel context.CancelCauseFunc) { cancel(why) }, why, runtime.ErrPassedOver},
		{"lost", func(t *testing.T, s *server, _ context.CancelCauseFunc) {
			for _, pid := range sessionsOf(s.cmd.Process.Pid) {
				must(t, syscall.Kill(pid, syscall.SIGKILL))
			}
		}, runtime.ErrUntold, runtime.ErrUntold},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			ctx, cancel := context.WithCancelCause(inTime(t))
			g := goAhead(t, s.pool(t), ctx, t.Context())
			id := marker()
			must(t, g.ask(shellOf("sh -c 'sleep 300; :' "+id+" & "+notes+"echo $PPID >runner; wait")))
			for range 3 {
				must(t, g.ask(shellOf(notes)))
			}
			runner := g.written("runner")
			c.cut(t, s, cancel)
			g.checkEarlier(g.wait(), "1", c.first)
			for i, x := range g.asks {
				if untold := errors.Is(x.err, runtime.ErrUntold); untold != (c.first == runtime.ErrUntold) {
					t.Errorf("%d: %v", i, x.err)
				}
			}
			if left := processes(id); len(left) > 0 && c.first == why {
				t.Errorf("%v are left", left)
			}
			eventually(t, "nothing is left", func() bool {
				_, err := os.Stat("/proc/" + runner)
				return err != nil && len(processes(id)) == 0
			})
			g.checkAll("1", c.first, c.rest)
		})
	}
}

// TestAheadOfDaemon: what is left of a command is in nobody's way, and what it prints when
// nobody reads that any more is no other command's.
func TestAheadOfDaemon(t *testing.T) { inEachSession(t, aheadOfDaemon) }

func aheadOfDaemon(t *testing.T, _ *server, p *Pool) {
	g := goAhead(t, p, inTime(t), t.Context())
	daemon := `trap "" PIPE; echo $$ >daemon; until [ -e late ]; do sleep .02; done; echo late; echo said >said; exec sleep 300`
	must(t, g.ask(shellOf(notes+"sh -c '"+daemon+"' & "+waits)))
	for range 2 {
		must(t, g.ask(shellOf(notes+"echo out $N")))
	}
	pid, err := strconv.Atoi(g.written("daemon"))
	must(t, err)
	g.letGo()
	must(t, g.wait())
	must(t, g.ask(shellOf(notes+": >late; until [ -s said ]; do sleep .02; done; echo out $N")))
	must(t, g.wait())
	g.checkAll("1 2 3 4", nil)
	for i, x := range g.asks[1:] {
		if got, want := x.out.String(), fmt.Sprintf("out %d\n", i+2); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the daemon %d was not left alone: %v", pid, err)
	}
}

// TestAheadOfMany: attempts side by side and in turn, of commands of which some fail.
func TestAheadOfMany(t *testing.T) {
	t.Parallel()
	for sessions, each := range map[int]int{1: 5, 2: 8, 10: 27} {
		t.Run(fmt.Sprintf("%d sessions", sessions), func(t *testing.T) {
			t.Parallel()
			p := newServer(t, fmt.Sprintf("MaxSessions %d", sessions)).pool(t)
			var side sync.WaitGroup
			for range 5 {
				side.Go(func() {
					for range each {
						ctx, end := context.WithCancel(inTime(t))
						goAhead(t, p, ctx, t.Context()).anything()
						end()
					}
				})
			}
			side.Wait()
		})
	}
}

func (g *going) anything() {
	var err error
	var errs []error
	var ran []string
	failed, most := 0, 1+rand.IntN(20)
	for n := 1; n <= most && err == nil; n++ {
		cmd, want := shellOf(notes), error(nil)
		switch rand.IntN(15) {
		case 0:
			cmd, want = shellOf(notes+"exit 3"), errExit
		case 1:
			cmd, want = Command{Argv: []string{"no-such-program"}}, exec.ErrNotFound
		case 2:
			cmd = withInput(cmd)
		case 3:
			if err = g.wait(); err != nil {
				continue
			}
		}
		switch {
		case failed > 0:
			want = runtime.ErrPassedOver
		case want != nil:
			failed = n
		}
		if want == nil || want == errExit {
			ran = append(ran, strconv.Itoa(n))
		}
		errs = append(errs, want)
		err = g.ask(cmd)
	}
	if err == nil {
		err = g.wait()
	}
	g.checkAll(strings.Join(ran, " "), errs...)
	if failed > 0 {
		g.checkEarlier(err, strconv.Itoa(failed), errs[failed-1])
	} else if err != nil {
		g.t.Error(err)
	}
}

package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"infra/runtime"
)

// TestShellIsShared: which commands run in one session, told by the shell that runs them.
func TestShellIsShared(t *testing.T) {
	t.Parallel()
	steps := map[string]context.Context{"1": runtime.WithAttempt(t.Context()), "2": runtime.WithAttempt(context.WithoutCancel(t.Context()))}
	step := func(name string) func(context.Context) context.Context {
		return func(context.Context) context.Context { return steps[name] }
	}
	none := func(ctx context.Context) context.Context { return ctx }
	type command struct {
		as    func(context.Context) context.Context
		reads bool
		stdin string
	}
	for _, c := range []struct {
		name string
		run  []command
		same bool // the last runs where the first did
	}{
		{"two that observe", []command{{none, true, ""}, {none, true, ""}}, true},
		{"of two steps that observe", []command{{step("1"), true, ""}, {step("2"), true, ""}}, true},
		{"two changes of nobody", []command{{none, false, ""}, {none, false, ""}}, false},
		{"two changes of a step", []command{{step("1"), false, ""}, {step("1"), false, ""}}, true},
		{"after what is observed, a change, and what is observed", []command{{step("1"), true, ""}, {step("1"), false, ""}, {step("1"), true, ""}}, true},
		{"changes of two steps", []command{{step("1"), false, ""}, {step("2"), false, ""}}, false},
		{"what another step observes after a change", []command{{step("1"), false, ""}, {step("2"), true, ""}}, false},
		{"after a change elsewhere", []command{{step("1"), true, ""}, {step("2"), false, "x"}, {step("1"), true, ""}}, false},
		{"after something with an input that observes", []command{{step("1"), true, ""}, {step("2"), true, "x"}, {step("1"), true, ""}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newServer(t).pool(t)
			var shells []string
			for _, x := range c.run {
				var out strings.Builder
				_, err := p.Run(x.as(inTime(t)), target, Command{Argv: []string{"sh", "-c", "echo $PPID"}, Reads: x.reads,
					Stdin: runtime.PlainText(x.stdin), Stdout: &out})
				must(t, err)
				shells = append(shells, strings.TrimSpace(out.String()))
			}
			if same := shells[0] == shells[len(shells)-1]; same != c.same {
				t.Errorf("they ran in %v", shells)
			}
		})
	}
}

// TestShellEndsWithItsStep: nothing of it stays on the host.
func TestShellEndsWithItsStep(t *testing.T) { inEachSession(t, shellEndsWithItsStep) }

func shellEndsWithItsStep(t *testing.T, _ *server, p *Pool) {
	ctx, end := context.WithCancel(inTime(t))
	var out strings.Builder
	_, err := p.Run(runtime.WithAttempt(ctx), target, Command{Argv: []string{"sh", "-c", "echo $PPID"}, Stdout: &out})
	must(t, err)
	shell := "/proc/" + strings.TrimSpace(out.String())
	if _, err := os.Stat(shell); err != nil {
		t.Errorf("it did not stay for the step: %v", err)
	}
	end()
	eventually(t, "the shell has ended", func() bool { _, err := os.Stat(shell + "/exe"); return err != nil })
}

// TestShellTellsAll: exit codes, both streams and the environment of many commands in one
// shell are those of each.
func TestShellTellsAll(t *testing.T) { inEachSession(t, shellTellsAll) }

func shellTellsAll(t *testing.T, s *server, p *Pool) {
	dir := t.TempDir()
	for i := range 30 {
		text := strings.Repeat("\x1eline "+strconv.Itoa(i)+" ", rand.IntN(2000))
		if i%3 == 0 {
			text += "\n"
		}
		code := i % 7
		var out, diag bytes.Buffer
		exit, err := p.Run(inTime(t), target, Command{Reads: true, Stdout: &out, Stderr: &diag, Dir: dir,
			Env:  map[string]runtime.Text{"TEXT": runtime.PlainText(text)},
			Argv: []string{"sh", "-c", `printf %s "$TEXT"; printf %s "$TEXT$PWD" >&2; exit "$1"`, "sh", strconv.Itoa(code)}})
		if err != nil || exit.Code != code || out.String() != text || diag.String() != text+dir {
			t.Fatalf("%d: %v, %v, %.80q (%d of %d bytes), %.80q", i, exit, err, &out, out.Len(), len(text), &diag)
		}
	}
	out, err := p.Output(inTime(t), target, "sh", "-c", `echo "${TEXT-none}"; cat; trap; kill -s INT $$; echo deaf`)
	if err == nil || out != "" || !strings.Contains(err.Error(), "exited with 130") {
		t.Errorf("%q, %v: it has nothing of the one before, no input, and is not deaf to INT", out, err)
	}
	log, err := os.ReadFile(s.log)
	must(t, err)
	if n := strings.Count(string(log), "Starting session: command"); n != 1 {
		t.Errorf("%d sessions for it", n)
	}
}

// TestShellIsKilled: whoever ends the shell itself ends what it runs, and the outcome is
// not known; the next command finds another one.
func TestShellIsKilled(t *testing.T) { inEachSession(t, shellIsKilled) }

func shellIsKilled(t *testing.T, _ *server, p *Pool) {
	id := marker()
	_, err := p.Run(inTime(t), target, Command{Reads: true, Argv: []string{"sh", "-c", "kill -9 $PPID; sleep 300 & sleep 300", id}})
	if !errors.Is(err, runtime.ErrUntold) {
		t.Errorf("got %v", err)
	}
	eventually(t, "the command has ended", func() bool { return len(processes(id)) == 0 })
	must(t, p.Reach(inTime(t), target))
}

// TestShellMakesRoom: a shell that nobody uses is in nobody's way.
func TestShellMakesRoom(t *testing.T) {
	t.Parallel()
	p := newServer(t, "MaxSessions 1").pool(t)
	for i := range 4 {
		input := runtime.Text{}
		if i%2 == 1 {
			input = runtime.PlainText("x")
		}
		_, err := p.Run(inTime(t), target, Command{Argv: []string{"true"}, Reads: true, Stdin: input})
		must(t, err)
	}
}

// TestShellIsLeft: what is cancelled is ended with all of its group.
func TestShellIsLeft(t *testing.T) { inEachSession(t, shellIsLeft) }

func shellIsLeft(t *testing.T, _ *server, p *Pool) {
	for _, first := range []bool{true, false} { // in a new shell, and in one that is there
		id := marker()
		out := newSignalled()
		ctx, cancel := context.WithCancelCause(inTime(t))
		done := make(chan error, 1)
		go func() {
			_, err := p.Run(ctx, target, Command{Reads: true, Stdout: out, Argv: []string{"sh", "-c", "trap '' INT; sleep 300 & echo on; wait", id}})
			done <- err
		}()
		<-out.came
		why := errors.New("enough")
		cancel(why)
		if err := <-done; !errors.Is(err, why) || errors.Is(err, runtime.ErrUntold) {
			t.Errorf("first %v: %v", first, err)
		}
		if left := processes(id); len(left) > 0 {
			t.Errorf("first %v: %v are left", first, left)
		}
		must(t, p.Reach(inTime(t), target))
	}
}

// FuzzMarked: however a stream is cut, what is passed on of it is the text, and the shell's
// words are those between.
func FuzzMarked(f *testing.F) {
	f.Add([]byte("text\x1eM start\nmore \x1eM end 0 1\n\x1e"), uint64(1))
	f.Add([]byte("\x1e\x1eM\n\x1eM "+strings.Repeat("x", 100)+"\n"), uint64(2))
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64) {
		read := func(pieces [][]byte) (all []string) {
			m := &marked{mark: []byte("\x1eM"), text: func(p []byte) {
				if n := len(all); n > 0 && strings.HasPrefix(all[n-1], "t") {
					all[n-1] += string(p)
					return
				}
				all = append(all, "t"+string(p))
			}, says: func(word, rest string) { all = append(all, "w"+word+" "+rest) }}
			for _, p := range pieces {
				m.Write(p)
			}
			return append(all, "h"+string(m.held))
		}
		r := rand.New(rand.NewPCG(seed, 0))
		var pieces [][]byte
		for rest := stream; len(rest) > 0; {
			n := 1 + r.IntN(len(rest))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		if whole, cut := read([][]byte{stream}), read(pieces); !slices.Equal(whole, cut) {
			t.Errorf("%q as a whole is %q, in pieces %q", stream, whole, cut)
		}
	})
}

// TestShellUnderEachShell: whatever /bin/sh is, it says of each command what became of it.
func TestShellUnderEachShell(t *testing.T) {
	t.Parallel()
	for name, argv := range shells(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.ReplaceAll(joined(shellRuns), "/bin/sh", strings.Join(argv, " "))
			child := exec.Command(argv[0], append(slices.Clone(argv[1:]), "-c", text, "sh", "MARK", "10")...)
			child.WaitDelay = hang
			var out bytes.Buffer
			diag := &untilEnd{came: make(chan struct{}, 2)}
			child.Stdout, child.Stderr = &out, diag
			stdin, err := child.StdinPipe()
			must(t, err)
			must(t, child.Start())
			for _, commands := range [][]string{
				{"first set -- sh -c 'echo out; echo diag >&2; exit 3'\n\n", "after set -- echo never\n", "after set -- echo never\n"},
				{"first set -- sh -c 'echo 1; exec sleep .1'\n", "after set -- sh -c 'echo 2; echo two >&2'\n"},
				{"first set -- no-such-program\n", "after set -- echo never\n"},
			} {
				_, err = io.WriteString(stdin, strings.Join(commands, ""))
				must(t, err)
				for range commands {
					select {
					case <-diag.came:
					case <-time.After(hang):
						_ = child.Process.Kill()
					}
				}
			}
			must(t, stdin.Close())
			_ = child.Wait() // its status says nothing
			said := strings.NewReplacer(" units\n", "\n", " plain\n", "\n").Replace(diag.said.String())
			for _, x := range []struct{ what, got, want string }{
				{"standard output", ends.ReplaceAllString(out.String(), ""), "\x1eMARK start\nout\n1\n\x1eMARK next\n2\n"},
				{"its ends", strings.Join(ends.FindAllString(out.String(), -1), ""), "\x1eMARK end\n\x1eMARK skip\n\x1eMARK skip\n\x1eMARK end\n\x1eMARK end\n\x1eMARK end\n\x1eMARK skip\n"},
				{"standard error", ends.ReplaceAllString(said, ""), started + "\n\x1eMARK start\n\x1eMARK begin\ndiag\n\x1eMARK begin\n\x1eMARK next\n\x1eMARK begin\ntwo\nno-such-program is not installed (not on PATH)\n"},
				{"its ends", strings.Join(ends.FindAllString(said, -1), ""), "\x1eMARK end 3 0\n\x1eMARK skip\n\x1eMARK skip\n\x1eMARK end 0 0\n\x1eMARK end 0 0\n\x1eMARK end 127 0\n\x1eMARK skip\n"},
			} {
				if x.got != x.want {
					t.Errorf("%s: %q, want %q", x.what, x.got, x.want)
				}
			}
		})
	}
}

// ends are the lines that may come behind what the next command says.
var ends = regexp.MustCompile("\x1eMARK (end|skip).*\\n")

// untilEnd tells of each command that has ended.
type untilEnd struct {
	said  bytes.Buffer // not embedded: its ReadFrom would go past Write
	ended int
	came  chan struct{}
}

func (u *untilEnd) Write(p []byte) (int, error) {
	n, err := u.said.Write(p)
	for ; u.ended < len(ends.FindAll(u.said.Bytes(), -1)); u.ended++ {
		u.came <- struct{}{}
	}
	return n, err
}

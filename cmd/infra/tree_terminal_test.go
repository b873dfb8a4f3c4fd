package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/term"

	"infra/runtime"
)

// socketVar names the socket on which a test tells the process in its
// terminal what to do.
const socketVar = "INFRA_TEST_TREE_SOCKET"

// TestTreeInTerminal is the other side of TestTerminal: run in a terminal, it
// shows a tree and does what the socket says, a line each.
func TestTreeInTerminal(t *testing.T) {
	if os.Getenv(socketVar) == "" {
		return
	}
	conn, err := net.Dial("unix", os.Getenv(socketVar))
	if err != nil {
		t.Fatal(err)
	}
	shown := newTree(os.Stdout, os.Getenv)
	events := terminalRun()
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		var n, width, height int
		switch line := lines.Text(); {
		case scan(line, "play %d", &n):
			for _, e := range events[:n] {
				e.Time = time.Now()
				shown.Read(e)
			}
			events = events[n:]
		case scan(line, "size %d %d", &width, &height):
			for w, h := 0, 0; w != width || h != height; w, h, _ = term.GetSize(1) {
				time.Sleep(time.Millisecond)
			}
		case line == "ask":
			shown.Suspend()
			fmt.Print("go on? [y/N] ")
		case line == "answer":
			fmt.Println("y")
			shown.Resume()
		}
		fmt.Fprintln(conn, "done")
	}
	shown.Close()
}

func scan(line, format string, into ...any) bool {
	n, err := fmt.Sscanf(line, format, into...)
	return err == nil && n == len(into)
}

// terminalRun is a run whose events stop the test at interesting moments.
func terminalRun() []runtime.Event {
	long := strings.Repeat("a long line ", 12)
	s := &script{}
	s.start(false, first2(macSteps()), second2(macSteps()))
	s.step("vars", "")
	s.step("system", "")
	build := s.ask("system", "", buildOp, "building '/nix/store/9xdrl7dmw1rp9ffssjbh4f3dvbvxqz8c-darwin-system-blackphos.drv'...")
	s.add(0, runtime.Event{Kind: runtime.Logged, Step: "vars", Text: long}) // 6 events so far
	s.end(300*time.Millisecond, "vars", "", runtime.OK, nil)
	s.add(0, runtime.Event{Kind: runtime.Logged, Step: "system", Text: "during the question"})
	build(2*time.Second, runtime.OK, changed)
	s.end(2*time.Second, "system", "", runtime.OK, nil)
	s.step("switch", "")
	fail := s.ask("switch", "", switchOp, "setting up /etc...", "error: launchd said no") // 13 so far
	fail(time.Second, runtime.Failed, nil)
	s.end(time.Second, "switch", "", runtime.Failed, runtime.WithHint(fmt.Errorf("nix.switch: activate exited with 1"), "the old system still runs"))
	s.end(0, "announce", "", runtime.Skipped, fmt.Errorf(`"switch" did not succeed`))
	s.add(0, runtime.Event{Kind: runtime.RunEnded, Status: runtime.Failed, Took: 4 * time.Second, Totals: &runtime.Totals{
		Ops: 2, Changed: 1, Steps: map[runtime.Status]int{runtime.OK: 2, runtime.Failed: 1, runtime.Skipped: 1},
	}})
	return s.events
}

// A terminal is a real one, of tmux, with a process that shows a tree.
type terminal struct {
	t       *testing.T
	socket  string // tmux's
	conn    net.Conn
	replies *bufio.Scanner
}

// openTerminal starts this test binary's TestTreeInTerminal in a terminal.
func openTerminal(t *testing.T, width, height int) *terminal {
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, "events"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, socket: filepath.Join(dir, "tmux")}
	command := fmt.Sprintf("echo before; %s=%s NO_COLOR=1 %s -test.run '^TestTreeInTerminal$'; echo after; exec cat",
		socketVar, listener.Addr(), self)
	term.tmux("-f", "/dev/null", "new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), "sh", "-c", command)
	t.Cleanup(func() { term.tmux("kill-server") })
	listener.(*net.UnixListener).SetDeadline(time.Now().Add(patience))
	if term.conn, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { term.conn.Close() })
	term.replies = bufio.NewScanner(term.conn)
	return term
}

func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-u", "-S", term.socket}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TMUX=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %v: %v: %s", args, err, out)
	}
	return string(out)
}

// tell has the process do something and waits until it has.
func (term *terminal) tell(format string, args ...any) {
	term.t.Helper()
	term.conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(term.conn, format+"\n", args...)
	if !term.replies.Scan() {
		term.t.Fatalf("no answer to "+format, args...)
	}
}

func (term *terminal) resize(width, height int) {
	term.t.Helper()
	term.tmux("resize-window", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height))
	term.tell("size %d %d", width, height)
}

var (
	anyTime    = regexp.MustCompile(` +(\d+m)?\d+(\.\d)?s`)
	anySpinner = regexp.MustCompile("[" + strings.Join(spinnerFrames[:], "") + "]")
)

// text is all that the terminal shows, with what has scrolled away.
func (term *terminal) text() string {
	term.t.Helper()
	text := strings.TrimRight(term.tmux("capture-pane", "-p", "-S", "-"), "\n") + "\n"
	return anySpinner.ReplaceAllString(anyTime.ReplaceAllString(text, " TIME"), "*")
}

// shows waits until the terminal shows what the golden file says.
func (term *terminal) shows(name string) {
	term.t.Helper()
	want, _ := os.ReadFile(filepath.Join("testdata", "golden", name))
	update := os.Getenv("UPDATE") != ""
	last, long := "", patience
	if update {
		long = 3 * time.Second
	}
	for deadline := time.Now().Add(long); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		last = term.text()
		if !update && last == string(want) {
			return
		}
	}
	golden(term.t, name, last)
}

// TestTerminal runs a tree in a real terminal that changes its size: nothing
// is shown twice, torn or lost, on the screen or in what scrolled away.
func TestTerminal(t *testing.T) {
	term := openTerminal(t, 100, 24)
	term.tell("play 6")
	term.tmux("send-keys", "-l", "^C") // two characters, which the terminal echoes below the tree
	term.shows("terminal-1-running.txt")
	term.resize(60, 24)
	term.shows("terminal-2-narrow.txt")
	term.tell("play 1")
	term.shows("terminal-3-ended.txt")
	term.resize(110, 12)
	term.shows("terminal-4-wide.txt")
	term.tell("ask")
	term.shows("terminal-5-question.txt")
	term.tell("play 6")
	term.tell("answer")
	term.shows("terminal-6-answered.txt")
	term.tell("play %d", len(terminalRun())-13)
	term.conn.Close()
	term.shows("terminal-7-done.txt")
}

// A run that never ends, as after a broken journal, leaves no tree behind.
func TestTerminalCutOff(t *testing.T) {
	term := openTerminal(t, 80, 10)
	term.tell("play 6")
	term.conn.Close()
	term.shows("terminal-cut-off.txt")
}

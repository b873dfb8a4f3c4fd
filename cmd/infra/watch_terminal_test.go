package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"infra/runtime/clock"
	"infra/runtime/engine"
)

// sees waits until the terminal's screen has these texts; those after a "!" are not to
// be there.
func (term *terminal) sees(texts ...string) {
	term.t.Helper()
	screen, missing := "", ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		screen, missing = term.tmux("capture-pane", "-p"), ""
		for _, text := range texts {
			if not, isNot := strings.CutPrefix(text, "!"); isNot == strings.Contains(screen, not) {
				missing = text
			}
		}
		if missing == "" {
			return
		}
	}
	term.t.Fatalf("wanted %q:\n%s", missing, screen)
}

func (term *terminal) press(keys ...string) {
	term.t.Helper()
	term.tmux(append([]string{"send-keys"}, keys...)...)
}

// echoes tells a shell whether its terminal shows what is typed.
const echoes = `$(stty -a | grep -Eo -- '-?\becho\b')`

// mistaken is infra watch that panics in its first step: its reads are made of nothing.
func mistaken() {
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, clock: clock.Now}
	root, plans, err := plansToWatch(os.Args[1:])
	if err != nil {
		os.Exit(a.report(err))
	}
	r, err := a.newReloader(root, plans, watchFlags{})
	if err != nil {
		os.Exit(a.report(err))
	}
	r.reads = new(engine.Reads)
	r.stay(context.Background())
}

// TestAMistakeGivesTheTerminalBack: a shell goes on after a panic, which says where it was.
func TestAMistakeGivesTheTerminalBack(t *testing.T) {
	t.Parallel()
	w := &watched{T: t, dir: resolved(t.TempDir())}
	w.write("infra.toml", "")
	w.write("a.star", watchedPlanText)
	w.write("lib.star", `text = "one\n"`)
	term := &terminal{t: t, socket: filepath.Join(t.TempDir(), "tmux")}
	command := fmt.Sprintf("cd %s; infra-mistaken a.star; echo ended $? %s; exec cat", w.dir, echoes)
	term.tmux("-f", "/dev/null", "new-session", "-d", "-x", "200", "-y", "200", "sh", "-c", command)
	t.Cleanup(func() { term.tmux("kill-server") })
	term.sees("panic: ", "(*Reads).take", "ended 2 echo")
}

// TestWatchOnATerminal works with infra watch as a person does.
func TestWatchOnATerminal(t *testing.T) {
	t.Parallel()
	w := &watched{T: t, dir: resolved(t.TempDir())}
	w.write("infra.toml", "")
	w.write("a.star", watchedPlanText)
	w.write("lib.star", `text = "one\n"`)
	aside := t.TempDir()
	editor, record := filepath.Join(aside, "editor"), filepath.Join(aside, "record")
	if err := os.WriteFile(editor, []byte("#!/bin/sh\necho \"$@\" > "+record+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, socket: filepath.Join(aside, "tmux")}
	command := fmt.Sprintf("cd %s; export NO_COLOR=1 VISUAL= EDITOR='%s -w'; infra watch a.star; echo ended $? %s; infra watch a.star; echo again $? %s; exec cat", w.dir, editor, echoes, echoes)
	term.tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "24", "sh", "-c", command)
	t.Cleanup(func() { term.tmux("kill-server") })

	term.sees("a.star: A note", "previewed (", "dry run of a.star", "+one", "0 destroys, 1 change", "r run  f all  e edit  p preview again  q quit")
	w.write("lib.star", "text = hello")
	term.sees("after lib.star: it cannot be read", "hello is not defined", "|        ^", "the last good preview, of ", ": 0 destroys, 1 change", "!dry run of", "e edit the error")
	term.press("e")
	waitFor(t, record, "-w +1 "+filepath.Join(w.dir, "lib.star")+"\n")
	term.sees("hello is not defined", "e edit the error")
	w.write("lib.star", `text = "two\n"`)
	term.sees("after lib.star: 1 changed since ", "was  +one", "now  +two", "!not defined", "!dry run of", "e edit  p")

	term.press("f")
	term.sees("dry run of a.star", "+two", "!now  +two", "f what differs")
	term.press("f")
	term.sees("now  +two", "!dry run of")

	term.press("r")
	term.sees("run ", " of a.star: A note", "1 change", "infra run ended with exit code 0: press a key to go back", "!r run")
	waitFor(t, filepath.Join(w.dir, "note.txt"), "two\n")
	term.press("x")
	term.sees("after the run: 1 changed", "~ no change  fs.write  note.txt", "was: change", "no change", "r run")
	term.tmux("resize-window", "-x", "60", "-y", "8")
	term.sees("more, for which the terminal is too low", "r run")

	term.press("q")
	term.tmux("resize-window", "-x", "100", "-y", "24")
	term.sees("ended 0 echo", "dry run of a.star", "r run")
	term.press("C-c")
	term.sees("again 130 echo")
}

package clan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"infra/runtime"
	"infra/runtime/remote"
)

var (
	raw    = ttyMode{raw: true, silent: true}
	getpw  = ttyMode{silent: true}
	cooked = ttyMode{}
)

func testDialog(log *strings.Builder) *dialog {
	return &dialog{
		machine: "m", log: log,
		prompts: map[string]flakePrompt{
			"a/line":   {Description: "A name", Type: "line"},
			"a/plain":  {Description: "plain", Type: "line"},
			"a/hidden": {Description: "A word: secret", Type: "hidden"},
			"b/multi":  {Description: "A text", Type: "multiline"},
			"b/both":   {Description: "b", Type: "multiline-hidden"},
			"c/other":  {Description: "Other", Type: "hidden"},
			"c/name":   {Description: "A name", Type: "line"},
		},
		answers: map[string]runtime.Text{
			"a/line": asSecret("l", "line-answer"), "a/plain": asSecret("p", "plain-answer"), "a/hidden": asSecret("h", "hidden-answer"),
			"b/multi": asSecret("m", "one\ntwo\n"), "b/both": asSecret("b", "x-one\ny-two"), "c/name": asSecret("n", "c-answer"),
		},
	}
}

// TestDialog: what clan prints, what it makes of its terminal, how long it is
// quiet, and what is typed.
func TestDialog(t *testing.T) {
	const announced = "Prompting value for %s for machines: m\r\n"
	say := func(id, text string) string { return fmt.Sprintf(announced, id) + text }
	for _, tt := range []struct {
		name, said string
		mode       ttyMode
		quiet      time.Duration
		want, err  string
	}{
		{"nothing said", "", raw, time.Minute, "", ""},
		{"a line", say("a/line", "A name: "), raw, settled, "line-answer\r", ""},
		{"a line, still printing", say("a/line", "A name: "), raw, settled - 1, "", ""},
		{"a line with a value", say("a/line", "A name: before"), raw, settled, strings.Repeat("\x7f", 6) + "line-answer\r", ""},
		{"by its words alone", "A text (Finish with Ctrl-D): \r\n", raw, settled, "one\ntwo\n\n\x04", ""},
		{"two of the same words", "A name: ", raw, patience, "", `waits for an answer to "A name:"`},
		{"without a description", "Enter the value for a/plain:: ", raw, settled, "plain-answer\r", ""},
		{"hidden", say("a/hidden", "A word: secret (hidden): "), raw, settled, "hidden-answer\r", ""},
		{"hidden with a value", say("a/hidden", "A word: secret (hidden): <Enter to keep, Backspace for new>"), raw, settled, strings.Repeat("\x7f", 34) + "hidden-answer\r", ""},
		{"hidden, by getpass", "A word: secret (hidden): ", getpw, settled, "hidden-answer\n", ""},
		{"several lines", say("b/multi", "A text (Finish with Ctrl-D): \r\n"), raw, settled, "one\ntwo\n\n\x04", ""},
		{"several lines with a value", say("b/multi", "A text (Finish with Ctrl-D): \r\nold\nlines"), raw, settled, "", "the prompt b/multi: it has a value already"},
		{"several lines, read to the end", "A text (Finish with Ctrl-D): \r\n", cooked, hesitant, "one\ntwo\n\x04", ""},
		{"several lines, too early", "A text (Finish with Ctrl-D): \r\n", cooked, settled, "", ""},
		{"several hidden lines", say("b/both", "Enter multiple lines (press Ctrl-D to finish or Ctrl-C to cancel):\r\n"), raw, settled, "x-one\ny-two\x04", ""},
		{"undeclared", say("c/other", "Other (hidden): "), raw, settled, "", `clan asks "Other" (c/other, hidden), and the plan does not say`},
		{"unknown in raw mode", "Passphrase for key: ", raw, patience, "", `waits for an answer to "Passphrase for key:"`},
		{"unknown in raw mode, too early", "Passphrase for key: ", raw, patience - 1, "", ""},
		{"unknown, cooked", "Go on? [y/N] ", cooked, endurance, "", `waits for an answer to "Go on? [y/N]"`},
		{"unknown, cooked, too early", "Go on? [y/N] ", cooked, endurance - 1, "", ""},
		{"output that is no question", "building...\r\n", cooked, time.Hour, "", ""},
		{"output that has the words of a prompt", "A text is made of lines\r\n", cooked, time.Hour, "", ""},
	} {
		var log strings.Builder
		d := testDialog(&log)
		d.heard(tt.said)
		got, err := d.turn(tt.mode, tt.quiet)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: typed %q, %v; want %q, %q", tt.name, got, err, tt.want, tt.err)
		}
		if err != nil && runtime.HintOf(err) == "" {
			t.Errorf("%s: no hint: %v", tt.name, err)
		}
	}
}

// TestDialogGoesOn: one prompt is answered once, its confirmation too, and the
// log shows no answer.
func TestDialogGoesOn(t *testing.T) {
	var log strings.Builder
	d := testDialog(&log)
	turn := func(want string) {
		t.Helper()
		if got, err := d.turn(raw, settled); got != want || err != nil {
			t.Fatalf("typed %q, %v; want %q", got, err, want)
		}
	}
	d.heard("Prompting value for a/line for machines: m\r\nA name: ")
	turn("line-answer\r")
	turn("") // it is answered
	for _, c := range "line-answer" {
		d.heard(string(c))
	}
	d.heard("\r\n")
	turn("")
	d.heard("Prompting value for a/hidden for machines: m\r\nA word: secret (hidden): ")
	turn("hidden-answer\r")
	d.heard("\r\nConfirm A word: secret (hidden): ")
	turn("hidden-answer\r")
	d.heard("\r\nInput received.\r\nPrompting value for b/both for machines: m\r\nEnter multiple lines (press Ctrl-D to finish or Ctrl-C to cancel):\r\n")
	turn("x-one\ny-two\x04")
	d.heard("\r\nConfirm by entering the same value again (press Ctrl-D to finish or Ctrl-C to cancel):\r\n")
	turn("x-one\ny-two\x04")
	d.heard("\r\ndone\r\n")
	const want = `Prompting value for a/line for machines: m
A name: [answered by the plan]
Prompting value for a/hidden for machines: m
A word: secret (hidden): [answered by the plan]
Confirm A word: secret (hidden): [answered by the plan]
Input received.
Prompting value for b/both for machines: m
Enter multiple lines (press Ctrl-D to finish or Ctrl-C to cancel):
[answered by the plan]
Confirm by entering the same value again (press Ctrl-D to finish or Ctrl-C to cancel):
[answered by the plan]
done
`
	if got := nonblank(log.String()); got != want {
		t.Errorf("the log is\n%s\nwant\n%s", got, want)
	}
}

func nonblank(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			b.WriteString(line)
		}
	}
	return b.String()
}

// FuzzDialog: whatever clan prints, what is typed is a declared answer, and
// nothing panics.
func FuzzDialog(f *testing.F) {
	f.Add("Prompting value for a/line for machines: m\r\nA name: ", true, false, 100)
	f.Add("A text (Finish with Ctrl-D): \r\n", false, false, 400)
	f.Add("Confirm \x00\xff: ", false, true, 3000)
	f.Fuzz(func(t *testing.T, said string, isRaw, silent bool, ms int) {
		var log strings.Builder
		d := testDialog(&log)
		for half := range 2 {
			d.heard(said[:len(said)/(2-half)])
			typed, _ := d.turn(ttyMode{isRaw, silent}, time.Duration(ms)*time.Millisecond)
			ok := typed == ""
			for _, a := range d.answers {
				ok = ok || strings.Contains(typed, a.Reveal())
			}
			if !ok {
				t.Errorf("typed %q", typed)
			}
		}
	})
}

// program makes an executable of sh for converse.
func program(t *testing.T, script string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "clan")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return []string{path}
}

func TestConverse(t *testing.T) {
	var log strings.Builder
	d := driver{dir: t.TempDir()}
	out, err := d.converse(t.Context(), program(t, `
tty; [ "$(ps -o tty= $$)" != "?" ] && echo "has a terminal"
printf 'Prompting value for a/line for machines: m\nA name: '
stty -icanon -echo min 1; IFS= read -r x; stty sane; echo
echo "got ${#x} characters"; exit 3`), testDialog(&log))
	if err != nil || out.Exit.Code != 3 {
		t.Fatalf("%v %v\n%s", out, err, &log)
	}
	for _, want := range []string{"/dev/", "has a terminal", "A name: [answered by the plan]", "got 11 characters"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, &log)
		}
	}
	if !strings.Contains(out.Stdout, "got 11") {
		t.Errorf("the output is %q", out.Stdout)
	}
}

// TestConverseEnds: a question without an answer, and a run that stops, end
// the program with all its children.
func TestConverseEnds(t *testing.T) {
	const script = `
trap '' HUP
exec 9>"$0.held"
(trap '' HUP; sleep 300 & echo up >&9; echo up > "$0.up"; wait) &
while [ ! -s "$0.up" ]; do sleep 0.01; done
printf 'Other (hidden): '; stty -echo; read x; sleep 300`
	for _, stop := range []bool{false, true} {
		var log strings.Builder
		d, argv := driver{dir: t.TempDir()}, program(t, script)
		up, gone := pipe(t, argv[0]+".held")
		ctx, cancel := context.WithCancelCause(t.Context())
		dl := testDialog(&log)
		if stop {
			dl.prompts = map[string]flakePrompt{"c/other": {Type: "hidden", Description: "never printed"}}
			go func() { <-up; cancel(runtime.ErrInterrupted) }()
		}
		started := time.Now()
		_, err := d.converse(ctx, argv, dl)
		if stop && !errors.Is(err, runtime.ErrInterrupted) || !stop && (err == nil || !strings.Contains(err.Error(), "c/other")) {
			t.Errorf("stop %v: %v", stop, err)
		}
		if took := time.Since(started); took > remote.DefaultGrace {
			t.Errorf("it took %s", took)
		}
		for what, c := range map[string]<-chan error{"its child was not up": up, "its child lives on": gone} {
			select {
			case err := <-c:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(2 * time.Minute):
				t.Fatal(what)
			}
		}
		cancel(nil)
	}
}

// pipe makes a pipe with a name. up tells that a program has written a line
// into it, gone that none holds it any more.
func pipe(t *testing.T, name string) (up, gone <-chan error) {
	t.Helper()
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	first, last := make(chan error), make(chan error, 1)
	go func() {
		in, err := os.Open(name)
		if err == nil {
			defer in.Close()
			_, err = in.Read(make([]byte, 3))
		}
		close(first)
		if err == nil {
			_, err = io.Copy(io.Discard, in)
		}
		last <- err
	}()
	return first, last
}

// TestLargeAnswer: an answer that fills the terminal's buffer many times is
// typed while what is echoed is read.
func TestLargeAnswer(t *testing.T) {
	var log strings.Builder
	dl := testDialog(&log)
	dl.answers["b/multi"] = asSecret("large", strings.Repeat("0123456789abcde\n", 4096))
	d := driver{dir: t.TempDir()}
	_, err := d.converse(t.Context(), program(t, `
printf 'Prompting value for b/multi for machines: m\nA text (Finish with Ctrl-D): \n'
stty raw -echo; head -c 65538 | wc -c; stty sane`), dl)
	if err != nil || !strings.Contains(log.String(), "65538") {
		t.Errorf("%v\n%s", err, log.String()[:min(400, log.Len())])
	}
}

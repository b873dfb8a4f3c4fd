package remote

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"infra/runtime"
)

// shells are those that may be a host's /bin/sh.
func shells(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{"sh": {"/bin/sh"}}
	for name, argv := range map[string][]string{
		"dash": {"dash"}, "bash": {"bash", "--posix"}, "busybox": {"busybox", "sh"}, "zsh": {"zsh", "--emulate", "sh"},
	} {
		path, err := exec.LookPath(argv[0])
		must(t, err)
		found[name] = append([]string{path}, argv[1:]...)
	}
	return found
}

// wrapped starts the wrapper as a host does, with shell in place of /bin/sh.
func wrapped(t *testing.T, shell []string, cmd Command, grace time.Duration) (child *exec.Cmd, stdin io.WriteCloser) {
	t.Helper()
	text := strings.ReplaceAll(oneWord(wrapper, false), "/bin/sh", strings.Join(shell, " "))
	text = strings.TrimSuffix(text[strings.Index(text, "'")+1:], "'")
	line, err := prelude(cmd)
	must(t, err)
	input := wrapperInput(cmd, line, grace)
	child = exec.Command(shell[0], append(shell[1:], "-c", text)...)
	child.WaitDelay = hang // a process that is left behind must not hang the test
	child.Stdout, child.Stderr = cmd.Stdout, &announced{next: cmd.Stderr, answer: func() {}}
	stdin, err = child.StdinPipe()
	must(t, err)
	must(t, child.Start())
	go io.Copy(stdin, input)
	return child, stdin
}

func TestWrapperUnderEachShell(t *testing.T) {
	t.Parallel()
	for name, shell := range shells(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Run("exit and output", func(t *testing.T) { wrapperExits(t, shell) })
			t.Run("end of input", func(t *testing.T) { wrapperEnds(t, shell, endlessGroups) })
		})
	}
}

func wrapperExits(t *testing.T, shell []string) {
	odd := "a'b\"c\n$x`y`\\ \x81\x01\x7fé"
	for _, c := range []struct {
		script string
		input  string
		code   int
		stdout string
	}{
		{`printf %s "$1"`, "", 0, odd}, {`printf %s "$A"`, "", 0, odd}, {"exit 255", "", 255, ""}, {"exit 1", "", 1, ""},
		{"kill -KILL $$", "", 137, ""}, {"kill -USR1 $$", "", 138, ""}, {"cat", "a\x00b\n", 0, "a\x00b\n"}, {"exit 3", strings.Repeat("x", 300000), 3, ""},
		{"wc -c | tr -d ' '", strings.Repeat("x", 300000), 0, "300000\n"}, {"pwd", "", 0, "/\n"},
	} {
		var stdout, stderr bytes.Buffer
		child, stdin := wrapped(t, shell, Command{
			Argv: []string{"sh", "-c", c.script, "sh", odd}, Stdin: runtime.PlainText(c.input), Dir: "/",
			Env: map[string]runtime.Text{"A": runtime.PlainText(odd)}, Stdout: &stdout, Stderr: &stderr,
		}, time.Second)
		err := child.Wait()
		stdin.Close()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if child.ProcessState.ExitCode() != c.code || stdout.String() != c.stdout || stderr.Len() > 0 {
			t.Errorf("%s: got %v, %q, %q", c.script, child.ProcessState, &stdout, &stderr)
		}
	}
}

// An endless script, and how long its end takes at least.
type endless struct {
	script string
	least  time.Duration
}

var endlessGroups = []endless{
	{"sleep 300 & echo up; wait", 0},
	{"trap 'exit 77' TERM; sleep 300 & echo up; wait", 0},
	{"trap '' TERM; echo up; sleep 300; sleep 300; sleep 300", 300 * time.Millisecond},
}

func wrapperEnds(t *testing.T, shell []string, scripts []endless) {
	for _, c := range scripts {
		id, out := marker(), newSignalled()
		child, stdin := wrapped(t, shell, Command{Argv: []string{"sh", "-c", c.script, id}, Stdin: runtime.PlainText("unread"),
			Stdout: out, Stderr: io.Discard}, 300*time.Millisecond)
		<-out.came
		if len(processes(id)) == 0 {
			t.Error("the marker is not seen while the command runs")
		}
		began := time.Now()
		must(t, stdin.Close())
		_ = child.Wait()
		if strings.Contains(c.script, "exit 77") && child.ProcessState.ExitCode() != 77 {
			t.Errorf("%s: got %v", c.script, child.ProcessState)
		}
		if took := time.Since(began); took < c.least || took > hang {
			t.Errorf("%s: took %s", c.script, took)
		}
		if found := processes(id); len(found) > 0 {
			t.Errorf("%s: left behind: %q", c.script, found)
		}
	}
}

// Without setsid there is perl; without both the command itself is ended.
func TestWrapperWithoutSetsid(t *testing.T) {
	path := os.Getenv("PATH")
	for tools, scripts := range map[string][]endless{
		"sh mktemp rm head wc cat sleep perl": endlessGroups,
		"sh mktemp rm head wc cat sleep": {
			{"echo up; while :; do sleep .1; done", 0},
			{"trap '' TERM; echo up; while :; do sleep .1; done", 300 * time.Millisecond},
		},
	} {
		bin := t.TempDir()
		t.Setenv("PATH", path)
		for _, tool := range strings.Fields(tools) {
			path, err := exec.LookPath(tool)
			must(t, err)
			must(t, os.Symlink(path, filepath.Join(bin, tool)))
		}
		t.Setenv("PATH", bin)
		wrapperEnds(t, []string{"/bin/sh"}, scripts)
		var out bytes.Buffer
		child, stdin := wrapped(t, []string{"/bin/sh"}, Command{Argv: []string{"sh", "-c", "ps=$(cat /proc/$$/stat); echo \"$$ $ps\"; exit 9"},
			Stdout: &out, Stderr: io.Discard}, time.Second)
		_ = child.Wait()
		stdin.Close()
		if child.ProcessState.ExitCode() != 9 {
			t.Errorf("%s: %v", tools, child.ProcessState)
		}
		fields := strings.Fields(out.String())
		if leads := fields[0] == fields[5]; leads != strings.HasSuffix(tools, "perl") {
			t.Errorf("%s: process %s is of group %s", tools, fields[0], fields[5])
		}
	}
}

// The command line must be one word for whatever shell a login has.
func TestWrapperIsOneWord(t *testing.T) {
	for _, script := range []string{wrapper, putScript, shellRuns} {
		line := oneWord(script, true)
		text, found := strings.CutPrefix(line, "exec sudo -n /bin/sh -c '")
		text, ended := strings.CutSuffix(text, "'")
		if !found || !ended || strings.ContainsAny(text, "'\n") || strings.Contains(text, `\\`) {
			t.Errorf("%q", line)
		}
	}
	for _, login := range []string{"fish", "tcsh", "zsh", "mksh", "bash", "dash"} {
		path, err := exec.LookPath(login)
		must(t, err)
		echo := Command{Argv: []string{"echo", "it's \\ \"here\""}}
		words, err := prelude(echo)
		must(t, err)
		input := wrapperInput(echo, words, time.Second)
		child := exec.Command(path, "-c", oneWord(wrapper, false))
		stdin, err := child.StdinPipe()
		must(t, err)
		go io.Copy(stdin, input)
		out, err := child.Output()
		if string(out) != "it's \\ \"here\"\n" {
			t.Errorf("%s: got %q, %v", login, out, err)
		}
	}
}

func TestInputThatIsCutOff(t *testing.T) {
	var stderr bytes.Buffer
	text := oneWord(wrapper, false)
	child := exec.Command("sh", "-c", text)
	child.Stdin = strings.NewReader("100 10\nset -- echo ran\nonly this")
	child.Stderr = &stderr
	out, err := child.Output()
	if err == nil || len(out) > 0 || !strings.Contains(stderr.String(), "could not be stored") {
		t.Errorf("got %q, %v, %q", out, err, &stderr)
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a b", "'", "\n", "a\nb\n", `\`, "$x", "`", "\x81\xff", "'\n'", "!", "-n", "\r", "\x01\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsRune(s, 0) {
			return
		}
		line := script("set -- " + quote(s) + " " + quote(s+"x"))
		if strings.Contains(line, "\n") {
			t.Fatalf("%q is more than a line", line)
		}
		for name, shell := range shells(t) {
			child := exec.Command(shell[0], append(shell[1:], "-c", `IFS= read -r c; eval "$c"; printf "%s|%s|" "$@"`)...)
			child.Stdin = strings.NewReader(line + "\n")
			out, err := child.Output()
			if want := s + "|" + s + "x|"; err != nil || string(out) != want {
				t.Errorf("%s: got %q, %v; want %q", name, out, err, want)
			}
		}
	})
}

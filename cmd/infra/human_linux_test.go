package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A sitting is infra at a terminal of its own, with a person before it.
type sitting struct {
	*testing.T
	cmd    *exec.Cmd
	screen *os.File // and keyboard
	shown  strings.Builder
}

// sit runs the program at a terminal.
func sit(t *testing.T, root string, args ...string) *sitting {
	t.Helper()
	master, slave := openPTY(t)
	t.Cleanup(func() { master.Close() })
	cmd := exec.Command("infra", args...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "TERM=xterm", "NO_COLOR=1", "GIT_CONFIG_GLOBAL="+filepath.Join(root, "gitconfig"), "GIT_CONFIG_NOSYSTEM=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	err := cmd.Start()
	slave.Close()
	if err != nil {
		t.Fatal(err)
	}
	return &sitting{T: t, cmd: cmd, screen: master}
}

// see reads what is shown up to a text.
func (s *sitting) see(text string) {
	s.Helper()
	for buf := make([]byte, 4096); !strings.Contains(s.shown.String(), text); {
		n, err := s.screen.Read(buf)
		s.shown.Write(buf[:n])
		if err != nil {
			s.Fatalf("it never showed %q: %v\n%s", text, err, s.shown.String())
		}
	}
}

// answer types a line, and returns how the program ends then.
func (s *sitting) answer(line string) ran {
	s.Helper()
	if _, err := io.WriteString(s.screen, line); err != nil {
		s.Fatal(err)
	}
	_, _ = io.Copy(&s.shown, s.screen) // it ends with an error when the last user of the terminal has gone
	_ = s.cmd.Wait()                   // its exit code is what is asked for
	return ran{code: s.cmd.ProcessState.ExitCode(), stderr: strings.ReplaceAll(s.shown.String(), "\r\n", "\n")}
}

// TestAPersonAtTheTerminal is shown the whole text, and asked whatever --yes says. One
// who was not answered when infra was killed is asked again; and the question of infra
// decide is theirs too.
func TestAPersonAtTheTerminal(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for name, text := range map[string]string{
		"infra.toml": "", "gitconfig": "[user]\n\tname = Ann\n",
		"swap.star": `
unplug = step(human = "Unplug the old disk.\nIt has a \033[31mred\033[0m sticker.", name = "unplug")
swap = plan(steps = [unplug], checks = [check(lambda: False, name = "printer", required = False)])`,
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const question = "step unplug is for a person:\r\n  Unplug the old disk.\r\n  It has a red sticker.\r\nDone? [y/N] "

	killed := sit(t, root, "run", "--yes", "swap.star")
	killed.see(question)
	if err := killed.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed.answer("")

	no := sit(t, root, "resume", "--yes")
	no.see(question)
	no.answer("n\n").want(t, exitHeld, "held: a person says that it is not done: Unplug the old disk.")

	yes := sit(t, root, "resume", "--yes")
	yes.see(question)
	yes.answer("y\n").want(t, exitOK, "ok in ")

	for answer, code := range map[string]int{"n": exitHeld, "y": exitOK} {
		decide := sit(t, root, "decide", "swap", "go", "--because", "it is not ours")
		decide.see("swap: CONDITIONAL GO: printer failed at ")
		decide.see("Record go for swap, despite printer? [y/N] ")
		decide.answer(answer+"\n").want(t, code, map[string]string{"n": "held: nothing was recorded", "y": "go for swap is recorded, by Ann; "}[answer])
	}
}

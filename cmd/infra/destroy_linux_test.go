package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// atTerminal runs the program at a terminal of its own, on which a line is
// typed already. What it prints is in stderr.
func (tr *trial) atTerminal(typed string, args ...string) ran {
	tr.Helper()
	master, slave := openPTY(tr.T)
	defer master.Close()
	if _, err := io.WriteString(master, typed); err != nil {
		tr.Fatal(err)
	}
	cmd := exec.Command("infra", args...)
	cmd.Dir, cmd.Env = tr.fleet.Project(), append(append(os.Environ(), tr.fleet.Env()...), "TERM=xterm", "NO_COLOR=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	err := cmd.Start()
	slave.Close()
	if err != nil {
		tr.Fatal(err)
	}
	var shown bytes.Buffer
	_, _ = io.Copy(&shown, master) // it ends with an error when the last user of the terminal has gone
	_ = cmd.Wait()                 // its exit code is what is asked for
	return ran{code: cmd.ProcessState.ExitCode(), stderr: shown.String()}
}

// openPTY opens a terminal that is wide enough for no line to be broken.
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := conn.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 300})
	}
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// TestTheNameOfWhatIsDestroyed is typed by a person: the right one lets the run
// go on, anything else holds it, and --yes is no name.
func TestTheNameOfWhatIsDestroyed(t *testing.T) {
	t.Parallel()
	tr := newInstall(t)
	run := func(typed string, flags ...string) ran {
		return tr.atTerminal(typed, append(append([]string{"run", "--ssh-config", tr.fleet.SSHConfig()}, flags...), "plans/install.star")...)
	}
	const question = "clan.install destroys what is on cinnabar, and nothing brings it back."
	for _, tt := range []struct {
		name, typed string
		flags       []string
	}{
		{"another name", "blackphos\n", nil},
		{"a part of it", "cinna\n", nil},
		{"nothing", "\n", nil},
		{"yes", "yes\n", nil},
		{"the end of input", "\x04", nil},
		{"--yes is no name", "y\n", []string{"--yes"}},
		{"--destroy of another", "\n", []string{"--destroy", "blackphos"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr.with(t).unchanged(func() {
				run(tt.typed, tt.flags...).want(t, exitHeld, question, "Type cinnabar to go on: ", "was not confirmed")
			})
		})
	}
	r := run("cinnabar\n", "--yes")
	r.want(t, 0, question, "Type cinnabar to go on: ", "it runs /nix/store/")
	if n := strings.Count(r.stderr, "Type cinnabar"); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	if got, want := tr.exec("cinnabar", "readlink", "-f", "/run/current-system"), tr.built("nixosConfigurations.cinnabar.config.system.build.toplevel"); got != want {
		t.Errorf("cinnabar runs %s, nix built %s", got, want)
	}
}

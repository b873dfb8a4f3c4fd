package remote

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultGrace is how long a command that says nothing else has between TERM
// and KILL.
const DefaultGrace = 10 * time.Second

// outputDelay is how long a child that the command left behind may hold its
// output open before the output is cut off.
const outputDelay = 2 * time.Second

// A Child is a process on this machine that was started, without a shell, as
// the leader of a process group of its own. Exactly one of Wait and Stop is
// called; until then the group ends when infra does, however infra does.
type Child struct {
	cmd   Command
	exec  *exec.Cmd
	pid   int
	ended chan struct{}
	err   error // of the wait; set when ended is closed
	done  func()
}

// Spawn starts cmd, for those who have to do with it while it runs; others
// use [Run].
func Spawn(cmd Command) (*Child, error) {
	if err := checkCommand(cmd); err != nil {
		return nil, err
	}
	c := &Child{cmd: cmd, exec: process(cmd), ended: make(chan struct{})}
	c.cmd.Grace = cmp.Or(cmd.Grace, DefaultGrace)
	reaper() // is there before what it has to end
	if err := c.start(); err != nil {
		return nil, startError(cmd, err)
	}
	c.pid = c.exec.Process.Pid
	c.done = watched(c.pid, c.cmd.Grace)
	return c, nil
}

func process(cmd Command) *exec.Cmd {
	child := exec.Command(cmd.Argv[0], cmd.Argv[1:]...)
	child.Dir, child.Stdout, child.Stderr = cmd.Dir, cmd.Stdout, cmd.Stderr
	child.Env = environment(cmd)
	if input := cmd.Stdin.Reveal(); input != "" {
		child.Stdin = strings.NewReader(input)
	}
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if cmd.Terminal != nil {
		child.Stdin, child.Stdout, child.Stderr = cmd.Terminal, cmd.Terminal, cmd.Terminal
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	}
	// What needs long to end may take a second TERM for "at once", so it hears
	// of infra's death from the reaper only.
	if cmd.Grace == 0 {
		diesWithUs(child.SysProcAttr)
	}
	child.WaitDelay = outputDelay
	return child
}

func environment(cmd Command) []string {
	env := slices.Clone(cmd.Environ)
	if env == nil {
		env = os.Environ()
	}
	for _, name := range slices.Sorted(maps.Keys(cmd.Env)) {
		env = append(env, name+"="+cmd.Env[name].Reveal())
	}
	return env
}

// start starts the process and waits for it on one thread: on Linux a child is
// told when the thread that started it ends.
func (c *Child) start() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.exec.Start()
		started <- err
		if err != nil {
			return
		}
		c.err = c.exec.Wait()
		close(c.ended)
	}()
	return <-started
}

func startError(cmd Command, err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s is not installed (not on PATH): %w", cmd.Argv[0], exec.ErrNotFound)
	}
	if cmd.Dir != "" {
		return fmt.Errorf("starting %s in %s: %w", cmd.Argv[0], cmd.Dir, err)
	}
	return fmt.Errorf("starting %s: %w", cmd.Argv[0], err)
}

// Ended is closed when the process has ended; of its group some may be left.
func (c *Child) Ended() <-chan struct{} { return c.ended }

// Wait waits until the process has ended, and kills what is left of its group.
func (c *Child) Wait() (Exit, error) {
	defer c.done()
	<-c.ended
	signalGroup(c.pid, syscall.SIGKILL)
	var status *exec.ExitError
	if c.err == nil || errors.As(c.err, &status) || errors.Is(c.err, exec.ErrWaitDelay) {
		return c.exit(), nil
	}
	return c.exit(), fmt.Errorf("running %s: %w", c.cmd.Argv[0], c.err)
}

// Signal sends the group a signal.
func (c *Child) Signal(signal syscall.Signal) { signalGroup(c.pid, signal) }

// Stop sends the group TERM, and KILL where the grace is not enough. What the
// process leaves behind has no more than the usual grace, however long its own
// is. Stop returns when the process has ended.
func (c *Child) Stop() Exit {
	defer c.done()
	signalGroup(c.pid, syscall.SIGTERM)
	deadline := time.Now().Add(c.cmd.Grace)
	late := time.NewTimer(c.cmd.Grace)
	defer late.Stop()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for ended := c.ended; signalGroup(c.pid, 0); {
		select {
		case <-poll.C:
			continue
		case <-ended:
			late.Reset(min(time.Until(deadline), DefaultGrace))
			ended = nil
			continue
		case <-late.C:
			signalGroup(c.pid, syscall.SIGKILL)
		}
		break
	}
	<-c.ended
	return c.exit()
}

func (c *Child) exit() Exit {
	state := c.exec.ProcessState
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return Exit{Code: 128 + int(status.Signal()), Signal: strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")}
	}
	return Exit{Code: state.ExitCode()}
}

// signalGroup says whether the group was there to be signalled.
func signalGroup(pid int, signal syscall.Signal) bool { return syscall.Kill(-pid, signal) == nil }

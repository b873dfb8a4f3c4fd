package remote

import (
	"context"
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

// defaultGrace is how long a cancelled command has between TERM and KILL.
const defaultGrace = 10 * time.Second

// outputDelay is how long a child that the command left behind may hold its
// output open before the output is cut off.
const outputDelay = 2 * time.Second

// Run runs cmd on this machine, without a shell and in a process group of its
// own. What is left of the group when the command ends is killed. When ctx
// ends the group gets TERM, after 10 seconds KILL, and Run returns ctx's
// cause. When infra dies, however it does, the group gets TERM too.
func Run(ctx context.Context, cmd Command) (Exit, error) { return runLocal(ctx, cmd, defaultGrace) }

func runLocal(ctx context.Context, cmd Command, grace time.Duration) (Exit, error) {
	if err := checkCommand(cmd); err != nil {
		return Exit{}, err
	}
	if ctx.Err() != nil {
		return Exit{}, context.Cause(ctx)
	}
	child := exec.Command(cmd.Argv[0], cmd.Argv[1:]...)
	child.Dir, child.Stdout, child.Stderr = cmd.Dir, cmd.Stdout, cmd.Stderr
	child.Env = os.Environ()
	for _, name := range slices.Sorted(maps.Keys(cmd.Env)) {
		child.Env = append(child.Env, name+"="+cmd.Env[name].Reveal())
	}
	if input := cmd.Stdin.Reveal(); input != "" {
		child.Stdin = strings.NewReader(input)
	}
	child.SysProcAttr = processGroup()
	child.WaitDelay = outputDelay
	pid, ended := start(child)
	if pid == 0 {
		return Exit{}, startError(cmd, <-ended)
	}
	defer watched(pid)()
	return await(ctx, cmd, child, pid, ended, grace)
}

// start starts the child and waits for it on one thread: on Linux a child is
// told when the thread that started it ends. The pid is 0 where it could not
// be started; ended then holds why.
func start(child *exec.Cmd) (pid int, ended <-chan error) {
	pids, result := make(chan int, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := child.Start(); err != nil {
			pids <- 0
			result <- err
			return
		}
		pids <- child.Process.Pid
		result <- child.Wait()
	}()
	return <-pids, result
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

// await ends the group with ctx, or with the command.
func await(ctx context.Context, cmd Command, child *exec.Cmd, pid int, ended <-chan error, grace time.Duration) (Exit, error) {
	select {
	case err := <-ended:
		signalGroup(pid, syscall.SIGKILL)
		var status *exec.ExitError
		if err == nil || errors.As(err, &status) || errors.Is(err, exec.ErrWaitDelay) {
			return exitOf(child.ProcessState), nil
		}
		return exitOf(child.ProcessState), fmt.Errorf("running %s: %w", cmd.Argv[0], err)
	case <-ctx.Done():
		signalGroup(pid, syscall.SIGTERM)
		endGroup(pid, grace)
		<-ended
		return exitOf(child.ProcessState), context.Cause(ctx)
	}
}

// endGroup waits until the group is empty, and kills it when that takes longer
// than the grace.
func endGroup(pid int, grace time.Duration) {
	late := time.NewTimer(grace)
	defer late.Stop()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for signalGroup(pid, 0) {
		select {
		case <-poll.C:
		case <-late.C:
			signalGroup(pid, syscall.SIGKILL)
			return
		}
	}
}

// signalGroup says whether the group was there to be signalled.
func signalGroup(pid int, signal syscall.Signal) bool { return syscall.Kill(-pid, signal) == nil }

func exitOf(state *os.ProcessState) Exit {
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return Exit{Code: 128 + int(status.Signal()), Signal: strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")}
	}
	return Exit{Code: state.ExitCode()}
}

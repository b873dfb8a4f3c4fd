package clan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"infra/builtins/internal/command"
	"infra/runtime/remote"
)

const (
	looking  = 20 * time.Millisecond // between two looks at the terminal's mode
	endGrace = 10 * time.Second      // between TERM and KILL, as for every command
	lastWord = 2 * time.Second       // for output that is under way when clan has ended
	tailKept = 64 << 10              // of the output, for errors
)

// converse runs clan on a terminal of its own, passes on what it prints, and
// answers it. When ctx ends, or clan asks what it has no answer to, clan's
// process group gets TERM, and KILL after the grace. Nothing waits for ever: a
// question without an answer is an error.
func (d driver) converse(ctx context.Context, argv []string, dl *dialog) (command.Output, error) {
	if ctx.Err() != nil {
		return command.Output{}, context.Cause(ctx)
	}
	tty, err := newPTY()
	if err != nil {
		return command.Output{}, err
	}
	child := exec.Command(argv[0], argv[1:]...)
	child.Dir, child.Stdin, child.Stdout, child.Stderr = d.dir, tty.slave, tty.slave, tty.slave
	child.Env = os.Environ()
	env := environment()
	for _, name := range slices.Sorted(maps.Keys(env)) {
		child.Env = append(child.Env, name+"="+env[name].Reveal())
	}
	child.SysProcAttr = onTerminal()
	pid, ended := started(child)
	if pid == 0 {
		tty.close()
		return command.Output{}, fmt.Errorf("starting clan: %w", <-ended)
	}
	talk := &talk{dialog: dl, tty: tty, said: make(chan string, 64), typed: make(chan string, 1), tail: lastLines{limit: tailKept}}
	go talk.listen()
	go talk.typist()
	err = talk.until(ctx, ended, pid)
	close(talk.typed)
	tty.close()
	for range talk.said { // until the listener has ended
	}
	dl.pass(len(dl.line))
	return command.Output{Stdout: talk.tail.String(), Exit: exitOf(child)}, err
}

// started starts the child and waits for it on one thread: on Linux a child is
// told when the thread that started it ends. The pid is 0 where it could not
// be started; ended then holds why.
func started(child *exec.Cmd) (pid int, ended <-chan error) {
	pids, result := make(chan int, 1), make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		defer goruntime.UnlockOSThread()
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

// A talk is a dialog with a process.
type talk struct {
	*dialog
	tty   *pty
	said  chan string // closed when the terminal is hung up
	typed chan string
	tail  lastLines
}

// listen reads what the process prints.
func (t *talk) listen() {
	defer close(t.said)
	buf := make([]byte, 16<<10)
	for {
		n, err := t.tty.master.Read(buf)
		if n > 0 {
			t.said <- string(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// typist types: a process that does not read must not stop us from listening.
func (t *talk) typist() {
	for text := range t.typed {
		if _, err := io.WriteString(t.tty.master, text); err != nil {
			return // it has ended, or was ended
		}
	}
}

// until goes on until the process has ended, be it by us.
func (t *talk) until(ctx context.Context, ended <-chan error, pid int) error {
	look := time.NewTicker(looking)
	defer look.Stop()
	heard := time.Now()
	said := t.said
	for {
		select {
		case out, ok := <-said:
			if !ok {
				said = nil
				continue
			}
			t.hear(out)
			heard = time.Now()
		case <-look.C:
			typed, err := t.turn(t.tty.mode(), time.Since(heard))
			if err == nil && typed != "" {
				select {
				case t.typed <- typed:
				default:
					err = errors.New("clan asks on, and does not read what it is answered")
				}
				heard = time.Now()
			}
			if err != nil {
				t.end(ended, pid)
				return err
			}
		case <-ended:
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			t.drain(said)
			return nil
		case <-ctx.Done():
			t.end(ended, pid)
			return context.Cause(ctx)
		}
	}
}

func (t *talk) hear(out string) {
	t.heard(out)
	_, _ = io.WriteString(&t.tail, strings.ReplaceAll(out, "\r", "")) // it never fails
}

// end ends the process group.
func (t *talk) end(ended <-chan error, pid int) {
	_ = syscall.Kill(-pid, syscall.SIGTERM)
	late := time.NewTimer(endGrace)
	defer late.Stop()
	for said := t.said; ; {
		select {
		case <-ended:
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			return
		case out, ok := <-said:
			if !ok {
				said = nil
			}
			t.hear(out)
		case <-late.C:
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
	}
}

// drain hears the rest of what was printed.
func (t *talk) drain(said <-chan string) {
	late := time.NewTimer(lastWord)
	defer late.Stop()
	for said != nil {
		quiet := time.NewTimer(looking)
		select {
		case out, ok := <-said:
			quiet.Stop()
			if !ok {
				return
			}
			t.hear(out)
		case <-quiet.C:
			return
		case <-late.C:
			return
		}
	}
}

func exitOf(child *exec.Cmd) remote.Exit {
	status, ok := child.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return remote.Exit{Code: 128 + int(status.Signal()), Signal: strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")}
	}
	return remote.Exit{Code: child.ProcessState.ExitCode()}
}

package terraform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process is one command of terraform at work.
//
// It is not run by remote.Run, which signals the whole process group. Providers
// are in terraform's group and ignore INT, as a terminal sends it, but die of
// TERM: what they were making would exist, and no state would hold it. So only
// terraform itself is told, once, and whatever it still has to do it does.
type process struct {
	argv    []string
	dir     string
	env     []string
	scratch *scratch // has its output; removed too when infra dies

	// grace is how long it may take to end once it was told to. 0 is for as long
	// as it takes.
	grace   time.Duration
	started func(pid int)                  // may be nil
	slow    func(pid int, d time.Duration) // called now and then while it takes its time to end; may be nil
}

// watcherScript runs beside terraform. It reads terraform's process id, then a
// line when all is over or in hand. Its input ends when infra does, however
// that happens: then it tells terraform to end, once, and removes what infra
// can no longer remove. Opening the pipe of the variables frees a terraform
// that waits for somebody to write into it.
const watcherScript = `if read -r pid; then
	read -r over && exit
	kill -TERM "$pid" 2>/dev/null
	if [ -p "$2" ]; then : <>"$2"; fi
fi
rm -rf -- "$1"`

// slowAfter is how long terraform may take to end before that is said.
const slowAfter = 15 * time.Second

// errNotStarted is in the error of a process that never was.
var errNotStarted = errors.New("it did not start")

// run runs the process until it ends. Where it ran at all, the error is nil,
// whatever came of it.
func (p process) run(ctx context.Context) (*os.ProcessState, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", errNotStarted, context.Cause(ctx))
	}
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Dir, cmd.Env = p.dir, p.env
	cmd.Stdout, cmd.Stderr = p.scratch.stdout, p.scratch.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C on the terminal is infra's to pass on
	watcher := startWatcher(p.scratch)
	defer watcher.Close()
	if err := cmd.Start(); err != nil {
		fmt.Fprint(watcher, "0\nover\n")
		return nil, fmt.Errorf("%w: %w", errNotStarted, err)
	}
	fmt.Fprintln(watcher, cmd.Process.Pid)
	if p.started != nil {
		p.started(cmd.Process.Pid)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // only its state counts: its output are files
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		fmt.Fprintln(watcher, "over") // or it would be told a second time if we died
		_ = cmd.Process.Signal(os.Interrupt)
		p.awaitEnd(cmd.Process, ended)
	}
	fmt.Fprintln(watcher, "over")
	if signalOf(cmd.ProcessState) != "" {
		// Its providers would wait for a word from it for ever.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	return cmd.ProcessState, nil
}

// awaitEnd waits for a process that was told to end.
func (p process) awaitEnd(child *os.Process, ended <-chan struct{}) {
	told := time.Now()
	var late <-chan time.Time
	if p.grace > 0 {
		late = time.After(p.grace)
	}
	slow := time.NewTicker(slowAfter)
	defer slow.Stop()
	for {
		select {
		case <-ended:
			return
		case <-late:
			_ = syscall.Kill(-child.Pid, syscall.SIGKILL)
			late = nil
		case <-slow.C:
			if p.slow != nil {
				p.slow(child.Pid, time.Since(told))
			}
		}
	}
}

// startWatcher returns what the watcher reads. One that cannot be started is
// done without.
func startWatcher(s *scratch) io.WriteCloser {
	sh := exec.Command("/bin/sh", "-c", watcherScript, "sh", s.dir, s.varsPath())
	sh.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := sh.StdinPipe()
	if err != nil {
		return nothing{}
	}
	if sh.Start() != nil {
		return nothing{}
	}
	go func() { _ = sh.Wait() }()
	return in
}

type nothing struct{}

func (nothing) Write(p []byte) (int, error) { return len(p), nil }
func (nothing) Close() error                { return nil }

// howEnded says how a process that failed ended: "it was ended by KILL", or
// "exit code 1".
func howEnded(state *os.ProcessState) string {
	if name := signalOf(state); name != "" {
		return "it was ended by " + name
	}
	return "exit code " + strconv.Itoa(state.ExitCode())
}

// signalOf is "KILL" where a signal ended the process, else "".
func signalOf(state *os.ProcessState) string {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return ""
	}
	return strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")
}

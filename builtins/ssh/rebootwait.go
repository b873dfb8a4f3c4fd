package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

// rebootScript asks for a reboot if the host is in the boot $1 still. So it may be
// asked as often as one likes, also while the host goes down. A systemd that goes
// down already says so, and that is no failure.
const rebootScript = `
PATH=$PATH:/run/current-system/sw/bin:/usr/sbin:/sbin
[ "$(` + remote.BootScript + `)" = "$1" ] || exit 0
if [ -d /run/systemd/system ]; then
  said=$(systemctl reboot 2>&1) && exit 0
  case $said in *"in progress"*) exit 0;; esac
  printf '%s\n' "$said" >&2
  exit 1
fi
if command -v shutdown >/dev/null; then exec shutdown -r now; fi
exec reboot
`

// How long a try may take until the host counts as silent, and the pauses between
// two. Logins that are refused are rarer: who tries them often gets banned.
const (
	rebootTry      = 5 * time.Second
	rebootPause    = 500 * time.Millisecond
	refusalPause   = 2 * time.Second
	longestRefusal = 30 * time.Second
)

// ask asks for the reboot. Without an error the host has said that it reboots. An
// error that will not pass by itself is a [rebootRefused].
func (r *rebooting) ask(ctx context.Context, log io.Writer) error {
	cmd := remote.Command{Argv: []string{"sh", "-c", rebootScript, "sh", r.before}, Sudo: true}
	var out command.Output
	err := within(ctx, func(ctx context.Context) (err error) {
		out, err = command.Run(ctx, command.On(r.pool, r.Host), cmd, log)
		return err
	})
	switch {
	case err != nil && !passes(err):
		return rebootRefused{err}
	case err != nil:
		return err
	case out.Exit.Signal != "": // the host's own, which ends all processes
		return out.Err("asking for the reboot")
	}
	if err := out.Err("asking for the reboot"); err != nil {
		return rebootRefused{err}
	}
	fmt.Fprintf(log, "%s was asked to reboot\n", r.Host.Name)
	runtime.Progress(ctx, runtime.Part{Name: r.Host.Name, Does: "was asked to reboot"})
	return nil
}

// tell says why the host is waited for still.
func (r *rebooting) tell(ctx context.Context, log io.Writer, why error) {
	fmt.Fprintf(log, "%s: %v\n", r.Host.Name, why)
	does := "does not answer"
	if why == errStays {
		does = "goes down"
	}
	runtime.Progress(ctx, runtime.Part{Name: r.Host.Name, Does: does, Detail: why.Error()})
}

// rebootRefused is why no reboot was begun.
type rebootRefused struct{ error }

func (e rebootRefused) Unwrap() error { return e.error }

// errSilent is a host that has not answered a try.
var errSilent = fmt.Errorf("it has not answered for %s", rebootTry)

// passes says whether another try may succeed, since the host was not reached or
// went away.
func passes(err error) bool {
	return errors.Is(err, errSilent) || errors.Is(err, remote.ErrUnreachable) || errors.Is(err, runtime.ErrUntold)
}

// within ends a try that the host does not answer.
func within(ctx context.Context, try func(context.Context) error) error {
	err := command.Within(ctx, rebootTry, try)
	if errors.Is(err, command.ErrTimeout) {
		return errSilent
	}
	return err
}

// carryOut asks for the reboot and waits for another boot. Where it is not known
// whether the host has heard, it is asked again.
func (r *rebooting) carryOut(ctx context.Context, log io.Writer) error {
	asking := r.ask(ctx, log)
	switch {
	case asking == nil:
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(asking, new(rebootRefused)) && !r.sought:
		return asking
	default:
		r.tell(ctx, log, asking)
	}
	boot, err := r.await(ctx, log, func(ctx context.Context, boot string) error {
		if boot != r.before {
			return nil
		}
		if asking != nil {
			asking = r.ask(ctx, log)
		}
		if asking != nil {
			return fmt.Errorf("it was not heard, or refuses: %w", asking)
		}
		return errStays
	})
	if err == nil {
		fmt.Fprintf(log, "%s is back, in boot %s\n", r.Host.Name, boot)
	}
	return err
}

// errStays is a host that was asked, and has not gone down.
var errStays = errors.New("it is in the boot of before still")

// await asks the host for its boot until that is one to go on from. It says each
// reason why not that differs from the last.
func (r *rebooting) await(ctx context.Context, log io.Writer, judge func(ctx context.Context, boot string) error) (string, error) {
	late, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	last, refusals := errSilent, refusalPause
	for {
		boot, why := r.look(late)
		if why == nil {
			why = judge(late, boot)
		}
		if why == nil {
			return boot, nil
		}
		if late.Err() == nil && why.Error() != last.Error() { // else it is only that the time is over
			r.tell(ctx, log, why)
			last = why
		}
		pause := rebootPause
		if why != errStays && !passes(why) {
			pause, refusals = refusals, min(2*refusals, longestRefusal)
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-late.Done():
			if ctx.Err() != nil {
				return "", context.Cause(ctx)
			}
			return "", r.tooLate(last)
		case <-time.After(pause):
		}
	}
}

// look asks the host for its boot. A connection that does not answer is given up,
// and with it the lock that it holds: the host may have gone down without a word.
func (r *rebooting) look(ctx context.Context) (boot string, err error) {
	err = within(ctx, func(ctx context.Context) (err error) {
		boot, err = r.pool.BootID(ctx, r.Host)
		return err
	})
	if err == nil && boot == "" {
		err = errors.New("it does not tell its boot")
	}
	if err != nil {
		_ = r.pool.Drop(ctx, r.Host) // the next try says why it cannot be reached
	}
	return boot, err
}

// lateError is that the host has not come back in time: the run has no end of the
// operation, and a process that resumes it looks for the host again.
type lateError struct{ error }

func (e lateError) Unwrap() error        { return e.error }
func (e lateError) Is(target error) bool { return target == runtime.ErrUntold }

func (r *rebooting) tooLate(last error) error {
	if last == errStays {
		return runtime.WithHint(lateError{fmt.Errorf("it was asked to reboot, and after %s it has not gone down: %w", r.Timeout, last)},
			"systemctl list-jobs on %s tells what holds it up; infra resume asks again and goes on", r.Host.Name)
	}
	return runtime.WithHint(lateError{fmt.Errorf("it has not come back within %s; at last: %w", r.Timeout, last)},
		"look at its console, and where it was off switch it on; infra resume then goes on, and reboots it only where it is in the boot of before still")
}

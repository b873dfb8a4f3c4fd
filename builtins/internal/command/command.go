// Package command is what ssh.run, local.run and the modules built on tools
// have in common: how a command's output is kept and passed on, how its failure
// reads, and the one shape in which a plan's command is asked for, previewed
// and answered.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"infra/runtime"
	"infra/runtime/remote"
)

// A Runner runs a command to its end: [remote.Run] here, or a pool's Run on one host.
type Runner func(context.Context, remote.Command) (remote.Exit, error)

// On returns the runner for one host of a pool; without a host it is here.
func On(pool *remote.Pool, host *runtime.Host) Runner {
	if host == nil {
		return remote.Run
	}
	return func(ctx context.Context, cmd remote.Command) (remote.Exit, error) {
		return pool.Run(ctx, host, cmd)
	}
}

// Output is how a command ended and what it printed.
type Output struct {
	Stdout string
	Stderr string // the end of it, where it is long
	Exit   remote.Exit
}

// Run carries out cmd. All that it prints is passed on to log line by line.
// More than [Limit] of output is an error; the command has then run.
func Run(ctx context.Context, run Runner, cmd remote.Command, log io.Writer) (Output, error) {
	return record(ctx, run, cmd, log, log)
}

// Query carries out a command whose standard output is data: only what it
// prints on standard error is passed on to log.
func Query(ctx context.Context, run Runner, cmd remote.Command, log io.Writer) (Output, error) {
	return record(ctx, run, cmd, io.Discard, log)
}

func record(ctx context.Context, run Runner, cmd remote.Command, outLog, errLog io.Writer) (Output, error) {
	shared := &lockedLog{w: errLog}
	out, outLines := &head{}, &stream{log: shared}
	diag, errLines := &tail{}, &stream{log: shared}
	cmd.Stdout, cmd.Stderr = out, io.MultiWriter(diag, errLines)
	if outLog != io.Discard {
		cmd.Stdout = io.MultiWriter(out, outLines)
	}
	exit, err := run(ctx, cmd)
	outLines.flush()
	errLines.flush()
	o := Output{Stdout: out.kept.String(), Stderr: diag.String(), Exit: exit}
	if err == nil && out.dropped > 0 && runtime.EarlyOf(ctx) == nil { // who does not use it does not miss it
		err = tooLong(o, out.dropped)
	}
	return o, err
}

func tooLong(o Output, dropped int64) error {
	return runtime.WithHint(
		fmt.Errorf("the command ended with code %d but printed %d bytes, more than the %d MiB that are kept",
			o.Exit.Code, Limit+dropped, Limit>>20),
		"redirect its output to a file, and fetch what you need of it")
}

// Err is nil where the command succeeded. Otherwise it says what failed, how,
// and the last lines that the tool said.
func (o Output) Err(what string) error {
	if o.Exit.Code == 0 {
		return nil
	}
	how := fmt.Sprintf("failed with exit code %d", o.Exit.Code)
	if o.Exit.Signal != "" {
		how = "was ended by signal " + o.Exit.Signal
	}
	said := LastLines(o.Stderr, 10)
	if said == "" {
		said = LastLines(o.Stdout, 10)
	}
	if said == "" {
		return fmt.Errorf("%s %s and said nothing", what, how)
	}
	return fmt.Errorf("%s %s:\n%s", what, how, said)
}

// ErrTimeout marks the error of what [Within] ended.
var ErrTimeout = errors.New("ended after its timeout")

// Within runs fn with a deadline of its own; no timeout means none. What is
// ended by that deadline, and not by the run's end, says so.
func Within(ctx context.Context, timeout time.Duration, fn func(context.Context) error) error {
	if timeout == 0 {
		return fn(ctx)
	}
	inner, cancel := context.WithTimeoutCause(ctx, timeout, ErrTimeout)
	defer cancel()
	err := fn(inner)
	if err == nil || context.Cause(inner) != ErrTimeout {
		return err
	}
	over := fmt.Errorf("%w of %s", ErrTimeout, short(timeout))
	if errors.Is(err, runtime.ErrUntold) { // the host has not said that it did
		return fmt.Errorf("%w: %w", over, err)
	}
	return over
}

// short prints a duration as a plan author writes it: 2m, not 2m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

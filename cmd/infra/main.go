// Command infra runs infrastructure plans written in Starlark: it carries them
// out, previews them, and keeps the record of what was done.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"infra/runtime"
	"infra/runtime/clock"
)

func main() {
	collectLate()
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// The exit codes, as the help text lists them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitPending     = 3
	exitHeld        = 4
	exitLocked      = 5
	exitInterrupted = 130
)

// An exit ends the program with a code. Its error, if any, is shown first.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e exit) Unwrap() error { return e.err }

// run is the program, with its exit code as the result.
func run(args []string, stdin io.Reader, stdout, stderr *os.File) int {
	return runAt(clock.Now, args, stdin, stdout, stderr)
}

// runAt is run by another clock than the machine's.
func runAt(now func() clock.Instant, args []string, stdin io.Reader, stdout, stderr *os.File) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, getenv: os.Getenv, clock: now}
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return exitOK
	}
	return a.report(err)
}

// report shows an error and returns the exit code that it stands for.
func (a *app) report(err error) int {
	color := wantsColor(a.stderr, a.getenv)
	var problems runtime.Problems
	var end exit
	switch {
	case errors.As(err, &problems):
		printProblems(a.words(), problems, color)
	case errors.As(err, &end) && end.err == nil: // a reader has shown why
	default:
		printFailure(a.words(), "", err, nil, color)
	}
	return exitCodeOf(err)
}

// exitCodeOf is the exit code that an error stands for.
func exitCodeOf(err error) int {
	var problems runtime.Problems
	var end exit
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &problems):
		return exitUsage
	case errors.As(err, &end):
		return end.code
	case errors.Is(err, runtime.ErrLocked):
		return exitLocked
	case errors.Is(err, runtime.ErrInterrupted):
		return exitInterrupted
	}
	return exitFailed
}

package command

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
	"infra/runtime/remote"
)

// ResultFields documents the command_result that every request answers with.
var ResultFields = []call.Field{
	{Name: "stdout", Type: "string", Doc: "what it printed, up to 8 MiB; .json() and .lines() read it"},
	{Name: "stderr", Type: "string", Doc: "what it said; the end of it where it is long"},
	{Name: "code", Type: "int", Doc: "its exit code; 128 + n where signal n ended it"},
	{Name: "changed", Type: "bool", Doc: "False for reads = True"},
}

// A Request is a command that a plan asks for.
type Request struct {
	Argv       call.Argv
	Stdin      runtime.Text
	Env        map[string]runtime.Text
	Dir        string
	Sudo       bool
	Reads      bool // it only observes
	Check      bool // a failure of the command is one of the step
	Timeout    time.Duration
	Repeatable bool          // carrying it out again does no harm
	Assume     *runtime.Text // its stdout, for a preview that does not have it; nil: not assumed
	Units      *Units        // where it runs, and may go on without us; nil: it ends with us
}

// Ask makes the request an operation on a host, "" for here, carries it out by
// run, and returns the command_result.
func (r Request) Ask(c *call.Call, host string, run Runner) (starlark.Value, error) {
	if err := r.valid(); err != nil {
		return nil, err
	}
	op := runtime.Op{Host: host, Show: r.show(), Repeatable: r.Repeatable,
		NotKnown: func() starlark.Value { return r.foreseen(c.Unknown()) },
		Run: func(ctx context.Context, log io.Writer) (runtime.Result, error) {
			return r.carryOut(ctx, run, log)
		}}
	if _, ok := r.assumed(); ok {
		op.Assumes = "stdout is assumed"
	}
	if r.Reads {
		op.Alters = runtime.Nothing
		res, err := c.Read(op)
		return res.Value, err
	}
	op.Looks = runtime.Nothing // a preview asks the host nothing about it
	op.Predict = func(context.Context) (runtime.Prediction, error) { return r.predict(c.Unknown()), nil }
	if r.Units != nil {
		op.Settle = func(ctx context.Context, log io.Writer) (runtime.Fate, runtime.Result, error) {
			return r.settle(ctx, c.Unknown(), log)
		}
		op.Forget = func(ctx context.Context) { r.Units.forget(ctx, r.Sudo) }
	}
	if r.Units != nil && r.Check && r.Timeout == 0 { // a timeout does not count what comes before
		return c.Ahead(op)
	}
	return c.Value(op)
}

// valid refuses what would not be started, so that no preview foresees it.
func (r Request) valid() error {
	for name := range r.Env {
		if !remote.VariableName(name) {
			return fmt.Errorf("env: %q cannot be a variable's name", name)
		}
	}
	if r.Assume != nil && r.Assume.Secret() {
		return runtime.WithHint(fmt.Errorf("assume: want a string, got %s", r.Assume),
			"a command's stdout is plain text, and so is what it is assumed to be")
	}
	return remote.Command{Argv: r.Argv.Words(), Env: r.Env, Dir: r.Dir}.Check()
}

func (r Request) show() string {
	if r.Sudo {
		return "sudo " + r.Argv.String()
	}
	return r.Argv.String()
}

func (r Request) predict(unknown runtime.Unknown) runtime.Prediction {
	return runtime.Prediction{Verdict: runtime.WillChange, Value: r.foreseen(unknown), Detail: r.detail()}
}

// foreseen is the result as far as it is certain, or assumed, without the
// command having run: whether it counts as a change, and where a failure would
// end the step, that it did not fail.
func (r Request) foreseen(unknown runtime.Unknown) *runtime.Record {
	var stdout, code starlark.Value = unknown.As(runtime.StringShape), unknown.As(runtime.IntShape)
	if text, ok := r.assumed(); ok {
		stdout = text
	}
	if r.Check {
		code = starlark.MakeInt(0)
	}
	return runtime.CommandResult(stdout, unknown.As(runtime.StringShape), code, starlark.Bool(!r.Reads))
}

// assumed is what stdout is assumed to be. An assumption that is itself not
// known yet comes as the name of what will know it, and is none.
func (r Request) assumed() (starlark.String, bool) {
	if r.Assume == nil || strings.HasPrefix(r.Assume.Reveal(), "(known after ") {
		return "", false
	}
	return starlark.String(r.Assume.Reveal()), true
}

// detail is what the shown command does not say: what else it is given.
func (r Request) detail() string {
	var lines []string
	if r.Stdin.Secret() {
		lines = append(lines, "stdin: "+r.Stdin.String())
	} else if n := len(r.Stdin.Reveal()); n > 0 {
		lines = append(lines, fmt.Sprintf("stdin: %d bytes", n))
	}
	if len(r.Env) > 0 {
		lines = append(lines, "environment: "+strings.Join(slices.Sorted(maps.Keys(r.Env)), ", "))
	}
	if r.Dir != "" {
		lines = append(lines, "directory: "+r.Dir)
	}
	if r.Timeout != 0 {
		lines = append(lines, "timeout: "+short(r.Timeout))
	}
	return strings.Join(lines, "\n")
}

func (r Request) carryOut(ctx context.Context, run Runner, log io.Writer) (runtime.Result, error) {
	cmd := remote.Command{Argv: r.Argv.Words(), Env: r.Env, Stdin: r.Stdin, Dir: r.Dir, Sudo: r.Sudo, Reads: r.Reads}
	if r.Units != nil && !r.Reads {
		cmd.Unit = runtime.OpID(ctx)
	}
	var out Output
	err := Within(ctx, r.Timeout, func(ctx context.Context) (err error) {
		out, err = Run(ctx, run, cmd, log)
		return err
	})
	if err != nil {
		return runtime.Result{}, err
	}
	return r.result(out, starlark.String(out.Stdout), starlark.String(out.Stderr))
}

// result is what the plan gets of a command that ended.
func (r Request) result(out Output, stdout, stderr starlark.Value) (runtime.Result, error) {
	if err := out.Err("the command"); err != nil && r.Check {
		return runtime.Result{}, runtime.WithHint(err, "check = False returns the result instead of failing the step")
	}
	changed := !r.Reads
	return runtime.Result{Changed: changed, Value: runtime.CommandResult(stdout, stderr,
		starlark.MakeInt(out.Exit.Code), starlark.Bool(changed))}, nil
}

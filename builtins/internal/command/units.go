package command

import (
	"context"
	"fmt"
	"io"

	"go.starlark.net/starlark"

	"infra/runtime"
	"infra/runtime/remote"
)

// Units are the commands of a host that go on without us, each under the name
// of its operation.
type Units struct {
	Pool *remote.Pool
	Host *runtime.Host
}

// settle finds out what became of the command in an earlier process.
func (r Request) settle(ctx context.Context, unknown runtime.Unknown, log io.Writer) (runtime.Fate, runtime.Result, error) {
	var settled remote.Settled
	find := func(ctx context.Context, cmd remote.Command) (exit remote.Exit, err error) {
		settled, err = r.Units.Pool.Settle(ctx, r.Units.Host, cmd)
		return settled.Exit, err
	}
	var out Output
	err := Within(ctx, r.Timeout, func(ctx context.Context) (err error) {
		out, err = Run(ctx, find, remote.Command{Unit: runtime.OpID(ctx), Sudo: r.Sudo}, log)
		return err
	})
	switch {
	case settled.Fate != runtime.Done && settled.Why != "":
		fmt.Fprintln(log, settled.Why) // whoever is asked then wants to know
		return runtime.Untold, runtime.Result{}, nil
	case settled.Fate != runtime.Done:
		return settled.Fate, runtime.Result{}, err
	case err != nil: // it was ended, or printed too much
		return runtime.Done, runtime.Result{}, err
	}
	var stdout, stderr starlark.Value = starlark.String(out.Stdout), starlark.String(out.Stderr)
	if settled.Mute {
		out.Stderr = "what the command printed was lost when its host went down"
		fmt.Fprintln(log, out.Stderr)
		stdout, stderr = unknown.As(runtime.StringShape), unknown.As(runtime.StringShape)
	}
	res, err := r.result(out, stdout, stderr)
	return runtime.Done, res, err
}

// forget takes away what only settle needs. What is left when that fails does no
// harm, and goes with a later command.
func (u *Units) forget(ctx context.Context, sudo bool) {
	_ = u.Pool.Forget(ctx, u.Host, remote.Command{Unit: runtime.OpID(ctx), Sudo: sudo})
}

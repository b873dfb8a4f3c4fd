package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

var reachableSpec = call.Spec{
	Name:   "ssh.reachable",
	Effect: runtime.Read,
	Doc: "Says whether a host can be reached and lets the login in. A host that answers with another key than the known " +
		"one, or refuses the login, is an error: it is there, and waiting does not help.",
	Returns: "bool",
	Example: `if not ssh.reachable(mac, timeout = "3s"):
    log("the Mac sleeps")
`,
}

type reachableArgs struct {
	Host    *runtime.Host `arg:"host" doc:"whom to reach"`
	Timeout time.Duration `arg:"timeout,keyword" default:"10s" doc:"how long it may take"`
}

func (m module) reachable(c *call.Call, a reachableArgs) (starlark.Value, error) {
	return c.Value(runtime.Op{Host: a.Host.Name, Show: "reach " + a.Host.Name, Alters: runtime.Nothing, Run: func(ctx context.Context, _ io.Writer) (runtime.Result, error) {
		why, err := m.reach(ctx, a.Host, a.Timeout)
		return runtime.Result{Value: starlark.Bool(why == nil)}, err
	}})
}

// reach tries once. Why is the reason for which the host is not reachable now;
// err is what will not pass by itself.
func (m module) reach(ctx context.Context, h *runtime.Host, timeout time.Duration) (why, err error) {
	failure := command.Within(ctx, timeout, func(ctx context.Context) error { return m.pool.Reach(ctx, h) })
	switch {
	case failure == nil:
		return nil, nil
	case ctx.Err() != nil:
		return failure, context.Cause(ctx)
	case errors.Is(failure, command.ErrTimeout), errors.Is(failure, remote.ErrUnreachable), errors.Is(failure, runtime.ErrUntold):
		return failure, nil
	}
	return failure, failure
}

var waitSpec = call.Spec{
	Name:   "ssh.wait",
	Effect: runtime.Read,
	Doc:    "Waits until a host can be reached, and fails when that takes longer than the timeout.",
	Example: `ssh.run(vps, ["true"])
ssh.wait(vps, timeout = "30s")
`,
}

type waitArgs struct {
	Host    *runtime.Host `arg:"host" doc:"whom to wait for"`
	Timeout time.Duration `arg:"timeout,keyword" default:"5m" doc:"how long to wait"`
	Every   time.Duration `arg:"every,keyword" default:"2s" doc:"how long to pause between two tries"`
}

func (m module) wait(c *call.Call, a waitArgs) (starlark.Value, error) {
	return c.Value(runtime.Op{Host: a.Host.Name, Show: "wait for " + a.Host.Name, Alters: runtime.Nothing, Run: func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		return runtime.Result{}, m.await(ctx, a, log)
	}})
}

// await tries until the deadline, and says each reason that differs from the last.
func (m module) await(ctx context.Context, a waitArgs, log io.Writer) error {
	began := time.Now()
	said := ""
	for {
		left := a.Timeout - time.Since(began)
		why, err := m.reach(ctx, a.Host, max(left, time.Millisecond))
		if why == nil || err != nil {
			return err
		}
		if why.Error() != said {
			said = why.Error()
			fmt.Fprintln(log, said)
		}
		if time.Since(began)+a.Every >= a.Timeout {
			return fmt.Errorf("not reachable for %s; at last: %w", a.Timeout, why)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(a.Every):
		}
	}
}

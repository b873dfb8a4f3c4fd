package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

var rebootSpec = call.Spec{
	Name:   "ssh.reboot",
	Effect: runtime.Change,
	Doc: "Reboots a host and waits until it answers in another boot, over a new connection and with its lock held again. " +
		"What a run that was killed had begun is looked for: infra resume never takes the old boot for the new one, and reboots no host twice. " +
		"A host that does not come back in time is waited for again by infra resume.",
	Returns: "reboot_result",
	Fields: []call.Field{
		{Name: "changed", Type: "bool", Doc: "True"},
		{Name: "boot_id", Type: "string", Doc: "the boot that the host is in now, as in ssh.facts"},
	},
	Example: `def restart(host):
    done = ssh.reboot(host, timeout = "5m")
    log("%s is in boot %s" % (host.name, done.boot_id))
`,
}

type rebootArgs struct {
	Host    *runtime.Host `arg:"host" doc:"which host; a login that is not root's needs sudo there"`
	Timeout time.Duration `arg:"timeout,keyword" default:"10m" doc:"how long it may take until the host answers in its new boot"`
}

// A rebooting is one host on its way to another boot.
type rebooting struct {
	module
	rebootArgs
	unknown runtime.Unknown
	before  string // the boot that it is to leave
	sought  bool   // an earlier process may have asked for the reboot
}

// reboot is three operations, the same in a preview and in every run of it:
//
//	before  records the boot; what a resumed run compares with is this record
//	reboot  asks for another boot, if it is that one still, and waits for it
//	after   takes the host's lock again, before the step goes on
func (m module) reboot(c *call.Call, a rebootArgs) (starlark.Value, error) {
	if a.Timeout <= 0 {
		return nil, fmt.Errorf("ssh.reboot: timeout: want more than %s", a.Timeout)
	}
	r := &rebooting{module: m, rebootArgs: a, unknown: c.Unknown()}
	recorded, err := c.Read(r.beforeOp())
	if err != nil {
		return nil, err
	}
	r.before, _ = starlark.AsString(recorded.Value)
	if _, err := c.Do(r.rebootOp()); err != nil {
		return nil, err
	}
	boot, err := c.Value(r.afterOp())
	if err != nil {
		return nil, err
	}
	return r.result(boot), nil
}

func (r *rebooting) result(boot starlark.Value) *runtime.Record {
	return runtime.NewRecord("reboot_result",
		runtime.Field{Name: "changed", Value: starlark.True}, runtime.Field{Name: "boot_id", Value: boot})
}

// beforeOp looks at nothing that a plan could alter otherwise than by a reboot.
func (r *rebooting) beforeOp() runtime.Op {
	return runtime.Op{Name: "ssh.reboot.before", Host: r.Host.Name, Show: "the boot that " + r.Host.Name + " is in",
		Looks: runtime.Nothing, Alters: runtime.Nothing,
		Run: func(ctx context.Context, _ io.Writer) (runtime.Result, error) {
			boot, err := r.pool.BootID(ctx, r.Host)
			if err == nil && boot == "" {
				err = runtime.WithHint(errors.New("the host has no id of its boot, so nothing would tell whether it was rebooted"),
					"it comes from /proc/sys/kernel/random/boot_id, or from sysctl kern.bootsessionuuid on a Mac")
			}
			return runtime.Result{Value: starlark.String(boot)}, err
		}}
}

// rebootOp is not repeatable: where a step is tried again, its host was rebooted
// before.
func (r *rebooting) rebootOp() runtime.Op {
	return runtime.Op{Host: r.Host.Name, EndsHost: true, Looks: runtime.Nothing,
		Show:     fmt.Sprintf("%s ends all that runs there, and is back within %s", r.Host.Name, r.Timeout),
		NotKnown: func() starlark.Value { return starlark.None },
		Predict: func(context.Context) (runtime.Prediction, error) {
			return runtime.Prediction{Verdict: runtime.WillChange, Value: starlark.None}, nil
		},
		Run: func(ctx context.Context, log io.Writer) (runtime.Result, error) {
			return runtime.Result{Value: starlark.None, Changed: true}, r.carryOut(ctx, log)
		},
		Settle: func(ctx context.Context, log io.Writer) (runtime.Fate, runtime.Result, error) {
			r.sought = true
			boot, err := r.await(ctx, log, func(context.Context, string) error { return nil })
			switch {
			case err != nil:
				return runtime.Untold, runtime.Result{}, err
			case boot == r.before:
				return runtime.NotDone, runtime.Result{}, nil // or it still goes down: to ask again does no harm
			}
			fmt.Fprintf(log, "%s was rebooted, and is in boot %s\n", r.Host.Name, boot)
			return runtime.Done, runtime.Result{Value: starlark.None, Changed: true}, nil
		}}
}

// afterOp changes nothing, and yet is none that only reads: those need no lock.
func (r *rebooting) afterOp() runtime.Op {
	return runtime.Op{Name: "ssh.reboot.after", Host: r.Host.Name, Show: r.Host.Name + " answers and is locked again", Repeatable: true,
		Looks: runtime.Nothing, Alters: runtime.Nothing,
		NotKnown: func() starlark.Value { return r.unknown.As(runtime.StringShape) },
		Predict: func(context.Context) (runtime.Prediction, error) {
			return runtime.Prediction{Verdict: runtime.NoChange, Value: r.unknown.As(runtime.StringShape)}, nil
		},
		Run: func(ctx context.Context, _ io.Writer) (runtime.Result, error) {
			boot, err := r.pool.BootID(ctx, r.Host)
			return runtime.Result{Value: starlark.String(boot)}, err
		}}
}

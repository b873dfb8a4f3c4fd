package nix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

// An outcome is how an activation ended that the switch goes on from.
type outcome struct {
	foreseen bool     // it has not happened: this is a preview
	reboot   bool     // the system can only be booted
	failed   []string // units that did not start
	current  starlark.Value
}

func (o outcome) record() *runtime.Record {
	failed := make([]starlark.Value, len(o.failed))
	for i, unit := range o.failed {
		failed[i] = starlark.String(unit)
	}
	return runtime.NewRecord("switch_outcome",
		runtime.Field{Name: "reboot_needed", Value: starlark.Bool(o.reboot)},
		runtime.Field{Name: "units_failed", Value: starlark.NewList(failed)})
}

// readOutcome is what the activation answered, now or to an earlier process.
func readOutcome(v starlark.Value, system *runtime.StorePath) outcome {
	o := outcome{current: system}
	r, ok := v.(*runtime.Record)
	if !ok {
		o.foreseen = true
		return o
	}
	for _, f := range r.Fields() {
		switch f.Name {
		case "reboot_needed":
			o.reboot = bool(f.Value.Truth())
		case "units_failed":
			for unit := range starlark.Elements(f.Value.(starlark.Iterable)) {
				text, _ := starlark.AsString(unit)
				o.failed = append(o.failed, text)
			}
		}
	}
	return o
}

// armOp arms the host's own watchdog on what was recorded.
func (s switching) armOp(b before) runtime.Op {
	g := guard{s, b}
	op := s.operation("arm", fmt.Sprintf("%s goes back by itself unless %s is confirmed within %s", s.Host.Name, s.name(), s.Within))
	op.Args["confirm_within"] = s.Within.String()
	op.Alters = g.files()
	op.UndoneBy = confirmName // which fails where the host goes back
	op.Predict = func(context.Context) (runtime.Prediction, error) {
		p := runtime.Prediction{Verdict: runtime.WillChange, Value: starlark.None}
		switch why := s.nothingBefore(b); {
		case !b.known:
		case why != "":
			p.Verdict, p.Detail = runtime.NoChange, why
		case !b.back:
			p.Verdict, p.Detail = runtime.NoChange, "it runs already"
		default:
			p.Detail = "back to " + b.path()
		}
		return p, nil
	}
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		if !b.back {
			if why := s.nothingBefore(b); why != "" {
				fmt.Fprintln(log, why)
			}
			return runtime.Result{Value: starlark.None}, nil
		}
		return runtime.Result{Changed: true, Value: starlark.None}, g.arm(ctx, log)
	}
	return op
}

// activateOp makes the system the running one, as long as the host is not booted.
// It may end every connection, and the lock with them: the host goes on.
// It notes where it is begun here, and not only what an earlier process has begun.
func (s switching) activateOp(b before, units string, begun *bool) runtime.Op {
	g := guard{s, b}
	op := s.operation("activate", s.Host.Name+" -> "+s.System.Path)
	op.Looks, op.Alters, op.EndsHost = runningFiles, nil, true
	op.Predict = func(ctx context.Context) (runtime.Prediction, error) { return s.predictActivation(ctx, units) }
	op.NotKnown = func() starlark.Value { return s.unknown }
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		*begun = true
		out, err := g.activate(ctx, log)
		return g.judged(ctx, log, out, err)
	}
	op.Settle = func(ctx context.Context, log io.Writer) (runtime.Fate, runtime.Result, error) {
		fate, out, err := g.settleActivation(ctx, log)
		if fate == runtime.NotDone || err != nil && (ctx.Err() != nil || errors.Is(err, runtime.ErrUntold)) {
			return fate, runtime.Result{}, err
		}
		res, err := g.judged(ctx, log, out, err)
		return runtime.Done, res, err
	}
	op.Forget = func(ctx context.Context) {
		_ = s.pool.Forget(ctx, s.Host, remote.Command{Unit: runtime.OpID(ctx), Sudo: true})
		if s.Host.Kind() == runtime.Darwin { // elsewhere a boot empties the folder
			_, _ = g.script(ctx, "forgetting the activation", "", forgetScript, runtime.OpID(ctx))
		}
	}
	return op
}

// program is what activates the system on its kind of host.
func (s switching) program() []string {
	if s.Host.Kind() == runtime.Darwin {
		return []string{s.System.Path + "/" + activateProgram}
	}
	return []string{s.System.Path + "/" + switchProgram, "test"}
}

// activate runs the activation to its end, also where that ends the connection.
func (g guard) activate(ctx context.Context, log io.Writer) (command.Output, error) {
	argv := append([]string{"sh", "-c", toolPath + activateScript, "sh", g.dir(), g.token(), runtime.OpID(ctx), apartScript}, g.program()...)
	out, err := g.asRoot(ctx, log, argv...)
	if err == nil && out.Exit.Code == unguarded && g.token() != "" {
		// The host has gone back since: this is a run that is resumed.
		if err := g.arm(ctx, log); err != nil {
			return out, err
		}
		out, err = command.Run(ctx, command.On(g.pool, g.Host), remote.Command{Argv: argv, Sudo: true}, log)
	}
	if err == nil || !errors.Is(err, runtime.ErrUntold) {
		return out, err
	}
	return g.regained(ctx, log, err)
}

// regained is how the activation ended that the connection was lost of, found out
// over others. The host ends it when its time is over, whatever becomes of us.
func (g guard) regained(ctx context.Context, log io.Writer, lost error) (command.Output, error) {
	fmt.Fprintf(log, "%v; looking how it ended\n", lost)
	if runtime.OpID(ctx) == "" {
		return command.Output{}, lost
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.Within+backTime)
	defer cancel()
	for {
		if g.pool.Fresh(ctx, g.Host) == nil {
			fate, out, err := g.settleActivation(ctx, log)
			switch {
			case fate == runtime.Done:
				return out, err
			case err == nil:
				return out, fmt.Errorf("%v, and the activation had not begun", lost)
			}
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return command.Output{}, lost
		}
	}
}

// settleActivation finds out what became of it. Where only that it was killed is
// known, that is an error of what is done.
func (g guard) settleActivation(ctx context.Context, log io.Writer) (runtime.Fate, command.Output, error) {
	var settled remote.Settled
	find := func(ctx context.Context, cmd remote.Command) (exit remote.Exit, err error) {
		settled, err = g.pool.Settle(ctx, g.Host, cmd)
		return settled.Exit, err
	}
	out, err := command.Run(ctx, find, remote.Command{Unit: runtime.OpID(ctx), Sudo: true}, log)
	switch {
	case err != nil, settled.Fate != runtime.Untold:
		return settled.Fate, out, err
	case strings.Contains(settled.Why, "did not run as"):
		return g.found(ctx, log)
	}
	return runtime.Done, out, errors.New(settled.Why)
}

// found is settleActivation where systemd does not run the host.
func (g guard) found(ctx context.Context, log io.Writer) (runtime.Fate, command.Output, error) {
	out, err := command.Run(ctx, command.On(g.pool, g.Host),
		remote.Command{Argv: []string{"sh", "-c", toolPath + foundScript, "sh", g.dir(), runtime.OpID(ctx)}, Sudo: true}, log)
	switch {
	case err != nil:
		return runtime.Untold, out, err
	case out.Exit.Code == notBegun:
		return runtime.NotDone, out, nil
	case out.Exit.Code == cutByBoot:
		err = fmt.Errorf("the activation had begun and not ended when %s went down", g.Host.Name)
	}
	return runtime.Done, out, err
}

// judged is what an activation's end means: it goes on, or the host goes back.
func (g guard) judged(ctx context.Context, log io.Writer, out command.Output, err error) (runtime.Result, error) {
	if err != nil && ctx.Err() != nil && errors.Is(err, runtime.ErrInterrupted) {
		if g.token() == "" {
			return runtime.Result{}, err
		}
		return runtime.Result{}, runtime.WithHint(err, "infra resume within %s goes on and confirms; after that %s has gone back to %s by itself",
			g.Within, g.Host.Name, g.before.path())
	}
	o := outcome{}
	code := out.Exit.Code
	switch {
	case err != nil:
	case code == 0:
	case g.Host.Kind() == runtime.Darwin:
		err = out.Err("the activation")
	case code == 100:
		o.reboot = true
		fmt.Fprintln(log, "the running system cannot become this one: it is made the one of the next boot")
	case code == 4 && g.Degraded == "warn":
		o.failed = failedUnits(out.Stdout + "\n" + out.Stderr)
		fmt.Fprintf(log, "units failed: %s\n", strings.Join(o.failed, ", "))
	case code == 1 && someoneSwitches(out.Stdout+out.Stderr):
		return runtime.Result{}, g.standAside(ctx, log, out)
	default:
		err = out.Err(switchFailure(code))
	}
	if err != nil {
		return runtime.Result{}, g.goBack(ctx, log, err)
	}
	return runtime.Result{Changed: true, Value: o.record()}, nil
}

// someoneSwitches says whether an activation did nothing since another one is at work:
// one by hand has the lock of switch-to-configuration, one of nixos-rebuild the unit.
func someoneSwitches(printed string) bool {
	return strings.Contains(printed, "Could not acquire lock") || strings.Contains(printed, activationUnit+".service was already loaded") ||
		strings.Contains(printed, activationUnit+".service already exists")
}

// standAside takes the watchdog away where somebody else switches the host at this
// moment: nothing is to be gone back from, and what they do is not ours to take back.
func (g guard) standAside(ctx context.Context, log io.Writer, out command.Output) error {
	failure := out.Err("somebody else switches " + g.Host.Name + " at this moment, without infra, so nothing was activated: switch-to-configuration")
	if g.token() != "" {
		if _, err := g.script(ctx, "taking the watchdog away", "", confirmScript, g.token(), g.System.Path, "anyway"); err != nil {
			return g.goBack(ctx, log, failure)
		}
	}
	return rolledBack{runtime.WithHint(failure, "when they are done, infra resume goes on if the host runs what it ran before, and else says what it runs"), false}
}

// switchFailure names what switch-to-configuration means by its exit code.
func switchFailure(code int) string {
	const program = "switch-to-configuration"
	switch code {
	case 1:
		return "a check before the switch, or the boot loader's installation: " + program
	case 2:
		return "an activation script: " + program
	case 4:
		return "some units did not start (systemctl --failed lists them): " + program
	case 100:
		return "the system needs a reboot to be switched to: " + program
	}
	return program
}

// failedUnits reads them from what switch-to-configuration printed.
func failedUnits(printed string) []string {
	var units []string
	for line := range strings.Lines(printed) {
		_, list, ok := strings.Cut(line, "the following units failed: ")
		if !ok {
			_, list, ok = strings.Cut(line, "the following user units failed: ")
		}
		if ok {
			units = append(units, unitList(list)...)
		}
	}
	slices.Sort(units)
	return slices.Compact(units)
}

// unitList reads "a.service, b.service".
func unitList(text string) []string {
	var units []string
	for unit := range strings.SplitSeq(text, ",") {
		if unit = strings.TrimSpace(unit); unit != "" {
			units = append(units, unit)
		}
	}
	return units
}

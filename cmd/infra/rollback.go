package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"infra/builtins/nix"
	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/interp"
	"infra/runtime/journal"
)

// rollbackFlags are the flags of infra rollback.
type rollbackFlags struct {
	runFlags
	to       int
	within   time.Duration
	degraded string
}

func newRollback(a *app) *cobra.Command {
	var f rollbackFlags
	c := &cobra.Command{
		Use:   "rollback HOST",
		Short: "Take a host back to an earlier generation of its system",
		Long: `rollback switches a host to the generation of its system profile before the
current one, or to the one that --to names, which may be a later one too. Of
generations that lead to the current one's system none is the one before.

It does so as nix.switch does: what runs is recorded, the host goes back to that
by itself unless a new connection works and infra confirms in time, and only
then the profile and the boot entry follow. The profile keeps its generations.

It asks before it begins. It is journaled as a run, and can be resumed; what it
goes to is chosen once, and where somebody switches the host before it begins,
nothing is done. With --dry-run it shows what it would do. HOST is the name of a
host that a plan file of the project declares.

` + exitCodes,
		Example: `  infra rollback cinnabar --dry-run
  infra rollback cinnabar
  infra rollback cinnabar --to 42 --yes`,
		Args:              exactly(1, "one host"),
		ValidArgsFunction: a.declaredNames,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(c); err != nil {
				return usage(c, err)
			}
			return a.rollback(c.Context(), args[0], f)
		},
	}
	fl := c.Flags()
	fl.IntVar(&f.to, "to", 0, "the number of the generation to go to (default: the one before the current)")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what it would do, and change nothing")
	fl.BoolVar(&f.detailed, "detailed-exitcode", false, "with --dry-run: exit code 3 when there is something to do")
	fl.BoolVar(&f.yes, "yes", false, "do not ask")
	fl.DurationVar(&f.within, "confirm-within", 2*time.Minute, "how long the activation, and then the confirmation, may take before the host returns by itself to what it runs now")
	fl.StringVar(&f.degraded, "degraded", "fail", "what units that do not start mean: fail returns to what runs now, warn goes on")
	fl.StringVar(&f.plan, "plan", "", "the file that declares the host (default: look in all of the project's plans)")
	fl.StringVar(&f.sshConfig, "ssh-config", "", "read this file instead of ~/.ssh/config")
	fl.BoolVar(&f.json, "json", false, "print one JSON object for each event on stdout")
	fl.StringVar(&f.junit, "junit", "", "write the result to this file as JUnit XML, however it ends")
	fl.DurationVar(&f.grace, "grace", 30*time.Second, "how long running operations may go on after Ctrl-C")
	waitFlag(fl, &f.wait)
	_ = c.MarkFlagFilename("plan", "star") // these fail only for a flag that is not there
	_ = c.MarkFlagFilename("ssh-config")
	_ = c.MarkFlagFilename("junit", "xml")
	_ = c.RegisterFlagCompletionFunc("to", cobra.NoFileCompletions)
	_ = c.RegisterFlagCompletionFunc("degraded", cobra.FixedCompletions([]string{"fail", "warn"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// check refuses flags that mean nothing.
func (f rollbackFlags) check(c *cobra.Command) error {
	switch {
	case f.to < 0, f.to == 0 && c.Flags().Changed("to"):
		return fmt.Errorf("--to is the number of a generation, and they count from 1")
	case f.detailed && !f.dryRun:
		return fmt.Errorf("--detailed-exitcode is for previews: it wants --dry-run")
	case f.degraded != "fail" && f.degraded != "warn":
		return fmt.Errorf("--degraded is fail or warn, not %q", f.degraded)
	}
	if err := nix.CheckWithin(f.within); err != nil {
		return fmt.Errorf("--confirm-within: %w", err)
	}
	return nil
}

// rollback runs infra rollback.
func (a *app) rollback(ctx context.Context, name string, f rollbackFlags) error {
	root, err := a.root()
	if err != nil {
		return exit{exitUsage, err}
	}
	plan := f.plan
	f.plan, f.sshConfig = "", fromHere(f.sshConfig)
	out, err := a.newOutputs(rollbackName(name), f.runFlags)
	if err != nil {
		return err
	}
	out.in(root)
	s := a.newSession(ctx, root, f.runFlags, out)
	defer s.close()
	return out.finish(s.rollback(name, plan, f))
}

// rollback chooses where the host goes back to, asks, and carries that out.
func (s *session) rollback(name, plan string, f rollbackFlags) error {
	host, err := s.declaredHost(s.stop, s.root, name, plan)
	if err != nil {
		return exit{exitUsage, err}
	}
	back, err := nix.ChooseRollback(s.stop, s.pool, host, f.to)
	if err != nil && s.stop.Err() != nil {
		return fmt.Errorf("looking at %s: %w", host.Name, runtime.ErrInterrupted)
	}
	if err != nil {
		return err
	}
	back.Within, back.Degraded = f.within.String(), f.degraded
	s.flags.rollback = back
	if err := s.confirmRollback(back); err != nil {
		return err
	}
	file := s.rollbackPlan()
	out, err := s.carryOut(file, s.options())
	return s.end(file, out, err)
}

// confirmRollback lists the generations and asks whether the host is to go to the one
// that was chosen, unless it is there.
func (s *session) confirmRollback(back *nix.Rollback) error {
	if s.flags.dryRun || back.Done() {
		return nil
	}
	fmt.Fprintf(s.words(), "the system profile of %s:%s\n", back.Host.Name, printable(back.Generations()))
	if note := back.Note(); note != "" && !s.flags.yes { // the run says it too
		fmt.Fprintln(s.words(), printable(note))
	}
	yes, err := s.asker(s.flags.yes, s.to.show)(s.hard, fmt.Sprintf("Switch %s to generation %d?", back.Host.Name, back.Generation))
	switch {
	case err != nil:
		return exit{exitHeld, err}
	case !yes:
		return exit{exitHeld, fmt.Errorf("%w: %s stays as it is", runtime.ErrHeld, back.Host.Name)}
	}
	return nil
}

// rollbackName is what the journal calls a rollback, where a run of a plan has the
// plan's file: what a person typed.
func rollbackName(host string) string { return "infra rollback " + host }

// rollbackPlan is the plan of the session's rollback.
func (s *session) rollbackPlan() *interp.File {
	back := s.flags.rollback
	step := &runtime.Step{Name: "rollback", Doc: back.Doc()}
	spec := nix.RollbackSpec(s.pool, s.root, s.flags.sshConfig)
	return engine.Calling(rollbackName(back.Host.Name), back.Title(), step, back.Host, spec, back.Args(), s.flags.dryRun)
}

// resumed is the plan of a run that is gone on with: what its file says now, or, of a
// rollback, what was chosen then.
func (s *session) resumed(past *journal.Run) (*interp.File, error) {
	if s.flags.rollback != nil {
		return s.rollbackPlan(), nil
	}
	return s.read(s.engine.Resume, past.File)
}

// anew is the command that does again what a run did.
func (f runFlags) anew(past *journal.Run) string {
	if f.rollback != nil {
		return fmt.Sprintf("%s --to %d", rollbackName(f.rollback.Host.Name), f.rollback.Generation)
	}
	return "infra run " + past.File
}

// refuseRollback refuses to take a rollback back: that is another one.
func (f runFlags) refuseRollback(past *journal.Run) error {
	back := f.rollback
	if back == nil {
		return nil
	}
	err := fmt.Errorf("run %s is itself a rollback, of %s from generation %d to %d", past.ID, back.Host.Name, back.From, back.Generation)
	if back.From == 0 {
		return exit{exitUsage, err}
	}
	return exit{exitUsage, runtime.WithHint(err, "%s --to %d goes to where it was", rollbackName(back.Host.Name), back.From)}
}

// declaredNames completes the hosts that the project's plan files declare.
func (a *app) declaredNames(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	root, err := a.root()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	found, _ := declarations(c.Context(), root, interp.PlanFiles(root))
	var names []cobra.Completion
	for _, d := range found {
		names = append(names, cobra.CompletionWithDesc(d.host.Name, cmp.Or(d.host.SSH, d.host.Name)+", "+d.host.System))
	}
	slices.Sort(names)
	return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
}

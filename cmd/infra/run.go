package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"infra/builtins/nix"
	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/interp"
	"infra/runtime/journal"
)

// runFlags are the flags of infra run.
type runFlags struct {
	dryRun, offline, build  bool
	strict, detailed        bool
	yes, json, github       bool
	steps, hosts            []string
	sshConfig, flake, junit string
	out, plan, profile      string
	destroy, did            []string
	overrides               []string
	because                 string
	jobs                    int
	grace, wait             time.Duration
	budgets                 budgets

	// These are no flags.
	undoes  string        // the run that is taken back
	failed  bool          // it is, because it failed: infra has failed however that ends
	preview *savedPreview // that the run is held to; nil for none
	kind    journal.Kind  // what is kept as a run, and is none

	rollback *nix.Rollback // that the run is; nil for a run of a plan
}

func newRun(a *app) *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run PLAN",
		Short: "Run a plan, or preview it",
		Long: `run carries out the steps of a plan, those that do not need one another side by
side, and then runs its checks. Every operation is journaled before it starts.

A plan that has gates (after = [...]) begins only when all are open; a dry run shows
each with what is missing and when it can open. --override begins all the same,
and is kept in the journal with its reason.

A step that a person does (step(human = ...)) shows what, and asks whether it is
done. --yes is no answer to that; --did STEP is. Where nobody is there, the step
is held: infra resume asks again.

With --dry-run nothing is changed: reads happen, builds are evaluated, and
changes are shown with what they would do. Each operation is one of: no change,
change, destroy, unknown. --strict fails a preview in which anything is unknown.

--out saves the preview for a person to review. --plan then carries out exactly
that: the plan is previewed again, unseen, and where anything is not as it was
(the plan's files, the flake, nix, a host, an operation), every difference is
named and nothing is done. It wants the same --flake and --ssh-config.

For CI there are --json, --junit and, on GitHub, annotations and a summary of
the job; --github gives the annotations elsewhere too.

The first Ctrl-C starts nothing new and lets the running operations end within
the grace period; the second ends them at once.

A host of the plan may be the machine that infra runs on. Of a step's hosts it
goes last, when all others went well, and the run goes on when the terminal ends
that it was started from. Should the run end all the same, infra resume goes on.

` + exitCodes,
		Example: `  infra run --dry-run plans/blackphos.star
  infra run --dry-run --strict --junit results.xml plans/blackphos.star
  infra run plans/blackphos.star
  infra run --dry-run --out blackphos.json plans/blackphos.star
  infra run --plan blackphos.json
  infra run plans/fleet-update.star --host rosegold --step switch`,
		Args:              planArgs,
		ValidArgsFunction: planFiles,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(c); err != nil {
				return usage(c, err)
			}
			if !c.Flags().Changed("github") {
				f.github = a.watched()
			}
			a.github = f.github
			return a.run(c.Context(), strings.Join(args, ""), f)
		},
	}
	fl := c.Flags()
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what a run would do, and change nothing")
	fl.BoolVar(&f.offline, "offline", false, "with --dry-run: ask no host and no server; what they would answer is not known")
	fl.BoolVar(&f.build, "build", false, "with --dry-run: carry out the builds, which change nothing but the store")
	fl.StringSliceVar(&f.steps, "step", nil, "run only this step and what it needs; no checks (repeatable)")
	fl.StringSliceVar(&f.hosts, "host", nil, "change only this host (repeatable)")
	fl.BoolVar(&f.yes, "yes", false, "answer every question with yes")
	destroyFlag(fl, &f.destroy)
	didFlag(fl, &f.did)
	fl.StringSliceVar(&f.overrides, "override", nil, "begin although this gate is closed, such as stable:cinnabar; wants --because (repeatable)")
	fl.StringVar(&f.because, "because", "", "why --override is right, for the record")
	fl.BoolVar(&f.json, "json", false, "print one JSON object for each event on stdout")
	fl.BoolVar(&f.strict, "strict", false, "with --dry-run: exit code 1 when anything is unknown")
	fl.BoolVar(&f.detailed, "detailed-exitcode", false, "with --dry-run: exit code 3 when there is something to do")
	fl.BoolVar(&f.github, "github", false, "print annotations for GitHub on stderr (default: where GITHUB_ACTIONS is true)")
	fl.StringVar(&f.junit, "junit", "", "write the result to this file as JUnit XML, however it ends")
	fl.StringVar(&f.out, "out", "", "with --dry-run: save the preview in this file")
	fl.StringVar(&f.plan, "plan", "", "carry out the preview saved in this file, and nothing else")
	fl.StringVar(&f.profile, "profile", "", "write into this folder where time and memory went: pprof of infra and of the plan's code, and a trace of steps and operations for ui.perfetto.dev")
	fl.StringVar(&f.sshConfig, "ssh-config", "", "read this file instead of ~/.ssh/config")
	fl.StringVar(&f.flake, "flake", "", `the flake that "." means in plans (default: the project's root)`)
	fl.IntVar(&f.jobs, "jobs", 0, "how many steps run at once, over all hosts (default 64)")
	evalWorkersFlag(fl, &f.budgets)
	copyRateFlag(fl, &f.budgets)
	fl.DurationVar(&f.grace, "grace", 30*time.Second, "how long running operations may go on after Ctrl-C")
	waitFlag(fl, &f.wait)
	_ = c.MarkFlagFilename("ssh-config") // fails only for a flag that is not there
	_ = c.MarkFlagFilename("junit", "xml")
	_ = c.MarkFlagFilename("out", "json")
	_ = c.MarkFlagFilename("plan", "json")
	_ = c.MarkFlagDirname("flake")
	_ = c.MarkFlagDirname("profile")
	return c
}

// check refuses flags that would do nothing.
func (f runFlags) check(c *cobra.Command) error {
	for _, name := range []string{"strict", "detailed-exitcode", "offline", "build"} {
		if c.Flags().Changed(name) && !f.dryRun {
			return fmt.Errorf("--%s is for previews: it wants --dry-run", name)
		}
	}
	if len(f.did) > 0 && f.dryRun {
		return errors.New("--did says that a person has done a step: a dry run asks nobody")
	}
	switch because := strings.TrimSpace(f.because); {
	case len(f.overrides) > 0 && because == "":
		return errors.New(`a gate is not passed without a reason: --override wants --because "..."`)
	case len(f.overrides) == 0 && because != "":
		return errors.New("--because says why a gate is passed: it wants --override")
	}
	return f.checkSaved(c)
}

// run runs infra run.
func (a *app) run(ctx context.Context, path string, f runFlags) error {
	out, err := a.newOutputs(cmp.Or(path, f.plan), f)
	if err != nil {
		return err
	}
	return out.finish(a.runPlan(ctx, path, f, out))
}

// runPlan runs a plan or previews it, and shows it on to.
func (a *app) runPlan(ctx context.Context, path string, f runFlags, to *outputs) error {
	p, path, err := newPreviewer(&f, path)
	if err != nil {
		return err
	}
	root, err := rootOf(path)
	if err != nil {
		return exit{exitUsage, err}
	}
	to.in(root)
	f.sshConfig, f.flake = fromHere(f.sshConfig), fromHere(f.flake)
	s := a.newSession(ctx, root, f, to)
	defer s.close()
	read := s.engine.Read
	if f.dryRun {
		read = s.engine.Preview
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	file, err := s.read(read, path)
	if err != nil {
		return err
	}
	if len(file.Plan.Phases) > 0 {
		return exit{exitUsage, madeOfOthers(file)}
	}
	p.in(s)
	if err := p.verify(s.hard, path, file, s.options()); err != nil {
		return err
	}
	out, err := p.run(s, file)
	if errors.Is(err, engine.ErrSelection) {
		return exit{exitUsage, err}
	}
	return s.end(file, out, err)
}

// fromHere makes the path of something that is there absolute: tools that get
// it run in the project's root. Anything else, such as a flake's URL, stays.
func fromHere(path string) string {
	if _, err := os.Stat(path); path == "" || err != nil {
		return path
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return abs
}

// rootOf finds the project that a plan file belongs to.
func rootOf(path string) (string, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", runtime.WithHint(fmt.Errorf("there is no plan file %s", path), "name a .star file, such as plans/blackphos.star")
	}
	return interp.FindRoot(filepath.Dir(path))
}

// loading gives what keeps a plan from being read its exit code.
func loading(err error) error {
	var problems runtime.Problems
	if errors.As(err, &problems) {
		return err
	}
	return exit{exitUsage, err}
}

// withPrint lets a plan file's print show while it is read.
func (a *app) withPrint(ctx context.Context) context.Context {
	return runtime.WithPrint(ctx, func(text string) { fmt.Fprintln(a.words(), printable(text)) })
}

// code is the exit code of a run that ended so. A failure goes before what is
// not known, and that before what there is to do.
func (f runFlags) code(st runtime.Status, t *runtime.Totals) int {
	if f.failed && st != runtime.Interrupted {
		return exitFailed
	}
	switch st {
	case runtime.Failed:
		if t.Locked > 0 && t.Locked == t.Steps[runtime.Failed] && t.Checks[runtime.Failed] == 0 {
			return exitLocked
		}
		return exitFailed
	case runtime.Held:
		return exitHeld
	case runtime.Interrupted:
		return exitInterrupted
	}
	unknown := notKnown(t)
	switch {
	case f.strict && unknown > 0:
		return exitFailed
	case f.detailed && unknown+t.Verdicts[runtime.WillChange]+t.Verdicts[runtime.WillDestroy] > 0:
		return exitPending
	}
	return exitOK
}

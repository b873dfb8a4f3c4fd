package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"infra/runtime"
)

// watchFlags are the flags of infra watch: those of a dry run, and its own.
type watchFlags struct {
	runFlags
	full  bool
	apply bool
	reads time.Duration
}

func newWatch(a *app) *cobra.Command {
	f := watchFlags{runFlags: runFlags{dryRun: true}}
	c := &cobra.Command{
		Use:   "watch FILE...",
		Short: "Preview plans, and again on every save",
		Long: `watch previews plans as infra run --dry-run does, and stays. When a file changes
that a preview looked at, it previews again and shows what differs: operations that
were added (+), are gone (-) or are others now (~).

What counts are the plan's file, all that it loads, and whatever its steps read of
this machine, also where that is not there yet; not what the plan itself writes. A
file that was saved with the same content has not changed. A change during a preview
begins it anew.

A file that does not load, or a preview that fails, is shown with its place; the
last good preview stays, and what comes next is compared to that.

Answers of hosts, evaluations and other reads that no changed file can have touched
are kept for --reads, so that a preview rarely has to ask again.

On a terminal there is one screen, and keys:
  r  run the plan now (infra run, with all its questions), then look anew
  f  everything, or only what differs
  e  open the error, or the plan, in $VISUAL or $EDITOR
  p  preview again, and ask everything anew
  q  quit
Elsewhere it prints a block of lines for each preview. Nothing is changed, no lock is
taken, and the journal is not written, but by r and --apply.

With --apply, what differs from the first preview on is carried out at once, where
nothing in the preview is destroyed or unknown, and every step that would change
something is marked reload = True. That is a run of its own, with its locks and its
record; a change meanwhile waits until it has ended. Otherwise it says why it does not.

Exit codes:
  0    q
  2    wrong usage
  130  Ctrl-C, or told to end`,
		Example: `  infra watch plans/blackphos.star
  infra watch --full --step switch plans/blackphos.star
  infra watch --json plans/*.star | jq -c '{file, status, totals}'`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(c, errors.New("infra watch wants plan files, got none"))
			}
			return nil
		},
		ValidArgsFunction: planFiles,
		RunE: func(c *cobra.Command, args []string) error {
			if f.reads < 0 {
				return usage(c, fmt.Errorf("--reads %s is no time to keep answers for", f.reads))
			}
			if f.apply && (f.offline || f.build) {
				return usage(c, errors.New("--apply goes by what hosts say and by what a run builds: leave --offline and --build out"))
			}
			return a.watchPlans(c.Context(), args, f)
		},
	}
	fl := c.Flags()
	fl.BoolVar(&f.full, "full", false, "show the whole preview each time, not only what differs")
	fl.BoolVar(&f.apply, "apply", false, "carry out what differs, of steps marked reload = True")
	fl.DurationVar(&f.reads, "reads", 30*time.Second, "how long answers are kept that no changed file can have touched; 0: not at all")
	fl.BoolVar(&f.offline, "offline", false, "ask no host and no server; what they would answer is not known")
	fl.BoolVar(&f.build, "build", false, "carry out the builds, which change nothing but the store")
	fl.StringSliceVar(&f.steps, "step", nil, "preview only this step and what it needs (repeatable)")
	fl.StringSliceVar(&f.hosts, "host", nil, "change only this host (repeatable)")
	fl.BoolVar(&f.json, "json", false, "print one JSON document for each preview on stdout")
	fl.StringVar(&f.sshConfig, "ssh-config", "", "read this file instead of ~/.ssh/config")
	fl.StringVar(&f.flake, "flake", "", `the flake that "." means in plans (default: the project's root)`)
	fl.DurationVar(&f.grace, "grace", 30*time.Second, "with --apply: how long running operations may go on after Ctrl-C")
	fl.IntVar(&f.jobs, "jobs", 0, "how many steps run at once, over all hosts (default 64)")
	evalWorkersFlag(fl, &f.budgets)
	copyRateFlag(fl, &f.budgets)
	_ = c.MarkFlagFilename("ssh-config") // fails only for a flag that is not there
	_ = c.MarkFlagDirname("flake")
	return c
}

// watchPlans runs infra watch.
func (a *app) watchPlans(ctx context.Context, paths []string, f watchFlags) error {
	root, plans, err := plansToWatch(paths)
	if err != nil {
		return exit{exitUsage, err}
	}
	f.sshConfig, f.flake = fromHere(f.sshConfig), fromHere(f.flake)
	r, err := a.newReloader(root, plans, f)
	if err != nil {
		return err
	}
	defer r.close()
	return ending(r.stay(ctx))
}

// plansToWatch finds the project that the files belong to. A file that is missing at
// the start is most likely misspelt.
func plansToWatch(paths []string) (root string, plans []*watchedPlan, err error) {
	for _, path := range paths {
		of, err := rootOf(path)
		if err != nil {
			return "", nil, err
		}
		if root != "" && of != root {
			return "", nil, runtime.WithHint(fmt.Errorf("%s is of the project in %s, and %s of that in %s", paths[0], root, path, of), "call infra watch once for each project")
		}
		root = of
		abs, err := filepath.Abs(path)
		if err != nil {
			return "", nil, err
		}
		if !slices.ContainsFunc(plans, func(p *watchedPlan) bool { return p.path == abs }) {
			plans = append(plans, &watchedPlan{path: abs, file: fromRoot(root, filepath.Join(resolved(filepath.Dir(abs)), filepath.Base(abs)))})
		}
	}
	return root, plans, nil
}

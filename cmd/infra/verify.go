package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"infra/runtime"
	"infra/runtime/journal"
)

// verifyFlags are the flags of infra verify.
type verifyFlags struct {
	runFlags
	every string
	once  bool
	pause time.Duration

	interval time.Duration // that every says; 0: one round
}

func newVerify(a *app) *cobra.Command {
	f := verifyFlags{runFlags: runFlags{kind: journal.Observed}}
	c := &cobra.Command{
		Use:   "verify [PLAN...]",
		Short: "Look whether what plans did still holds",
		Long: `verify runs the checks of plans side by side, and none of their steps. It only
reads. Each time is kept in the journal with what every check saw, for the gates
of later plans: infra log shows it as it shows a run.

PLAN is a plan file, or a plan's name. A plan that is made of phases stands for
those of them that were run and not taken back, and so does no PLAN for all plans
of the project.

A check that does not hold is tried again, three times in all. Where it held
meanwhile it is flapping, else it is down; either way it has failed. A check that
takes longer than its timeout has failed too.

What the checks of a plan come to is GO where all held, CONDITIONAL GO where all
did that are required, and NO-GO else.

With --every it stays and looks again after that time, and prints one line a
plan. It reads the plans anew each time, and one that cannot be read keeps it from
none of the others. Ctrl-C or SIGTERM ends it, with exit code 0 where it did not
look just then. --once is for cron: it prints nothing where all holds.

Exit codes:
  0    every required check held
  1    one did not
  2    wrong usage, or a plan that does not load
  130  interrupted: this time does not count`,
		Example: `  infra verify plans/cinnabar.star
  infra verify --every 1h
  infra verify --once plans/migration.star`,
		ValidArgsFunction: planFiles,
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return usage(c, err)
			}
			return a.verify(c.Context(), args, f)
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.every, "every", "", "stay, and look again after this time, such as 1h or 1d")
	fl.BoolVar(&f.once, "once", false, "print nothing where all holds, else what does not")
	fl.DurationVar(&f.pause, "pause", 2*time.Second, "the time between two tries of a check that does not hold")
	fl.BoolVar(&f.json, "json", false, "print one JSON object for each event on stdout")
	fl.StringVar(&f.sshConfig, "ssh-config", "", "read this file instead of ~/.ssh/config")
	fl.StringVar(&f.flake, "flake", "", `the flake that "." means in plans (default: the project's root)`)
	fl.IntVar(&f.jobs, "jobs", 0, "how many checks of a plan run at once (default 64)")
	evalWorkersFlag(fl, &f.budgets)
	fl.DurationVar(&f.grace, "grace", 10*time.Second, "how long what looks may go on after Ctrl-C")
	_ = c.MarkFlagFilename("ssh-config") // fails only for a flag that is not there
	_ = c.MarkFlagDirname("flake")
	return c
}

// check refuses what makes no sense, and reads --every.
func (f *verifyFlags) check() (err error) {
	switch {
	case f.every == "":
		return f.checkPause()
	case f.once:
		return errors.New("--once looks once, and --every again and again: leave one of them out")
	}
	if f.interval, err = runtime.ParseDuration(f.every); err != nil {
		return fmt.Errorf("--every: %w", err)
	}
	if f.interval < time.Second {
		return fmt.Errorf("--every %s is no time to rest: it is one second at least", f.every)
	}
	return f.checkPause()
}

func (f *verifyFlags) checkPause() error {
	if f.pause <= 0 {
		return fmt.Errorf("--pause %s is no time between two tries", f.pause)
	}
	return nil
}

// verify runs infra verify.
func (a *app) verify(ctx context.Context, names []string, f verifyFlags) error {
	root, err := a.rootOfPlans(names)
	if err != nil {
		return exit{exitUsage, err}
	}
	f.sshConfig, f.flake = fromHere(f.sshConfig), fromHere(f.flake)
	s := a.newSession(ctx, root, f.runFlags, &outputs{app: a, flags: f.runFlags, root: root, show: silent{}})
	defer s.close()
	v := &verifier{session: s, flags: f, names: names}
	if f.interval == 0 {
		return ending(v.round())
	}
	w := watch{every: f.interval, now: a.clock, rest: rest(s.stop), round: v.round}
	return ending(w.stay())
}

// ending is an exit code as an error; what it is about has been shown.
func ending(code int) error {
	if code == exitOK {
		return nil
	}
	return exit{code: code}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/interp"
	"infra/runtime/remote"
)

// runFlags are the flags of infra run.
type runFlags struct {
	dryRun, yes, json, detailed bool
	steps, hosts                []string
	sshConfig, flake            string
	jobs                        int
	grace                       time.Duration
}

func newRun(a *app) *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "run PLAN",
		Short: "Run a plan, or preview it",
		Long: `run carries out the steps of a plan, those that do not need one another side by
side, and then runs its checks. Every operation is journaled before it starts.

With --dry-run nothing is changed: reads happen, builds are evaluated, and
changes are shown with what they would do.

The first Ctrl-C starts nothing new and lets the running operations end within
the grace period; the second ends them at once.

` + exitCodes,
		Example: `  infra run --dry-run plans/blackphos.star
  infra run plans/blackphos.star
  infra run plans/fleet-update.star --host rosegold --step switch`,
		Args:              exactly(1, "one plan file"),
		ValidArgsFunction: planFiles,
		RunE:              func(c *cobra.Command, args []string) error { return a.run(c.Context(), args[0], f) },
	}
	fl := c.Flags()
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what a run would do, and change nothing")
	fl.StringSliceVar(&f.steps, "step", nil, "run only this step and what it needs; no checks (repeatable)")
	fl.StringSliceVar(&f.hosts, "host", nil, "change only this host (repeatable)")
	fl.BoolVar(&f.yes, "yes", false, "answer every question with yes")
	fl.BoolVar(&f.json, "json", false, "print one JSON object for each event on stdout")
	fl.BoolVar(&f.detailed, "detailed-exitcode", false, "with --dry-run: exit code 3 when there is something to do")
	fl.StringVar(&f.sshConfig, "ssh-config", "", "read this file instead of ~/.ssh/config")
	fl.StringVar(&f.flake, "flake", "", `the flake that "." means in plans (default: the project's root)`)
	fl.IntVar(&f.jobs, "jobs", 0, "how many steps run at once, over all hosts (default 64)")
	fl.DurationVar(&f.grace, "grace", 30*time.Second, "how long running operations may go on after Ctrl-C")
	_ = c.MarkFlagFilename("ssh-config") // fails only for a flag that is not there
	_ = c.MarkFlagDirname("flake")
	return c
}

// run runs infra run.
func (a *app) run(ctx context.Context, path string, f runFlags) error {
	root, err := rootOf(path)
	if err != nil {
		return exit{exitUsage, err}
	}
	f.sshConfig, f.flake = fromHere(f.sshConfig), fromHere(f.flake)
	pool := remote.NewPool(remote.Config{SSHConfig: f.sshConfig})
	defer pool.Close()
	e := engine.New(root, builtins.All(builtins.Deps{Root: root, Flake: f.flake, SSHConfig: f.sshConfig, Pool: pool}))
	file, err := e.Read(a.withPrint(ctx), path)
	if err != nil {
		return loading(err)
	}
	hard, stop, release := signals(ctx)
	defer release()
	show := a.reader(f.json)
	out, err := e.Run(hard, file, engine.Options{
		DryRun: f.dryRun, Steps: f.steps, Hosts: f.hosts, Jobs: f.jobs,
		Stop: stop, Grace: f.grace, Ask: a.asker(f.yes, show), Show: show.Read, Version: version(),
	})
	show.Close()
	if errors.Is(err, engine.ErrSelection) {
		return exit{exitUsage, err}
	}
	if err != nil {
		return err
	}
	return ending(out, f)
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
	return runtime.WithPrint(ctx, func(text string) { fmt.Fprintln(a.stderr, runtime.Scrub(text)) })
}

func (a *app) reader(asJSON bool) reader {
	if asJSON {
		return newJSON(a.stdout)
	}
	return newPeopleReader(a.stderr, a.getenv)
}

// ending is the exit code that an outcome stands for. What went wrong has been
// shown by the reader.
func ending(out engine.Outcome, f runFlags) error {
	switch out.Status {
	case runtime.Failed:
		return exit{code: exitFailed}
	case runtime.Held:
		return exit{code: exitHeld}
	case runtime.Interrupted:
		return exit{code: exitInterrupted}
	}
	v := out.Totals.Verdicts
	if f.detailed && v[runtime.WillChange]+v[runtime.WillDestroy]+v[runtime.NotKnown]+out.Totals.Steps[runtime.Stopped] > 0 {
		return exit{code: exitPending}
	}
	return nil
}

// signals returns the context of operations, which the second signal ends, and
// the one of starting anything, which the first ends.
func signals(ctx context.Context) (hard, stop context.Context, release func()) {
	hard, kill := context.WithCancelCause(ctx)
	stop, halt := context.WithCancelCause(hard)
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-ch
		halt(runtime.ErrInterrupted)
		<-ch
		kill(runtime.ErrInterrupted)
	}()
	return hard, stop, func() { signal.Stop(ch); kill(nil) }
}

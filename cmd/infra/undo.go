package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/interp"
)

func newUndo(a *app) *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "undo RUN",
		Short: "Take back what a run did",
		Long: `undo runs the undo of each step of a run that ended well, after those of the
steps that needed it, as a run of its own: it is journaled, and can be resumed.
With --dry-run it shows what that would do. Steps without an undo are left as
they are. RUN is a run's id, a part of it that no other id has, or last.

` + exitCodes,
		Example: `  infra undo k3f9 --dry-run
  infra undo k3f9`,
		Args:              exactly(1, "one run"),
		ValidArgsFunction: a.runIDs,
		RunE:              func(c *cobra.Command, args []string) error { return a.undo(c.Context(), args[0], f) },
	}
	fl := c.Flags()
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what it would do, and change nothing")
	fl.BoolVar(&f.json, "json", false, "print one JSON object for each event on stdout")
	fl.DurationVar(&f.grace, "grace", 30*time.Second, "how long running operations may go on after Ctrl-C")
	return c
}

// undo runs infra undo.
func (a *app) undo(ctx context.Context, id string, f runFlags) error {
	root, past, err := a.pastRun(id)
	if err != nil {
		return err
	}
	if err := f.as(past); err != nil {
		return err
	}
	if f.undoes != "" {
		return exit{exitUsage, runtime.WithHint(fmt.Errorf("run %s is itself an undo, of run %s", past.ID, f.undoes), "infra run %s does it again", past.File)}
	}
	f.undoes, f.steps = past.ID, nil
	out, err := a.newOutputs(past.File, f)
	if err != nil {
		return err
	}
	out.in(root)
	return out.finish(a.undoPlan(ctx, root, past.File, f, out))
}

func (a *app) undoPlan(ctx context.Context, root, path string, f runFlags, to *outputs) error {
	e, pool := openProject(root, f)
	defer pool.Close()
	read := e.Read
	if f.dryRun {
		read = e.Preview
	}
	file, err := read(a.withPrint(ctx), filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		return loading(err)
	}
	if file, err = undone(root, file, f.undoes); err != nil {
		return err
	}
	hard, stop, release := signals(ctx)
	defer release()
	out, err := e.Run(hard, file, engine.Options{
		Hosts: f.hosts, Jobs: f.jobs, Options: f.call(),
		Stop: stop, Grace: f.grace, Ask: a.asker(true, to.show), Show: to.Read, Version: version(),
	})
	to.show.Close()
	if err != nil {
		return err
	}
	return ending(out, f)
}

// undone is file with the plan that takes a run of it back; "" is none, and
// leaves it as it is.
func undone(root string, file *interp.File, run string) (*interp.File, error) {
	if run == "" {
		return file, nil
	}
	past, err := pastRun(root, run)
	if err != nil {
		return nil, err
	}
	undo, err := engine.Undo(file, past)
	if err != nil {
		return nil, exit{exitUsage, err}
	}
	return undo, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/interp"
	"infra/runtime/remote"
)

// unlockFlags are the flags of infra unlock.
type unlockFlags struct {
	because, plan, sshConfig string
	yes                      bool
	grace                    time.Duration
}

func newUnlock(a *app) *cobra.Command {
	var f unlockFlags
	c := &cobra.Command{
		Use:   "unlock HOST",
		Short: "Break the lock that another run holds on a host",
		Long: `unlock shows who holds the lock of a host and, once that is answered with yes,
takes it away from that run: its commands on the host are told to end, and its
connection is ended. The run, where it still goes on, starts nothing more there.
That it was done, by whom and why, is kept in the journal and shown by infra log.

A lock is free of itself when its run ends or is killed, and half a minute after
its machine went silent. What is left to break is a run that goes on, and should
not: ask its owner first.

HOST is the name of a host in the project's plans, or what ssh is asked to reach.
The locks of this project on this machine are those of living processes: stop
the process instead.

` + exitCodes,
		Example: `  infra unlock cinnabar --because "crs is on the train, and the run waits for an answer"
  infra unlock root@192.0.2.7 --because "the run hangs, see ticket 4711" --yes`,
		Args:              exactly(1, "one host"),
		ValidArgsFunction: a.hostNames,
		RunE: func(c *cobra.Command, args []string) error {
			if strings.TrimSpace(f.because) == "" {
				return usage(c, errors.New(`a lock is not broken without a reason: it wants --because "..."`))
			}
			return a.unlock(c.Context(), args[0], f)
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.because, "because", "", "why, for the journal and for the lock's owner")
	fl.StringVar(&f.plan, "plan", "", "the plan file that lists the host (default: look in all of the project's plans)")
	fl.StringVar(&f.sshConfig, "ssh-config", "", "read this file instead of ~/.ssh/config")
	fl.BoolVar(&f.yes, "yes", false, "do not ask")
	fl.DurationVar(&f.grace, "grace", 30*time.Second, "how long the commands of the lock's owner may take to end")
	_ = c.MarkFlagFilename("plan", "star") // these fail only for a flag that is not there
	_ = c.MarkFlagFilename("ssh-config")
	_ = c.RegisterFlagCompletionFunc("because", cobra.NoFileCompletions)
	return c
}

// unlock runs infra unlock.
func (a *app) unlock(ctx context.Context, name string, f unlockFlags) error {
	root, err := a.root()
	if err != nil {
		return exit{exitUsage, err}
	}
	h, err := a.hostNamed(ctx, root, name, f.plan)
	if err != nil {
		return exit{exitUsage, err}
	}
	hard, _, _, release := signals(ctx)
	defer release()
	pool := remote.NewPool(remote.Config{SSHConfig: fromHere(f.sshConfig), Grace: f.grace})
	defer pool.Close()
	holder, held, err := pool.LockHolder(hard, h)
	switch {
	case err != nil:
		return err
	case !held:
		fmt.Fprintf(a.stdout, "%s is not locked: there is nothing to break\n", h.Name)
		return nil
	}
	fmt.Fprintf(a.words(), "%s is locked by %s\n", h.Name, holder)
	yes, err := a.asker(f.yes, nil)(hard, "Break that lock? Its run may be in the middle of something.")
	switch {
	case err != nil:
		return exit{exitHeld, err}
	case !yes:
		return exit{exitHeld, fmt.Errorf("%w: the lock of %s was not broken", runtime.ErrHeld, h.Name)}
	}
	run, err := breaking{root, h, holder, f.because, pool}.journaled(hard)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "the lock of %s is broken; infra log %s keeps why\n", h.Name, run)
	return nil
}

// hostNamed is the host of that name in a plan file, or in the project's plans
// where none is named. What is in none of them is what ssh is asked to reach.
func (a *app) hostNamed(ctx context.Context, root, name, plan string) (*runtime.Host, error) {
	if plan != "" {
		path, err := filepath.Abs(plan)
		if err != nil {
			return nil, err
		}
		file, err := engine.New(root, builtins.All(builtins.Deps{Root: root})).Read(ctx, path)
		if err != nil {
			return nil, err
		}
		if h := file.Plan.Host(name); h != nil {
			return h, nil
		}
		return nil, fmt.Errorf("%s lists no host %q", plan, name)
	}
	var found []*runtime.Host
	for _, h := range hostsOf(ctx, root) {
		if h.Name == name && !slices.ContainsFunc(found, func(x *runtime.Host) bool { return x.SSH == h.SSH }) {
			found = append(found, h)
		}
	}
	switch len(found) {
	case 0:
		return &runtime.Host{Name: name, SSH: name}, nil
	case 1:
		return found[0], nil
	}
	return nil, runtime.WithHint(fmt.Errorf("the project's plans reach %s in different ways: %q and %q", name, found[0].SSH, found[1].SSH), "say which: --plan plans/NAME.star")
}

// hostsOf are the hosts of all plans in the project's root and its folder
// plans. A file that cannot be read, or is no plan, has none.
func hostsOf(ctx context.Context, root string) []*runtime.Host {
	e := engine.New(root, builtins.All(builtins.Deps{Root: root}))
	ctx = runtime.WithPrint(ctx, func(string) {})
	var hosts []*runtime.Host
	for _, path := range interp.PlanFiles(root) {
		if file, err := e.Read(ctx, path); err == nil {
			hosts = append(hosts, file.Plan.Hosts...)
		}
	}
	return hosts
}

// hostNames completes the hosts of the project's plans.
func (a *app) hostNames(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	root, err := a.root()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, h := range hostsOf(c.Context(), root) {
		if !slices.Contains(names, h.Name) {
			names = append(names, h.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

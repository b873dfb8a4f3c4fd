package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/interp"
	"infra/runtime/remote"
)

// A session is one call of infra that carries a plan out, or previews it: what
// run, resume and undo have in common.
type session struct {
	*app
	root   string
	flags  runFlags
	to     *outputs
	engine *engine.Engine
	pool   *remote.Pool

	hard, stop context.Context // of operations, and of starting anything
	detach     func()          // from the terminal
	release    func()
}

// newSession makes an engine for the project at root, and the connections that
// its plans use, until close is called.
func (a *app) newSession(ctx context.Context, root string, f runFlags, to *outputs) *session {
	pool := remote.NewPool(remote.Config{SSHConfig: f.sshConfig, Contacts: filepath.Join(root, ".infra", "known_hosts"), LookOn: f.dryRun})
	s := &session{app: a, root: root, flags: f, to: to, pool: pool}
	s.hard, s.stop, s.detach, s.release = signals(ctx)
	deps := builtins.Deps{Root: root, Flake: f.flake, SSHConfig: f.sshConfig, Pool: pool}
	s.engine = engine.New(root, builtins.All(f.budgets.given(deps, s.stop.Done())))
	return s
}

func (s *session) close() { s.release(); s.pool.Close() }

// read reads the plan file at path in one of the engine's ways.
func (s *session) read(how func(context.Context, string) (*interp.File, error), path string) (*interp.File, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.root, filepath.FromSlash(path))
	}
	file, err := how(s.withPrint(s.stop), path)
	switch {
	case err != nil && s.stop.Err() != nil:
		return nil, exit{exitInterrupted, fmt.Errorf("reading %s was interrupted", path)}
	case err != nil:
		return nil, loading(err)
	}
	return file, nil
}

// options are what the engine is told, whatever begins a run.
func (s *session) options() engine.Options {
	f := s.flags
	opts := engine.Options{
		Offline: f.offline, Build: f.build, Steps: f.steps, Hosts: f.hosts, Jobs: f.jobs,
		Options: f.call(s.clock()), Clock: s.clock, Overrides: f.passed(), Stop: s.stop, Grace: f.grace, Version: version(),
		Ask: s.asker(f.yes, s.to.show), Show: s.to.Read, MayDestroy: s.mayDestroy(f.destroy, s.to.show),
		Decide: s.decider(s.to.show), Did: f.did, By: func(ctx context.Context) string { return whoDecides(ctx, s.root) },
		TakeLock: takeLock(s.pool), Wait: f.wait, Here: s.here,
	}
	if f.dryRun {
		opts.Here = nil // for the order of what changes nothing, ssh is not asked about each host of the plan
	}
	return opts
}

// here says whether a host is the machine that infra runs on. A run that may change
// that one goes on without the terminal that it was started from: what it changes may
// end that.
func (s *session) here(ctx context.Context, h *runtime.Host) bool {
	if !s.pool.IsHere(ctx, h) {
		return false
	}
	s.detach()
	fmt.Fprintln(s.words(), printable(h.Name+" is this machine: of a step's hosts it goes last; the run goes on if this terminal ends (infra log --follow shows it elsewhere)"))
	return true
}

// carryOut runs the plan of file, or previews it.
func (s *session) carryOut(file *interp.File, opts engine.Options) (engine.Outcome, error) {
	out, err := s.engine.Run(s.hard, file, opts)
	s.to.show.Close()
	return out, err
}

// end is what infra ends with after a run of file. Where a step failed of a
// plan that says so, what the run did is taken back first.
func (s *session) end(file *interp.File, out engine.Outcome, err error) error {
	var closed *engine.ClosedError
	if errors.As(err, &closed) {
		return exit{exitHeld, runtime.WithHint(err, "%s", hintsOf(closed))}
	}
	if errors.Is(err, engine.ErrSelection) {
		return exit{exitUsage, err}
	}
	if err != nil {
		return err
	}
	if file.Plan.UndoOnFailure && !file.Preview && out.Totals.Steps[runtime.Failed] > 0 && s.stop.Err() == nil {
		return s.takeBack(file, out.Run)
	}
	if code := s.flags.code(out.Status, &out.Totals); code != exitOK {
		return exit{code: code} // what went wrong has been shown by the reader
	}
	return nil
}

// takeBack undoes a run that failed, as a run of its own. However well that
// ends, infra has failed.
func (s *session) takeBack(file *interp.File, run string) error {
	s.flags = runFlags{undoes: run, failed: true, hosts: s.flags.hosts, sshConfig: s.flags.sshConfig, flake: s.flags.flake,
		jobs: s.flags.jobs, budgets: s.flags.budgets, grace: s.flags.grace, json: s.flags.json, wait: s.flags.wait}
	s.to.again(s.flags)
	err := s.undo(file)
	var shown exit
	if err == nil || errors.As(err, &shown) && shown.err == nil {
		return err
	}
	return exit{exitFailed, runtime.WithHint(fmt.Errorf("run %s failed, and what it did was not taken back: %w", run, err),
		"%s", joinParts([]string{runtime.HintOf(err), "what it did: infra log " + run + "; to take it back: infra undo " + run}, "; "))}
}

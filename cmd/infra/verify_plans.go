package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"infra/runtime"
	"infra/runtime/gates"
	"infra/runtime/interp"
	"infra/runtime/journal"
)

// A sighted is a plan of a round, or a file that should be one.
type sighted struct {
	path string       // from the project's root
	file *interp.File // nil where it cannot be read
	err  error        // why it cannot
	skip string       // why nobody looks at it; "" where somebody does
}

// rootOfPlans finds the project that plans belong to.
func (a *app) rootOfPlans(names []string) (string, error) {
	for _, name := range names {
		if strings.HasSuffix(name, ".star") {
			return rootOf(name)
		}
	}
	return a.root()
}

// A gathering reads the plans of one round, each once.
type gathering struct {
	*verifier
	record *gates.Record
	seen   map[string]bool
	plans  []sighted
	all    *projectPlans // read at the first name that is no file
}

// gather reads the plans that are to be looked at. Which phases were run is asked of
// the journal.
func (v *verifier) gather() ([]sighted, error) {
	ledger, err := journal.ReadIfAny(v.root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ledger.Close() }() // nothing was written
	g := &gathering{verifier: v, record: gates.At(v.clock(), ledger), seen: map[string]bool{}}
	if len(v.names) == 0 {
		return g.everything()
	}
	for _, name := range v.names {
		if err := g.named(name); err != nil {
			return nil, err
		}
	}
	return g.plans, nil
}

// everything reads all plans of the project.
func (g *gathering) everything() ([]sighted, error) {
	for _, u := range g.project().not {
		g.plans = append(g.plans, sighted{path: u.file, err: loading(u.err)})
	}
	for _, p := range g.project().plans {
		if err := g.phase(filepath.Join(g.root, filepath.FromSlash(p.File))); err != nil {
			return nil, err
		}
	}
	return g.plans, nil
}

// project is all plans of it.
func (g *gathering) project() *projectPlans {
	if g.all == nil {
		all := allPlans(g.stop, g.root)
		g.all = &all
	}
	return g.all
}

// named reads a plan that a person named by its file or its name, or its phases.
func (g *gathering) named(name string) error {
	path, err := g.pathOf(name)
	if err != nil {
		g.plans = append(g.plans, sighted{path: name, err: exit{exitUsage, err}})
		return nil
	}
	s := g.open(path)
	if s == nil {
		return nil
	}
	if s.file == nil || len(s.file.Plan.Phases) == 0 {
		g.plans = append(g.plans, *s)
		return nil
	}
	for _, phase := range s.file.Plan.Phases {
		if err := g.phase(filepath.Join(filepath.Dir(path), phase+".star")); err != nil {
			return err
		}
	}
	return nil
}

func (g *gathering) pathOf(name string) (path string, err error) {
	if !strings.HasSuffix(name, ".star") {
		p := g.project().whole
		if p == nil || p.Plan.Name != name {
			if p, err = g.project().find(g.root, name); err != nil {
				return "", err
			}
		}
		return filepath.Join(g.root, filepath.FromSlash(p.File)), nil
	}
	if path, err = filepath.Abs(name); err == nil {
		_, err = rootOf(path)
	}
	return path, err
}

// open reads a plan file; nil: it was read before.
func (g *gathering) open(path string) *sighted {
	if g.seen[path] {
		return nil
	}
	g.seen[path] = true
	s := &sighted{path: fromRoot(g.root, path)}
	if s.file, s.err = g.read(g.quietly, path); s.err != nil {
		return s
	}
	s.path = s.file.Path
	if len(s.file.Plan.Checks) == 0 {
		s.skip = "it has no checks"
	}
	return s
}

// quietly reads a plan file; what it prints is shown only to a person.
func (g *gathering) quietly(ctx context.Context, path string) (*interp.File, error) {
	if !g.loud() {
		ctx = runtime.WithPrint(ctx, func(string) {})
	}
	return g.engine.Read(ctx, path)
}

// phase reads a plan that nobody named. Where it was never run, or was taken back, its
// checks say nothing: nobody expects them to hold.
func (g *gathering) phase(path string) error {
	s := g.open(path)
	if s == nil || s.file != nil && len(s.file.Plan.Phases) > 0 {
		return nil
	}
	if s.file != nil && s.skip == "" && len(s.file.Plan.Steps) > 0 {
		is, err := g.record.Standing(s.file.Plan.Name)
		if err != nil {
			return fmt.Errorf("find out whether %s was run: %w", s.file.Plan.Name, err)
		}
		if is.Last == nil || is.Undone != nil {
			s.skip = is.Why
		}
	}
	g.plans = append(g.plans, *s)
	return nil
}

// lacking refuses the one plan that a person named, where it has nothing to look at.
func lacking(plans []sighted) error {
	if len(plans) != 1 || plans[0].skip == "" || len(plans[0].file.Plan.Checks) > 0 {
		return nil
	}
	return exit{exitUsage, runtime.WithHint(fmt.Errorf("plan %s has no checks: there is nothing to look at", plans[0].file.Plan.Name),
		"checks = [check(fn)] says what has to hold")}
}

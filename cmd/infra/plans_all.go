package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/interp"
	"infra/runtime/phases"
)

// projectPlans are what a project's plan files bind.
type projectPlans struct {
	plans []phases.Source // the phases, in order
	whole *phases.Source  // the one that is made of others; nil where none or several are
	not   []unread        // what is wrong with other files, or with all of them together
}

// allPlans reads every plan of a project. That has no effect, and what the files
// print is not shown. A file that cannot be read keeps nobody from the others.
func allPlans(ctx context.Context, root string) projectPlans {
	var all projectPlans
	var wholes []phases.Source
	e := engine.New(root, builtins.All(builtins.Deps{Root: root}))
	ctx = runtime.WithPrint(ctx, func(string) {})
	for _, path := range interp.PlanFiles(root) {
		file, err := e.Read(ctx, path)
		switch {
		case err == nil && len(file.Plan.Phases) > 0:
			wholes = append(wholes, phases.Source{Plan: file.Plan, File: file.Path})
		case err == nil:
			all.take(phases.Source{Plan: file.Plan, File: file.Path})
		case !bindsNone(err):
			all.not = append(all.not, unread{fromRoot(root, path), err})
		}
	}
	if len(wholes) == 1 {
		all.whole = &wholes[0]
	}
	all.sort()
	return all
}

// String says what is wrong, and where.
func (u unread) String() string {
	text := firstProblem(u.err)
	if strings.HasPrefix(text, u.file+":") {
		return text
	}
	return u.file + ": " + text
}

// take adds a plan. Two of one name would share their record.
func (all *projectPlans) take(s phases.Source) {
	for _, p := range all.plans {
		if p.Plan.Name == s.Plan.Name {
			all.not = append(all.not, unread{s.File, fmt.Errorf("%s binds a plan %s too: give one of them another name", p.File, s.Plan.Name)})
			return
		}
	}
	all.plans = append(all.plans, s)
}

// sort puts the plans in the order of the whole, and those that are not in it, or all
// where there is none, by their phase and name.
func (all *projectPlans) sort() {
	place := func(s phases.Source) int { return len(all.plans) }
	if all.whole != nil {
		order := all.whole.Plan.Phases
		for _, name := range order {
			if !slices.ContainsFunc(all.plans, func(s phases.Source) bool { return s.Plan.Name == name }) {
				all.not = append(all.not, unread{all.whole.File, fmt.Errorf("it names the phase %s, and no plan file that can be read binds that", name)})
			}
		}
		place = func(s phases.Source) int {
			if i := slices.Index(order, s.Plan.Name); i >= 0 {
				return i
			}
			return len(order)
		}
	}
	phase := func(s phases.Source) uint { return uint(s.Plan.Phase) } // without one, -1: behind all others
	slices.SortStableFunc(all.plans, func(a, b phases.Source) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(phase(a), phase(b)), strings.Compare(a.Plan.Name, b.Plan.Name))
	})
}

// bindsNone says whether all that is wrong with a file as a plan is that it is none:
// what others load binds no plan.
func bindsNone(err error) bool {
	var problems runtime.Problems
	return errors.As(err, &problems) && len(problems) == 1 && strings.HasSuffix(problems[0].Msg, " binds no plan to a name")
}

// fromRoot is a path as it is shown: from the project's root.
func fromRoot(root, path string) string {
	if rel, err := filepath.Rel(root, path); err == nil {
		return filepath.ToSlash(rel)
	}
	return path
}

// named are the plans that a person names, by their names or their files, in the
// project's order; all of them where none is named.
func (all *projectPlans) named(root string, names []string) ([]phases.Source, error) {
	if len(names) == 0 {
		return all.plans, nil
	}
	wanted := map[string]bool{}
	for _, name := range names {
		s, err := all.find(root, name)
		if err != nil {
			return nil, err
		}
		wanted[s.Plan.Name] = true
	}
	return slices.DeleteFunc(slices.Clone(all.plans), func(s phases.Source) bool { return !wanted[s.Plan.Name] }), nil
}

// find is the plan that a person names.
func (all *projectPlans) find(root, name string) (*phases.Source, error) {
	path := ""
	if abs, err := filepath.Abs(name); err == nil && strings.HasSuffix(name, ".star") {
		path = fromRoot(root, abs)
	}
	var there []string
	for i, s := range all.plans {
		if s.Plan.Name == name || s.File == path {
			return &all.plans[i], nil
		}
		there = append(there, s.Plan.Name)
	}
	for _, u := range all.not {
		if u.file == path || u.file == "plans/"+name+".star" || u.file == name+".star" {
			return nil, u.err
		}
	}
	return nil, notThere(fmt.Errorf("there is no plan %q in the project", name), name, there,
		"a plan is bound in a .star file of the project's root, or of its folder plans")
}

// notThere adds to the error about a name what there is, or, where there is nothing,
// how that is made.
func notThere(err error, name string, there []string, made string) error {
	switch near := builtins.Nearest(name, there); {
	case near != "":
		return runtime.WithHint(err, "did you mean %s? There are: %s", near, strings.Join(there, ", "))
	case len(there) > 0:
		return runtime.WithHint(err, "there are: %s", strings.Join(there, ", "))
	}
	return runtime.WithHint(err, "%s", made)
}

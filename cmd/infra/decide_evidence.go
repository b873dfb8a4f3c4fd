package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"infra/runtime"
	"infra/runtime/gates"
	"infra/runtime/journal"
	"infra/runtime/phases"
)

// A subject is what a person decides on.
type subject struct {
	name    string
	plan    *phases.Source // nil where it is a word alone
	waiting []string       // the files whose plans wait for a go by approved()
}

// decidable is what a person decides on by that name.
func decidable(root, name string, all *projectPlans) (*subject, error) {
	plan, err := all.find(root, name)
	s := &subject{name: name, plan: plan}
	if plan != nil {
		s.name = plan.Plan.Name
	}
	for _, p := range all.plans {
		if approves(p.Plan, s.name) {
			s.waiting = append(s.waiting, p.File)
		}
	}
	if plan != nil || len(s.waiting) > 0 {
		return s, nil
	}
	return nil, undecidable(root, name, all, err)
}

func approves(p *runtime.Plan, name string) bool {
	return slices.ContainsFunc(p.After, func(g *runtime.Gate) bool { return g.Kind == runtime.GateApproved && g.Of == name })
}

// decidables are the names of all that can be decided on.
func decidables(all *projectPlans) []string {
	var names []string
	for _, p := range all.plans {
		names = append(names, p.Plan.Name)
		for _, g := range p.Plan.After {
			if g.Kind == runtime.GateApproved {
				names = append(names, g.Of)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// undecidable is the error about a name that nothing has. why is why it is no plan.
func undecidable(root, name string, all *projectPlans, why error) error {
	if strings.HasSuffix(name, ".star") {
		return why
	}
	var broken []string
	for _, u := range all.not {
		if u.file == filepath.ToSlash(filepath.Join("plans", name+".star")) || u.file == name+".star" {
			return why // it says what is wrong with that file
		}
		broken = append(broken, u.file+" cannot be read: "+firstProblem(u.err))
	}
	err := fmt.Errorf("nothing is called %q: no plan of the project, and no word that approved() waits for%s", name, bullets(broken))
	return notThere(err, name, decidables(all),
		fmt.Sprintf(`a plan is bound in a .star file of the project's root, or of its folder plans; after = [approved("%s")] waits for a word`, name))
}

// evidence is what is known of what a person decides on.
type evidence struct {
	on       *subject
	verdict  gates.Verdict
	standing *gates.Standing // nil of a word alone
	failed   []journal.Step  // the checks that did not hold
}

// evidence reads what is known.
func (a *app) evidence(root string, on *subject) (*evidence, error) {
	ledger, err := journal.ReadIfAny(root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ledger.Close() }() // nothing was written
	e := &evidence{on: on}
	record := gates.At(a.clock(), ledger)
	if e.verdict, err = record.Verdict(on.name); err != nil || on.plan == nil {
		e.verdict = gates.Verdict{Word: e.verdict.Word} // a word has no checks
		return e, err
	}
	if e.standing, err = record.Standing(on.name); err != nil || e.verdict.Run == "" {
		return e, err
	}
	run, err := ledger.Run(e.verdict.Run)
	for _, s := range run.Steps {
		if s.Check && s.Status != runtime.OK {
			e.failed = append(e.failed, s)
		}
	}
	return e, err
}

// shown is the evidence, for a person who is about to say go, or no-go.
func (e *evidence) shown(w palette, isGo bool) string {
	var b strings.Builder
	line := func(text string) { b.WriteString(text + "\n") }
	if e.on.plan != nil {
		e.checks(w, line)
	}
	for _, file := range e.on.waiting {
		line(w.bold(e.on.name) + ": a person's word, for which " + file + " waits")
	}
	if d := e.verdict.Word; d != nil {
		line("  said before: " + oneLine(fmt.Sprintf("%s, by %s: %s", wordOf(d.Go), d.By, d.Because)))
	}
	if isGo && e.isNoGo() {
		line(w.bad("  a go does not open go("+e.on.name+")") + ": required checks failed. Mend it, and look again: infra verify " + e.on.plan.File)
		line("  a plan that waits for it begins all the same with: infra run --override go:" + e.on.name + " --because \"...\"")
	}
	return b.String()
}

// checks are what the plan's checks said, and where the plan is.
func (e *evidence) checks(w palette, line func(string)) {
	why := printable(e.verdict.Why)
	switch e.verdict.Kind {
	case gates.NoGo:
		why = w.bad(why)
	case gates.Go:
		why = w.good(why)
	default:
		why = w.change(why)
	}
	line(w.bold(e.on.name) + ": " + why)
	for _, s := range e.failed {
		line("  " + w.status(s.Status, string(s.Status)) + "  " + printable(instance{s.Name, s.Host, true}.title()) + because(failureText(s)))
	}
	switch s := e.standing; {
	case s.Done != nil:
		line(fmt.Sprintf("  done by run %s, which ended at %s", s.Done.ID, runtime.FormatTime(s.Done.Over().Wall)))
	default:
		line("  not done: " + printable(s.Why))
	}
}

// failureText is why a check did not hold.
func failureText(s journal.Step) string {
	if s.Text != "" {
		return s.Text
	}
	return s.Err
}

package main

import (
	"fmt"
	"strings"

	"infra/runtime"
	"infra/runtime/gates"
	"infra/runtime/journal"
	"infra/runtime/phases"
)

// depth prints all there is to know of one phase.
func (v *statusView) depth() {
	p := v.one
	head := v.bold(p.Plan.Name)
	if p.Plan.Title != "" {
		head += ": " + oneLine(p.Plan.Title)
	}
	if p.Plan.Phase >= 0 {
		head = v.dim(fmt.Sprintf("phase %d  ", p.Plan.Phase)) + head
	}
	v.sides(head, v.dim(gateTime(v.view.Now.Wall)))
	v.line(v.state(p) + v.dim("  "+p.File))
	if p.Why != "" {
		v.under(2, oneLine(p.Why))
	}
	v.hostLines(p)
	v.gateLines(p)
	v.runLines()
	v.observationLines(p)
	v.checkLines()
	v.decisionLines()
	v.overrideLines(p)
	v.warnings()
	command, why := nextCommand(p), ""
	switch {
	case command != "":
	case p.Over() && len(p.Plan.Checks) > 0:
		command, why = "infra verify "+p.File, "  looks again"
	case p.Earliest.After(v.view.Now.Wall):
		command = fmt.Sprintf("wait until %s at the earliest (%s)", gateTime(p.Earliest), runtime.FormatDuration(p.Earliest.Sub(v.view.Now.Wall)))
	default:
		return
	}
	v.line("")
	v.under(0, v.bold("next: ")+command+v.dim(why))
}

// section begins a part of the page.
func (v *statusView) section(name string) {
	v.line("")
	v.line(v.dim(name))
}

func (v *statusView) hostLines(p *phases.Phase) {
	if len(p.Hosts) == 0 {
		return
	}
	v.section("HOSTS")
	var rows [][]string
	for _, h := range p.Hosts {
		mark, paint := v.look(h.State)
		rows = append(rows, []string{"  " + paint(mark) + " " + printable(h.Name), paint(string(h.State)), oneLine(h.Why)})
	}
	v.rows(rows)
}

// rows prints a table, its lines cut where the terminal ends.
func (v *statusView) rows(rows [][]string) {
	for _, line := range table(rows) {
		v.cut(line)
	}
}

func (v *statusView) gateLines(p *phases.Phase) {
	if len(p.Gates) == 0 {
		return
	}
	v.section("GATES")
	for _, g := range p.Gates {
		mark := v.good("✓ open  ")
		switch {
		case g.Overridden != "":
			mark = v.bad("! OVERRIDDEN")
		case !g.Open:
			mark = v.change("· closed")
		}
		v.line("  " + mark + "  " + g.Gate.String())
		opens := ""
		if !g.Open {
			opens = v.opens(g.From)
		}
		v.under(6, oneLine(g.Why)+opens)
		if g.Overridden != "" {
			v.under(6, v.bad("passed all the same: ")+oneLine(g.Overridden))
		}
		if !g.Open && g.Hint != "" {
			v.under(6, v.dim("hint: "+oneLine(g.Hint)))
		}
	}
}

func (v *statusView) runLines() {
	if len(v.detail.Runs) == 0 {
		v.section("RUNS")
		v.line("  it was never run")
		return
	}
	v.section("RUNS")
	var rows [][]string
	for _, r := range v.detail.Runs {
		rows = append(rows, []string{"  " + r.ID, v.past(r.Started), v.status(r.Status, string(r.Status)),
			tookOr(r.Took, r.Ended.IsZero()), count(r.Changed, "change"), v.dim(what(r)) + printable(r.User)})
	}
	v.rows(rows)
}

// what a run was, where it was not of the whole plan.
func what(r journal.Run) string {
	c := r.Call()
	switch {
	case r.RolledBack() != "":
		return "rollback of " + r.RolledBack() + ", "
	case c.Undoes != "":
		return "undo of " + c.Undoes + ", "
	case len(c.Hosts) > 0:
		return "only " + strings.Join(c.Hosts, ", ") + ", "
	case len(c.Steps) > 0:
		return "only " + strings.Join(c.Steps, ", ") + ", "
	}
	return ""
}

func (v *statusView) observationLines(p *phases.Phase) {
	w := v.detail.Window
	if p.Observed == nil && w.Times == 0 {
		return
	}
	v.section("OBSERVATIONS since " + gateTime(w.From))
	text := fmt.Sprintf("%d", w.Times)
	if w.Cut {
		text = "more than " + text
	}
	if w.Failed > 0 {
		text += ", " + v.bad(fmt.Sprintf("%d failed", w.Failed))
	} else {
		text += ", none failed"
	}
	if w.Flapping > 0 {
		text += ", " + v.change(count(w.Flapping, "check")+" flapping")
	}
	if w.Gap > 0 {
		text += fmt.Sprintf("; the longest gap is %s, after %s", runtime.FormatDuration(w.Gap), gateTime(w.GapAfter))
	}
	v.under(2, text)
	if o := p.Observed; o != nil {
		last := fmt.Sprintf("last: %s, %s", v.verdictWord(o), v.past(o.At.Wall))
		v.under(2, last+v.dim(" (infra log "+o.Run+")"))
	}
}

func (v *statusView) verdictWord(o *phases.Observed) string {
	switch o.Verdict {
	case "":
		return "before the last change"
	case gates.Conditional:
		return v.change(o.Verdict)
	}
	return v.verdict(o)
}

func (v *statusView) checkLines() {
	if len(v.detail.Checks) == 0 {
		return
	}
	v.section("CHECKS")
	var rows [][]string
	for _, c := range v.detail.Checks {
		rows = append(rows, []string{"  " + v.status(c.Status, icon(c.Status)) + " " + printable(strings.TrimSpace(c.Name+" "+c.Host)),
			v.outcome(c), v.lasting(c)})
	}
	for i, line := range table(rows) {
		v.cut(line)
		if c := v.detail.Checks[i]; c.Why != "" {
			v.under(6, v.dim(oneLine(c.Why)))
		}
	}
}

func (v *statusView) outcome(c phases.Check) string {
	switch {
	case c.Status == "":
		return v.dim("never run")
	case c.Gone:
		return v.dim("not in the plan any more")
	case c.Flapping:
		return v.status(c.Status, "flapping")
	case c.Status == runtime.OK:
		return v.good("holds")
	case !c.Required:
		return v.status(c.Status, string(c.Status)+", optional")
	}
	return v.status(c.Status, string(c.Status))
}

// lasting is for how long a check has been as it is.
func (v *statusView) lasting(c phases.Check) string {
	if c.Status == "" {
		return ""
	}
	text := v.past(c.Since)
	if length, long := strings.CutSuffix(text, " ago"); long {
		text = "for " + length
	}
	if c.AtLeast {
		text += ", or longer"
	}
	return v.dim(text)
}

func (v *statusView) decisionLines() {
	if len(v.detail.Decisions) == 0 {
		return
	}
	v.section("DECISIONS")
	for _, r := range v.detail.Decisions {
		d := r.Call().Decision
		if d == nil {
			continue
		}
		word := v.good("go")
		if !d.Go {
			word = v.bad("no-go")
		}
		v.under(2, word+"  "+gateTime(r.Started)+", "+oneLine(d.By)+": "+oneLine(d.Because))
		if len(d.Despite) > 0 {
			v.under(6, v.dim("despite "+strings.Join(d.Despite, ", ")))
		}
	}
}

func (v *statusView) overrideLines(p *phases.Phase) {
	if len(p.Overrides) == 0 {
		return
	}
	v.section("OVERRIDES")
	for _, o := range p.Overrides {
		state := "the gate is open by now"
		if o.InForce {
			state = "the gate is closed still"
		}
		v.under(2, v.bad(o.Gate)+"  "+gateTime(o.At)+", "+oneLine(o.By)+": "+oneLine(o.Because)+v.dim(" ("+state+"; infra log "+o.Run+")"))
	}
}

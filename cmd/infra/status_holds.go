package main

import (
	"fmt"
	"strings"
	"time"

	"infra/runtime"
	"infra/runtime/phases"
)

// holds prints below a phase why it is as it is, and what it waits for.
func (v *statusView) holds(p *phases.Phase) {
	const indent = 5
	why := []string{oneLine(p.Why)}
	if p.State != phases.Degraded {
		for _, h := range p.Hosts {
			if h.Why != "" {
				_, paint := v.look(h.State)
				why = append(why, oneLine(h.Why)+" "+paint(string(h.State))+" on "+printable(h.Name))
			}
		}
	}
	if text := joinParts(why, ": "); text != "" {
		v.under(indent, text)
	}
	if o := p.Observed; o != nil && len(o.Failed) > 0 && (p.Over() || p.Why == "") {
		v.under(indent, strings.Join(printables(o.Failed), ", ")+" failed"+v.dim(" (infra log "+o.Run+")"))
	}
	if d := p.Decided; d != nil && !d.Go {
		v.under(indent, oneLine(d.By)+" decided "+v.bad("no-go")+": "+oneLine(d.Because))
	}
	if p.State == phases.Waiting || p.State == phases.RolledBack {
		v.gates(indent, p)
	}
}

// gates prints what a phase waits for. Where that is a phase whose turn has not come
// either, one line is enough for all of it: nothing can be done yet.
func (v *statusView) gates(indent int, p *phases.Phase) {
	var names []string
	later := false
	for _, g := range p.Holds() {
		names = append(names, whole(g.Gate.String()))
		of := v.view.Phase(g.Gate.Of)
		later = later || of != nil && of.State == phases.Waiting && g.Gate.Kind != runtime.GateApproved
	}
	if later {
		v.under(indent, v.dim("waits for "+strings.Join(names, ", "))+v.opens(p.Earliest))
		return
	}
	for i, g := range p.Holds() {
		v.under(indent, v.dim("waits for ")+names[i]+v.dim(": ")+oneLine(g.Why)+v.opens(g.From))
	}
}

// opens is when a gate can open at the earliest.
func (v *statusView) opens(t time.Time) string {
	if !t.After(v.view.Now.Wall) {
		return ""
	}
	return v.dim("; ") + gateTime(t) + v.dim(" at the earliest")
}

func (v *statusView) warnings() {
	var lines []string
	for _, w := range v.view.Warnings {
		if v.one == nil || w.Plan == "" || w.Plan == v.one.Plan.Name {
			lines = append(lines, v.warning(w.Text, w.Hint))
		}
	}
	for _, u := range v.all.not {
		if v.one == nil {
			lines = append(lines, v.warning("left out: "+u.String(), ""))
		}
	}
	if len(lines) > 0 {
		v.line("")
	}
	for _, line := range lines {
		v.under(0, line)
	}
}

func (v *statusView) warning(text, hint string) string {
	line := v.change("warning:") + " " + oneLine(text)
	if hint != "" {
		line += v.dim(" (" + oneLine(hint) + ")")
	}
	return line
}

// mostNext is how many commands are shown that a person may type next.
const mostNext = 4

// next says what a person does now, the phases in order, or when there will be
// something to do.
func (v *statusView) next() []string {
	var commands []string
	for _, p := range v.view.Phases {
		if command := nextCommand(p); command != "" && len(commands) < mostNext {
			commands = append(commands, command)
		}
	}
	if len(commands) > 0 {
		return commands
	}
	var first *phases.Phase
	for _, p := range v.view.Phases {
		if p.State == phases.Waiting && (first == nil || p.Earliest.Before(first.Earliest)) {
			first = p
		}
	}
	if first == nil || !first.Earliest.After(v.view.Now.Wall) {
		return nil
	}
	return []string{fmt.Sprintf("%s can begin in %s, at %s at the earliest", first.Plan.Name,
		runtime.FormatDuration(first.Earliest.Sub(v.view.Now.Wall)), gateTime(first.Earliest))}
}

// nextCommand is what a person types next about a phase; "" where there is nothing.
func nextCommand(p *phases.Phase) string {
	switch p.State {
	case phases.Running:
		return "infra log " + p.Last.ID + " --follow"
	case phases.Ready, phases.RolledBack:
		if len(p.Holds()) > 0 {
			return ""
		}
		return "infra run " + p.File
	case phases.Failed, phases.Held, phases.Interrupted:
		if p.Last == nil || p.Last.Status == runtime.OK || len(p.Plan.Steps) == 0 {
			return "infra verify " + p.File
		}
		return "infra resume " + p.Last.ID
	case phases.Degraded:
		return "infra log " + p.Observed.Run + "; then infra verify " + p.File
	case phases.Waiting:
		return decision(p)
	}
	return ""
}

// decision is what a person types where nothing but a person's word is missing.
func decision(p *phases.Phase) string {
	for _, g := range p.Holds() {
		if !strings.HasPrefix(g.Hint, "infra decide ") {
			return ""
		}
	}
	return p.Holds()[0].Hint
}

package main

import (
	"fmt"
	"strings"

	"infra/runtime"
	"infra/runtime/phases"
)

// drawingOfPhases draws a project's phases, and an arrow for each gate. What a person
// has to approve of, and is no phase, is a box of its own.
func drawingOfPhases(all projectPlans) *drawing {
	d := &drawing{across: true}
	var boxes []box
	ids := map[string]string{}
	for i, s := range all.plans {
		ids[s.Plan.Name] = fmt.Sprintf("p%d", i)
		boxes = append(boxes, box{id: ids[s.Plan.Name], lines: phaseLines(s.Plan)})
	}
	people := map[string]string{}
	for _, s := range all.plans {
		for _, g := range s.Plan.After {
			from, label := ids[g.Of], gateLabel(g)
			if g.Kind == runtime.GateApproved || from == "" {
				if people[g.Of] == "" {
					people[g.Of] = fmt.Sprintf("a%d", len(people))
					boxes = append(boxes, box{people[g.Of], approval(g), boxPerson})
				}
				from = people[g.Of]
			}
			d.arrow(from, ids[s.Plan.Name], label)
		}
	}
	d.groups = []drawnGroup{{boxes: boxes}}
	if w := all.whole; w != nil {
		d.groups[0].title = []string{titleOr(w.Plan)}
	}
	return d
}

// arrow adds an arrow, or its label to the one that is there.
func (d *drawing) arrow(from, to, label string) {
	for i, a := range d.arrows {
		if a.from == from && a.to == to {
			d.arrows[i].label = joinParts([]string{a.label, label}, ", ")
			return
		}
	}
	d.arrows = append(d.arrows, arrow{from, to, label})
}

func phaseLines(p *runtime.Plan) []string {
	head := p.Name
	if p.Phase >= 0 {
		head = fmt.Sprintf("%d %s", p.Phase, p.Name)
	}
	lines := []string{head}
	if p.Title != "" {
		lines = append(lines, p.Title)
	}
	var hosts []string
	for _, h := range p.Hosts {
		hosts = append(hosts, h.Name)
	}
	if names := strings.Join(hosts, ", "); names != "" && names != p.Name {
		lines = append(lines, names)
	}
	return lines
}

func titleOr(p *runtime.Plan) string {
	if p.Title == "" {
		return p.Name
	}
	return p.Title
}

// gateLabel is a gate without what the arrow says.
func gateLabel(g *runtime.Gate) string {
	switch g.Kind {
	case runtime.GateStable:
		return "stable " + runtime.FormatDuration(g.For)
	case runtime.GateApproved:
		return ""
	}
	return string(g.Kind)
}

// approval is what a person has to approve of, or a plan that is not there.
func approval(g *runtime.Gate) []string {
	if g.Kind == runtime.GateApproved {
		return []string{"approved", g.Of}
	}
	return []string{"no plan " + g.Of}
}

// drawingOfSteps draws the steps of plans, each plan in a frame: an arrow goes from what
// is needed to what needs it.
func drawingOfSteps(plans []phases.Source) *drawing {
	d := &drawing{}
	for i, s := range plans {
		g := drawnGroup{title: phaseLines(s.Plan)}
		ids := map[*runtime.Step]string{}
		for j, step := range s.Plan.Steps {
			ids[step] = fmt.Sprintf("p%ds%d", i, j)
			x := box{id: ids[step], lines: stepLines(step)}
			if step.Human != "" {
				x.kind = boxPerson
			}
			g.boxes = append(g.boxes, x)
			for _, n := range step.Needs {
				d.arrow(ids[n], ids[step], "")
			}
		}
		d.checks(&g, s.Plan, fmt.Sprintf("p%dc", i), ids)
		d.groups = append(d.groups, g)
	}
	return d
}

// checks draws the checks of a plan as one box: they are run when all steps have ended.
func (d *drawing) checks(g *drawnGroup, p *runtime.Plan, id string, ids map[*runtime.Step]string) {
	if len(p.Checks) == 0 {
		return
	}
	lines := []string{"checks"}
	for _, c := range p.Checks {
		lines = append(lines, checkLine(c))
	}
	g.boxes = append(g.boxes, box{id, lines, boxCheck})
	needed := map[*runtime.Step]bool{}
	for _, s := range p.Steps {
		for _, n := range s.Needs {
			needed[n] = true
		}
	}
	for _, s := range p.Steps {
		if !needed[s] {
			d.arrow(ids[s], id, "")
		}
	}
}

func stepLines(s *runtime.Step) []string {
	lines := []string{s.Name}
	if s.FansOut() {
		var hosts []string
		for _, h := range s.Each {
			hosts = append(hosts, h.Name)
		}
		lines = append(lines, "on "+strings.Join(hosts, ", "))
	}
	return lines
}

func checkLine(c *runtime.Check) string {
	line := c.Name
	if c.Host != nil {
		line += " on " + c.Host.Name
	}
	if !c.Required {
		line += " (optional)"
	}
	return line
}

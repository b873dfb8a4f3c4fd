package main

import (
	"errors"
	"path/filepath"
	"time"

	"go.starlark.net/syntax"

	"infra/runtime"
)

// A report is a run as a whole, for those who show it when it has ended: CI
// reads annotations, a job's summary and JUnit. It is a reader of events.
type report struct {
	file      string // the plan's file, as it was asked for
	strict    bool
	root      string // the project's; "" until it is found
	workspace string // the checkout that CI names files from; "" is the project's root

	run      string
	start    *runtime.RunStart
	began    time.Time
	cases    []*reportCase // the announced ones, in the plan's order, then others
	byWho    map[instance]*reportCase
	findings []finding
	tally    tally
	end      *runtime.Event // RunEnded; nil where it never came
	refused  error          // why the run did not begin, or broke off
	code     int            // the exit code
}

// A reportCase is a step on one host, or a check.
type reportCase struct {
	who      instance
	doc      string
	ops      []runtime.Event // OpEnded, in the order in which they ended
	logs     []string
	findings []finding
	doubts   int // that a dry run has of it
	begun    bool
	end      *runtime.Event // StepEnded; nil where it never came
}

func newReport(file string, strict bool) *report {
	return &report{file: file, strict: strict, byWho: map[instance]*reportCase{}}
}

// Read implements reader.
func (r *report) Read(e runtime.Event) {
	r.run = e.Run
	r.tally.Read(e)
	switch e.Kind {
	case runtime.RunStarted, runtime.RunResumed:
		r.begin(e)
		return
	case runtime.RunEnded:
		r.end = &e
		return
	}
	if e.Step == "" {
		return
	}
	c := r.of(instanceOf(e), "")
	c.begun = true
	switch e.Kind {
	case runtime.Logged:
		c.logs = append(c.logs, printable(e.Text))
	case runtime.OpEnded:
		if e.Op != nil {
			c.ops = append(c.ops, e)
		}
	case runtime.Doubted:
		c.doubts++
	case runtime.StepEnded, runtime.StepRestored:
		c.end = &e
	}
	if f, found := findingOf(e, r.dryRun()); found {
		c.findings = append(c.findings, f)
		r.findings = append(r.findings, f)
	}
}

// Close implements reader.
func (r *report) Close() {}

func (r *report) begin(e runtime.Event) {
	r.start, r.began = e.Start, e.Time
	if e.Start == nil {
		return
	}
	for _, s := range e.Start.Steps {
		if !s.FansOut() {
			r.of(instance{step: s.Name}, s.Doc)
		}
		for _, h := range s.Each {
			r.of(instance{step: s.Name, host: h.Name}, s.Doc)
		}
	}
	for _, c := range e.Start.Checks {
		who := instance{step: c.Name, check: true}
		if c.Host != nil {
			who.host = c.Host.Name
		}
		r.of(who, c.Doc)
	}
}

// of is the case of an instance, made when it is not there yet.
func (r *report) of(who instance, doc string) *reportCase {
	if c := r.byWho[who]; c != nil {
		return c
	}
	c := &reportCase{who: who, doc: doc}
	r.cases = append(r.cases, c)
	r.byWho[who] = c
	return c
}

func (r *report) dryRun() bool { return r.start != nil && r.start.DryRun }

// undoes is what the run takes back; nil where it takes nothing back.
func (r *report) undoes() *runtime.Undo {
	if r.start == nil || r.start.Plan == nil {
		return nil
	}
	return r.start.Plan.Undoes
}

// plan is the plan's file as people know it.
func (r *report) plan() string {
	if r.start != nil {
		return r.start.File
	}
	return r.file
}

// title is the headline of a report: what was done with which plan.
func (r *report) title() string {
	switch {
	case r.start == nil:
		return "infra run " + oneLine(r.plan())
	case r.dryRun():
		return "dry run of " + oneLine(r.plan())
	}
	return "run of " + oneLine(r.plan())
}

// summary is how it went, in one line.
func (r *report) summary() string {
	switch {
	case r.end != nil:
		return summaryOf(*r.end, r.dryRun())
	case r.refused != nil && r.start == nil:
		if n := len(r.problems()); n > 1 {
			return "not begun: " + count(n, "problem")
		}
		return "not begun: " + oneLine(r.problems()[0].msg)
	case r.refused != nil:
		return "broken off: " + oneLine(detailsOf(r.refused).msg)
	}
	return "broken off"
}

// problems is why the run did not begin, each reason with its place.
func (r *report) problems() []details {
	if r.refused == nil {
		return nil
	}
	var problems runtime.Problems
	if !errors.As(r.refused, &problems) {
		return []details{detailsOf(r.refused)}
	}
	var out []details
	for _, p := range problems {
		out = append(out, details{pos: p.Pos, source: p.Source, msg: p.Msg, hint: p.Hint, trace: p.Trace})
	}
	return out
}

// fileOf is a plan file's path as CI knows it: from its checkout.
func (r *report) fileOf(name string) string {
	if r.workspace == "" || r.root == "" || name == "" {
		return name
	}
	rel, err := filepath.Rel(resolved(r.workspace), filepath.Join(resolved(r.root), name))
	if err != nil || !filepath.IsLocal(rel) {
		return name
	}
	return filepath.ToSlash(rel)
}

// located is a position with its file as CI knows it.
func (r *report) located(pos syntax.Position) syntax.Position {
	if !pos.IsValid() {
		return pos
	}
	file := r.fileOf(pos.Filename())
	return syntax.MakePosition(&file, pos.Line, pos.Col)
}

// resolved is path without links, so that two ways to a folder are the same.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return path
}

// status is how a case ended. What never ended was cut off, and what never
// began was not come to: a run that fails leaves the checks out.
func (c *reportCase) status() runtime.Status {
	switch {
	case c.end != nil:
		return c.end.Status
	case c.begun:
		return runtime.Interrupted
	}
	return runtime.Skipped
}

// reason is why it ended so, with its lines; "" where all is well.
func (c *reportCase) reason() details {
	switch {
	case c.end == nil && c.begun:
		return details{msg: "it did not end"}
	case c.end == nil:
		return details{msg: "not begun"}
	}
	if c.end.Err == nil {
		return details{pos: c.end.Pos, msg: c.end.Text}
	}
	d := detailsOf(c.end.Err)
	if !d.pos.IsValid() {
		d.pos = c.end.Pos
	}
	return d
}

// verdicts counts what a dry run foresaw; a doubt is an unknown too.
func (c *reportCase) verdicts() map[runtime.Verdict]int {
	by := map[runtime.Verdict]int{runtime.NotKnown: c.doubts}
	for _, e := range c.ops {
		if p := e.Op.Prediction; p != nil {
			by[p.Verdict]++
		}
	}
	return by
}

package main

import (
	"fmt"
	"html"
	"os"
	"slices"
	"strings"

	"infra/runtime"
)

// maxSummary is what GitHub takes as the summary of a job's step; of a larger
// one it shows nothing. Some of it is left for what ends a summary.
const maxSummary = 1<<20 - 1024

// appendSummary adds a report to the file in which GitHub collects the
// summary of a job's step.
func appendSummary(path string, r *report) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write the job's summary: %w", err)
	}
	defer f.Close()
	room := maxSummary
	if info, err := f.Stat(); err == nil {
		room -= int(min(info.Size(), maxSummary))
	}
	if _, err := f.WriteString(markdown(r, room)); err != nil {
		return fmt.Errorf("write the job's summary: %w", err)
	}
	return nil
}

// markdown lays a report out for GitHub in at most room bytes, and says so
// where that is too little. What must not be missed comes first.
func markdown(r *report, room int) string {
	p := &page{room: room}
	p.add("### " + mdText(r.title()) + titleOf(r) + "\n\n" + "**" + mdText(r.summary()) + "**" + "\n\n")
	p.problems(r)
	findings := merged(r.findings)
	for _, part := range []struct {
		kind    findingKind
		heading string
	}{{failure, "Failed"}, {destroys, "Destroys"}, {unknown, "Unknown"}, {warning, "Warnings"}} {
		p.findings(r, part.heading, ofKind(findings, part.kind))
	}
	p.notStarted(r)
	p.next(r)
	p.table(r)
	p.steps(r)
	if p.cut {
		p.b.WriteString("\n*This is cut: GitHub takes at most 1 MiB of a step's summary. The job's log has it all.*\n")
	}
	return p.b.String() + "\n"
}

func titleOf(r *report) string {
	if r.start == nil || r.start.Plan == nil || r.start.Plan.Title == "" {
		return ""
	}
	return ": " + mdText(oneLine(r.start.Plan.Title))
}

// A page is Markdown that grows up to a limit, in parts that are whole.
type page struct {
	b    strings.Builder
	room int
	cut  bool // a part did not fit, and nothing follows it
}

// maxTail is what is kept for closing what is open, and for saying that it is
// cut.
const maxTail = 256

// add adds a part, or nothing more from then on.
func (p *page) add(part string) bool {
	if p.cut || p.b.Len()+len(part)+maxTail > p.room {
		p.cut = true
		return false
	}
	p.b.WriteString(part)
	return true
}

// problems are why the plan did not run, each with its line.
func (p *page) problems(r *report) {
	for _, d := range r.problems() {
		part := "- " + mdLines(d.msg)
		if d.pos.IsValid() {
			part += " (" + mdCode(lineOf(r.located(d.pos))) + ")"
		}
		part += "\n" + indentLines(fenced("", snippet(d.pos, printable(d.source), false)), "  ")
		if d.hint != "" {
			part += "  hint: " + mdLines(d.hint) + "\n"
		}
		p.add(part)
	}
	if r.refused != nil {
		p.add("\n")
	}
}

// maxFindings bounds each list of findings: the steps below it have them all.
const maxFindings = 50

func (p *page) findings(r *report, heading string, list []finding) {
	if len(list) == 0 {
		return
	}
	p.add("**" + heading + "**\n\n")
	for i, f := range list {
		if i == maxFindings {
			p.add(fmt.Sprintf("- and %d more\n", len(list)-i))
			break
		}
		f.pos = r.located(f.pos)
		part := "- " + mdCode(f.subject())
		if f.msg != "" {
			part += " " + mdLines(shortened(f.msg, maxMessage))
		}
		if where := f.where(); where != "" {
			part += " (" + mdText(where) + ")"
		}
		if f.hint != "" {
			part += "<br>hint: " + mdLines(f.hint)
		}
		p.add(part + "\n")
	}
	p.add("\n")
}

// notStarted is what a run left out and why, and what an undo leaves.
func (p *page) notStarted(r *report) {
	if r.dryRun() {
		return
	}
	if rows := r.tally.of(runtime.Skipped); len(rows) > 0 {
		p.add("**Skipped**\n\n")
		for i, row := range rows {
			if i == maxFindings {
				p.add(fmt.Sprintf("- and %d more\n", len(rows)-i))
				break
			}
			p.add("- " + mdCode(row.subject()) + " " + mdText(row.reason()) + "\n")
		}
		p.add("\n")
	}
	if u := r.undoes(); u != nil && len(u.Left) > 0 {
		p.add("**Not taken back**\n\n")
		for _, line := range leftLines(u) {
			p.add("- " + mdLines(line) + "\n")
		}
		p.add("\n")
	}
}

// next is what can be done about a run that did not end well.
func (p *page) next(r *report) {
	if r.dryRun() || r.end == nil || r.end.Status == runtime.OK {
		return
	}
	part := ""
	for _, a := range r.tally.next() {
		part += "- " + mdCode(a.command) + " " + mdText(a.does) + "\n"
	}
	if part != "" {
		p.add("**Next**\n\n" + part + "\n")
	}
}

// A tableRow is a step with those hosts on which it went the same.
type tableRow struct {
	who   instance // without its host
	hosts []string
	cells string // the other columns
}

// maxRows bounds the table of steps.
const maxRows = 200

// table is the steps and checks with their hosts, and how many operations of
// each verdict there are.
func (p *page) table(r *report) {
	if len(r.cases) == 0 {
		return
	}
	head := "| step | host | result | operations | changes |\n|---|---|---|--:|--:|\n"
	if r.dryRun() {
		head = "| step | host | result | destroy | change | no change | unknown |\n|---|---|---|--:|--:|--:|--:|\n"
	}
	p.add(head)
	rows := r.rows()
	for i, row := range rows {
		if i == maxRows {
			p.add(fmt.Sprintf("\nand %d more rows\n", len(rows)-i))
			break
		}
		p.add("| " + mdText(row.who.title()) + " | " + mdText(someOf(row.hosts)) + " | " + row.cells + "\n")
	}
	p.add("\n")
}

func (r *report) rows() []*tableRow {
	var rows []*tableRow
	byKey := map[string]*tableRow{}
	for _, c := range r.cases {
		who := c.who
		who.host = ""
		cells := c.cells(r.dryRun())
		key := fmt.Sprintf("%t %s\x00%s", who.check, who.step, cells)
		row := byKey[key]
		if row == nil {
			row = &tableRow{who: who, cells: cells}
			byKey[key] = row
			rows = append(rows, row)
		}
		if c.who.host != "" {
			row.hosts = append(row.hosts, c.who.host)
		}
	}
	return rows
}

// cells are a case's columns behind its host.
func (c *reportCase) cells(dryRun bool) string {
	result := icon(c.status()) + " " + string(c.status())
	if !dryRun {
		changed := 0
		for _, e := range c.ops {
			if e.Op.Changed {
				changed++
			}
		}
		return fmt.Sprintf("%s | %d | %d |", result, len(c.ops), changed)
	}
	by := c.verdicts()
	for _, v := range verdictOrder {
		if n := by[v]; n > 0 && v == runtime.WillDestroy {
			result += fmt.Sprintf(" | **%d**", n)
		} else {
			result += fmt.Sprintf(" | %d", n)
		}
	}
	return result + " |"
}

// steps are the steps with their operations, each folded.
func (p *page) steps(r *report) {
	for i, c := range r.cases {
		body := c.operations(r)
		first := i == 0 || r.cases[i-1].who.step != c.who.step || r.cases[i-1].who.check != c.who.check
		if body == "" || p.cut {
			continue
		}
		title := html.EscapeString(c.who.title())
		if first && c.doc != "" {
			title += ": " + html.EscapeString(oneLine(c.doc))
		}
		p.add("<details><summary>" + title + "</summary>\n\n" + strings.TrimLeft(body, "\n") + "\n</details>\n")
	}
}

// operations are a case's operations: what is destroyed, what is not known,
// then the others in their order. Those that only look are counted.
func (c *reportCase) operations(r *report) string {
	var b strings.Builder
	reads := 0
	ops := slices.Clone(c.ops)
	slices.SortStableFunc(ops, func(x, y runtime.Event) int { return urgency(x) - urgency(y) })
	for _, e := range ops {
		if e.Op.Op.Effect == runtime.Read && e.Op.Prediction == nil && e.Status == runtime.OK {
			reads++
			continue
		}
		b.WriteString(operation(r, e))
	}
	if reads > 0 {
		fmt.Fprintf(&b, "- %s\n", count(reads, "read"))
	}
	if len(c.logs) > 0 {
		b.WriteString("\n" + fenced("", bounded(strings.Join(c.logs, "\n"))))
	}
	return b.String()
}

// urgency is the order in which a reviewer wants to see operations.
func urgency(e runtime.Event) int {
	switch p := e.Op.Prediction; {
	case p != nil && p.Verdict == runtime.WillDestroy:
		return 0
	case p != nil && p.Verdict == runtime.NotKnown:
		return 1
	}
	return 2
}

// operation is one operation of a list, with the diff that a dry run foresees.
func operation(r *report, e runtime.Event) string {
	op, detail := e.Op.Op, ""
	word := string(e.Status)
	if p := e.Op.Prediction; p != nil && e.Status == runtime.OK {
		word, detail = p.Verdict.String(), strings.TrimRight(printable(p.Detail), "\n")
	} else if e.Op.Changed {
		word = "changed"
	}
	line := "- **" + word + "** " + mdCode(strings.TrimSpace(op.Name+" "+op.Host))
	shown := strings.TrimSpace(printable(op.Show))
	if shown != "" && !strings.Contains(shown, "\n") {
		line += " " + mdCode(shortened(shown, maxMessage))
		shown = ""
	}
	if note := noteOf(e); note != "" {
		line += " (" + mdText(note) + ")"
	}
	if op.Pos.IsValid() {
		line += " " + mdText(lineOf(r.located(op.Pos)))
	}
	line += "\n" + indentLines(fenced("", bounded(shown)), "  ")
	language := ""
	if strings.HasPrefix(detail, "--- ") {
		language = "diff"
	}
	return line + indentLines(fenced(language, bounded(detail)), "  ")
}

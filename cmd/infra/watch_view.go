package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"infra/runtime"
)

// A watchView is what the screen of infra watch is made of.
type watchView struct {
	palette
	plans    []*watchedPlan
	full     bool   // everything, not only what differs
	choosing string // what a plan is to be chosen for; "" for nothing
	note     string // what keeps infra from watching as it should
	now      time.Time
}

// A part of the screen is about one plan. What has no room is left out of its body.
type part struct {
	head, body, foot []string
	ended            time.Time
}

// frame is the screen, line by line, for a terminal of this size.
func (v *watchView) frame(width, height int) []string {
	var parts []*part
	for i, p := range v.plans {
		pt := v.part(i, p)
		pt.body, pt.foot = wrapped(pt.body, width-1), wrapped(pt.foot, width-1)
		parts = append(parts, pt)
	}
	below := []string{""}
	if v.note != "" {
		below = append(below, v.change("warning: ")+oneLine(v.note))
	}
	below = append(below, v.keys())
	room := height - 1 - len(below)
	if room < 2 {
		below = below[len(below)-1:]
		room = max(height-1-len(below), 0)
	}
	v.cut(parts, room)
	var lines []string
	for i, pt := range parts {
		if i > 0 && len(pt.body) > 0 {
			lines = append(lines, "")
		}
		lines = slices.Concat(lines, pt.head, pt.body, pt.foot)
	}
	lines = fitted(lines, width, room)
	lines = append(lines[:min(len(lines), room)], fitted(below, width, height)...)
	for i, line := range lines {
		lines[i] = ansi.Truncate(strings.ReplaceAll(line, "\t", " "), width-1, "…")
	}
	return lines
}

// cut takes lines out of the bodies until all parts fit, first of what is oldest.
func (v *watchView) cut(parts []*part, room int) {
	over := -room
	for i, pt := range parts {
		over += len(pt.head) + len(pt.body) + len(pt.foot)
		if i > 0 && len(pt.body) > 0 {
			over++
		}
	}
	byAge := slices.Clone(parts)
	slices.SortStableFunc(byAge, func(a, b *part) int { return a.ended.Compare(b.ended) })
	for _, pt := range byAge {
		if n := len(pt.body); over > 0 && n > 1 {
			keep := max(n-over-1, 0)
			pt.body = append(pt.body[:keep:keep], v.dim(fmt.Sprintf("… %s more, for which the terminal is too low", count(n-keep, "line"))))
			over -= n - len(pt.body)
		}
	}
}

// wrapped breaks lines that are too long, but for those with a bar: under these a
// caret may stand.
func wrapped(lines []string, width int) []string {
	var out []string
	for _, line := range lines {
		line = strings.ReplaceAll(line, "\t", "    ")
		if width < 20 || ansi.StringWidth(line) <= width || strings.Contains(line, "|") {
			out = append(out, line)
			continue
		}
		out = append(out, strings.Split(ansi.Wrap(line, width, ""), "\n")...)
	}
	return out
}

// keys are what a person can press.
func (v *watchView) keys() string {
	if v.choosing != "" {
		return v.active(fmt.Sprintf("%s which plan? 1 to %d", v.choosing, len(v.plans))) + v.dim("  any other key: none")
	}
	full, edit := "f all", "e edit"
	if v.full {
		full = "f what differs"
	}
	if slices.ContainsFunc(v.plans, func(p *watchedPlan) bool { return p.last != nil && p.last.err != nil }) {
		edit = "e edit the error"
	}
	return v.dim(strings.Join([]string{"r run", full, edit, "p preview again", "q quit"}, "  "))
}

// part shows one plan.
func (v *watchView) part(i int, p *watchedPlan) *part {
	pt := &part{}
	name := p.file
	if v.choosing != "" {
		name = fmt.Sprintf("%d  %s", i+1, name)
	}
	title := ""
	if shown := cmp.Or(p.good, p.last); shown != nil && shown.title != "" {
		title = ": " + oneLine(shown.title)
	}
	pt.head = []string{v.bold(name) + v.dim(title)}
	if re := p.last; re != nil {
		pt.ended = re.ended
		pt.head = append(pt.head, re.headline(v.palette))
		pt.body = lined(re.body(v.palette, v.full, p.good))
		pt.foot = lined(re.outcome.text(v.palette) + re.foot(v.palette, p.good))
	}
	if re := p.running; re != nil && (p.last == nil || v.now.Sub(re.began) >= slow) {
		pt.foot = append(pt.foot, v.active("previewing for "+elapsed(v.now.Sub(re.began))+": ")+re.activity())
	}
	return pt
}

// lined are the lines of a text.
func lined(text string) []string {
	if text = strings.TrimRight(text, "\n"); text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// headline is what a reload was made for, and what came of it.
func (re *reload) headline(p palette) string {
	line := p.dim(re.ended.Local().Format(time.TimeOnly)) + "  "
	switch {
	case len(re.changed) > 0:
		line += "after " + changedFiles(re.changed) + ": "
	case re.why != "":
		line += re.why + ": "
	}
	switch {
	case re.status() == notRead:
		line += p.bad("it cannot be read")
	case !re.isGood():
		line += p.bad("the preview failed")
	case re.since.IsZero():
		line += "previewed"
	case len(re.differences) == 0:
		line += p.good("nothing differs")
	default:
		line += differsBy(re.differences)
	}
	if re.mended {
		line += " since " + re.since.Local().Format(time.TimeOnly)
	}
	return line + p.dim(" ("+short(re.took())+")")
}

// changedFiles names a few files.
func changedFiles(names []string) string {
	const few = 3
	if len(names) > few {
		return strings.Join(names[:few-1], ", ") + fmt.Sprintf(" and %d more", len(names)-few+1)
	}
	return strings.Join(names, ", ")
}

// short is a duration in milliseconds where it is less than a second.
func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return elapsed(d)
}

// body is what a reload shows: what is wrong, else what differs, or everything. good is
// the last good one.
func (re *reload) body(p palette, full bool, good *reload) string {
	var b strings.Builder
	if !re.isGood() {
		b.WriteString(re.wrong(p))
	}
	switch {
	case re.err == nil && (full || re.since.IsZero() && (good == re || good == nil)):
		text := re.text(p)
		if !re.isGood() {
			return text // which tells what is wrong, at its place
		}
		b.WriteString(text)
	case full && good != nil && good != re:
		b.WriteString("\n" + good.text(p))
	case re.err == nil && (good == nil || re.isGood() || !good.isGood()):
		w := newWords(p, true)
		for _, e := range re.said {
			b.WriteString(w.line(e))
		}
		b.WriteString(re.differenceText(&w))
	}
	return b.String()
}

// foot is the last good preview in one line.
func (re *reload) foot(p palette, good *reload) string {
	if good == nil {
		return ""
	}
	w := newWords(p, true)
	line := strings.TrimSuffix(w.dryLine(good.totals), "; nothing was changed") // that goes without saying
	switch {
	case good == re:
		return line
	case good.isGood():
		return p.dim("the last good preview, of "+good.ended.Local().Format(time.TimeOnly)+": ") + line
	}
	return p.dim("the preview of "+good.ended.Local().Format(time.TimeOnly)+": ") + line
}

// text is the whole preview as infra run --dry-run shows it, but for its last line.
func (re *reload) text(p palette) string {
	var b strings.Builder
	w := newWords(p, false)
	for _, e := range re.events {
		b.WriteString(w.tell(e))
	}
	text := b.String()
	if !re.whole {
		return text
	}
	return text[:strings.LastIndexByte(strings.TrimSuffix(text, "\n"), '\n')+1]
}

// wrong tells what is wrong with a plan, or failed.
func (re *reload) wrong(p palette) string {
	var b strings.Builder
	var problems runtime.Problems
	switch {
	case errors.As(re.err, &problems):
		printProblems(&b, problems, bool(p))
	case re.err != nil:
		printFailure(&b, "", re.err, nil, bool(p))
	}
	if re.err == nil {
		w := newWords(p, true)
		for _, e := range re.failures() {
			b.WriteString(w.ended(instanceOf(e), e))
		}
	}
	return b.String()
}

package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"infra/runtime"
)

// view draws a tree into at most height lines of at most width columns.
func view(s *treeState, width, height int, p palette) string {
	v := viewer{s, p, max(width, 10), min(s.label, max(8, width*2/5))}
	lines := v.fit(max(height-1, 0))
	if !s.ended && height > 0 {
		lines = append(lines, v.footer())
	}
	return strings.Join(lines, "\n")
}

// A viewer draws one view.
type viewer struct {
	*treeState
	palette
	width int
	label int // the column of names, which hides the state's own
}

// phase sorts rows for the case that not all have room.
func (r *treeRow) phase() phase {
	switch {
	case r.status != "":
		return finished
	case r.began.IsZero():
		return waiting
	}
	return active
}

type phase int

const (
	finished phase = iota
	active
	waiting
)

// A treeLine is a row, or one of its hosts; it is drawn only when it has room.
type treeLine struct {
	row  *treeRow
	in   *treeInstance // nil: the row itself
	part *treePart     // of what the row, or the host, does; nil: these themselves
}

// lines are all lines of the tree, in the plan's order; with parts, also what
// running operations work on.
func (v viewer) lines(parts bool) []treeLine {
	var out []treeLine
	for _, r := range v.rows {
		out = append(out, treeLine{row: r})
		for _, in := range r.running {
			if r.total > 0 {
				out = append(out, treeLine{row: r, in: in})
			}
			for k := range in.ops {
				if parts {
					out = v.parts(out, treeLine{row: r, in: in}, in.ops[k])
				}
			}
		}
		if v.ended && r.total > 0 {
			for _, in := range r.notOK {
				out = append(out, treeLine{row: r, in: in})
			}
		}
	}
	return out
}

// parts adds the lines of an operation's parts to out.
func (v viewer) parts(out []treeLine, under treeLine, o *treeOp) []treeLine {
	for n := range o.parts {
		if under.part = &o.parts[n]; !under.part.past(v.now) {
			out = append(out, under)
		}
	}
	return out
}

// fit draws the lines for which there is room, and counts the others: what
// runs goes before what waits and what ended, what failed before what ended
// well.
func (v viewer) fit(height int) []string {
	if all := v.lines(true); len(all) <= height {
		return v.draw(all)
	}
	all := v.lines(false)
	if len(all) <= height {
		return v.draw(all)
	}
	by := map[phase][]treeLine{}
	for _, l := range all {
		by[l.row.phase()] = append(by[l.row.phase()], l)
	}
	room := height
	for _, ls := range by {
		if len(ls) > 0 {
			room-- // for its count
		}
	}
	room = max(room, 0)
	keep := map[treeLine]bool{}
	choose(keep, by[active], room)
	room -= min(room, len(by[active]))
	next := min(len(by[waiting]), room/3)
	choose(keep, latest(by[finished]), room-next)
	choose(keep, by[waiting], max(next, room-len(by[finished])))

	hidden := map[phase][]treeLine{}
	shown := slices.DeleteFunc(all, func(l treeLine) bool {
		if !keep[l] {
			hidden[l.row.phase()] = append(hidden[l.row.phase()], l)
		}
		return !keep[l]
	})
	lines := slices.Concat(v.endedCount(hidden[finished]), v.draw(shown), v.more(hidden[active], "running"), v.more(hidden[waiting], "waiting"))
	return lines[:min(len(lines), height)]
}

// choose keeps the first n of ls.
func choose(keep map[treeLine]bool, ls []treeLine, n int) {
	for _, l := range ls[:max(0, min(n, len(ls)))] {
		keep[l] = true
	}
}

// latest orders what ended: first what did not end well, then the latest.
func latest(ls []treeLine) []treeLine {
	ls = slices.Clone(ls)
	slices.Reverse(ls)
	slices.SortStableFunc(ls, func(a, b treeLine) int { return rank(a) - rank(b) })
	return ls
}

func rank(l treeLine) int {
	st := l.row.status
	if l.in != nil {
		st = l.in.status
	}
	switch st {
	case runtime.OK, runtime.Skipped:
		return 1
	}
	return 0
}

// endedCount is the line that stands for what ended and has no room.
func (v viewer) endedCount(ls []treeLine) []string {
	if len(ls) == 0 {
		return nil
	}
	counts := map[runtime.Status]int{}
	for _, l := range ls {
		if l.in == nil {
			counts[l.row.status]++
		}
	}
	var parts []string
	for _, st := range statusOrder {
		if n := counts[st]; n > 0 {
			parts = append(parts, v.status(st, fmt.Sprintf("%s %d %s", icon(st), n, st)))
		}
	}
	return []string{v.cut("… " + strings.Join(parts, "  "))}
}

func (v viewer) more(ls []treeLine, what string) []string {
	if len(ls) == 0 {
		return nil
	}
	return []string{v.cut(v.dim(fmt.Sprintf("… %d more %s", len(ls), what)))}
}

func (v viewer) draw(ls []treeLine) []string {
	out := make([]string, len(ls))
	for i, l := range ls {
		switch {
		case l.part != nil:
			out[i] = v.cut(v.part(l.row, l.part))
		case l.in != nil:
			out[i] = v.cut(v.instance(l.in))
		default:
			out[i] = v.cut(v.step(l.row))
		}
	}
	return out
}

func (v viewer) step(r *treeRow) string {
	name := v.column(r.name, v.label)
	switch r.phase() {
	case waiting:
		return v.dim("· " + strings.TrimRight(name, " "))
	case finished:
		return v.status(r.status, icon(r.status)) + " " + name + "  " + v.time(r.took) + "  " + v.outcome(r)
	}
	line := v.active(spinner(v.now)) + " " + name + "  " + v.time(v.now.Sub(r.began)) + "  "
	if r.total > 0 {
		return line + v.hosts(r)
	}
	if len(r.running) == 0 {
		return line
	}
	return line + v.doing(r.running[0], v.width-1-ansi.StringWidth(line))
}

// instance is a host's line under its step.
func (v viewer) instance(in *treeInstance) string {
	host := v.column(in.host, v.label-2)
	if in.status != "" {
		return "  " + v.status(in.status, icon(in.status)) + " " + host + "  " + v.time(in.took) + "  " + v.dim(in.why)
	}
	line := "  " + v.active(spinner(v.now)) + " " + host + "  " + v.time(v.now.Sub(in.began)) + "  "
	return line + v.doing(in, v.width-1-ansi.StringWidth(line))
}

// part is the line of a part under its step, or its host.
func (v viewer) part(r *treeRow, p *treePart) string {
	indent := "  "
	if r.total > 0 {
		indent = "    "
	}
	took := v.now.Sub(p.began)
	if p.Over {
		took = p.ended.Sub(p.began)
	}
	return indent + v.time(took) + "  " + oneLine(p.Name) + "  " + v.dim(oneLine(joinParts([]string{p.Does, p.Detail}, ", ")))
}

// hosts is how far a fan-out is.
func (v viewer) hosts(r *treeRow) string {
	text := fmt.Sprintf("%d/%d hosts", r.endedHosts(), r.total)
	for _, st := range statusOrder {
		if n := r.counts[st]; n > 0 && st != runtime.OK {
			text += ", " + v.status(st, fmt.Sprintf("%d %s", n, st))
		}
	}
	return text
}

// outcome is how a row ended, where the icon does not say it all.
func (v viewer) outcome(r *treeRow) string {
	if r.total > 0 {
		return v.hosts(r)
	}
	text := r.why
	if r.status != runtime.OK {
		text = joinParts([]string{string(r.status), r.why}, ": ")
	}
	return v.dim(text)
}

// storeFolder matches the part of a path of nix's store that tells people nothing: the
// name is what there should be room for. The log has the whole.
var storeFolder = regexp.MustCompile(`/nix/store/[0-9a-z]{32}-`)

// doing is an instance's operation, and what it printed last, in room columns.
func (v viewer) doing(in *treeInstance, room int) string {
	if in.waits != "" {
		return v.active("waiting: ") + in.waits
	}
	if len(in.ops) == 0 {
		return ""
	}
	o, behind := in.at()
	text := o.op.Name
	if o.op.Host != in.host {
		text = strings.TrimSpace(text + " " + o.op.Host)
	}
	text = strings.TrimSpace(text + " " + storeFolder.ReplaceAllString(oneLine(o.op.Show), "…-"))
	last := oneLine(o.last)
	if o.of > 0 {
		last = fmt.Sprintf("%d of %d", o.nth, o.of)
	} else if o.sum != "" {
		last = oneLine(o.sum)
	}
	if behind > 0 && room >= 30 {
		text += v.dim(fmt.Sprintf(" (+%d)", behind))
	}
	if last == "" || room < 30 {
		return text
	}
	text = ansi.Truncate(text, max(room*3/5, room-3-ansi.StringWidth(last)), "…")
	return text + v.dim(" › "+last)
}

func (v viewer) footer() string {
	if v.waits != "" {
		return v.cut(v.active(spinner(v.now)+" waiting: ") + v.waits)
	}
	done := 0
	for _, r := range v.rows {
		if r.status != "" {
			done++
		}
	}
	parts := []string{fmt.Sprintf("%d/%d", done, len(v.rows)), count(v.ops, "operation")}
	if v.changed > 0 {
		parts = append(parts, count(v.changed, "change"))
	}
	return v.cut(v.dim(strings.Join(append(parts, elapsed(v.now.Sub(v.began))), " · ")))
}

// column cuts or fills a name to a width.
func (v viewer) column(s string, width int) string {
	return padRight(ansi.Truncate(s, width, "…"), width)
}

// cut leaves the last column free: a full line would wrap on some terminals.
func (v viewer) cut(line string) string {
	return strings.TrimRight(ansi.Truncate(line, v.width-1, "…"), " ")
}

// time is a right-aligned duration.
func (v viewer) time(d time.Duration) string { return v.dim(fmt.Sprintf("%6s", elapsed(max(d, 0)))) }

func icon(st runtime.Status) string {
	switch st {
	case runtime.OK:
		return "✓"
	case runtime.Failed:
		return "✗"
	case runtime.Warned, runtime.Held, runtime.Interrupted:
		return "!"
	case runtime.Stopped:
		return "?"
	}
	return "-"
}

var spinnerFrames = [...]string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

func spinner(now time.Time) string {
	return spinnerFrames[now.UnixMilli()/int64(drawEvery/time.Millisecond)%int64(len(spinnerFrames))]
}

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"infra/runtime"
)

// A tally is how the steps and checks of a run ended, for what must be said
// when it is over: what failed, what was left out and why, what to do next. What
// went the same way on several hosts is one row.
type tally struct {
	start   *runtime.RunStart
	run     string
	rows    []*tallyRow
	at      map[string]*tallyRow
	ok      map[string]int // of each step, how often it ended well
	stopped bool           // it was asked to stop
}

// A tallyRow is what did not end well in one way.
type tallyRow struct {
	who    instance // without its host
	status runtime.Status
	hosts  []string
	why    string
	cause  string   // of what was not started: the step that it began with, which why is about
	causes []string // on these hosts
	where  string   // its line in the plan
}

// Read implements reader.
func (t *tally) Read(e runtime.Event) {
	switch e.Kind {
	case runtime.RunStarted, runtime.RunResumed:
		*t = tally{start: e.Start, run: e.Run, at: map[string]*tallyRow{}, ok: map[string]int{}}
	case runtime.Stopping:
		t.stopped = true
	case runtime.StepRestored:
		t.ok[e.Step]++
	case runtime.StepEnded:
		if e.Status == runtime.OK && !e.Check {
			t.ok[e.Step]++
		}
		if e.Status != runtime.OK && e.Status != runtime.Warned && t.at != nil {
			t.add(e)
		}
	}
}

func (t *tally) add(e runtime.Event) {
	row := &tallyRow{who: instance{step: e.Step, check: e.Check}, status: e.Status, why: firstWords(e)}
	var skipped *runtime.SkippedError
	if errors.As(e.Err, &skipped) {
		row.cause, row.why = instance{step: skipped.Step}.title(), past(skipped.Ended)
	} else if d := placedDetails(e); d.pos.IsValid() {
		row.where = lineOf(d.pos)
	}
	row.why = shortened(row.why, maxReason)
	key := row.why
	if e.Host != "" {
		key = strings.ReplaceAll(key, e.Host, "\x00")
	}
	key = fmt.Sprintf("%v\x00%s\x00%s\x00%s\x00%s", row.who, row.status, row.where, row.cause, key)
	if t.at[key] == nil {
		t.at[key] = row
		t.rows = append(t.rows, row)
	}
	row = t.at[key]
	if e.Host != "" {
		row.hosts = append(row.hosts, e.Host)
	}
	if skipped != nil && skipped.Host != "" && !slices.Contains(row.causes, skipped.Host) {
		row.causes = append(row.causes, skipped.Host)
	}
}

// reason is why it did not end well.
func (r *tallyRow) reason() string {
	switch {
	case r.cause == "":
		return r.why
	case len(r.causes) == 0:
		return r.cause + " " + r.why
	}
	return r.cause + " on " + someOf(r.causes) + " " + r.why
}

// firstWords are why something did not end well, in one line: what infra says,
// and what a tool said first where infra quotes it.
func firstWords(e runtime.Event) string {
	if e.Err == nil {
		return reasonOf(e)
	}
	first, quoted, _ := strings.Cut(strings.TrimSpace(detailsOf(e.Err).msg), "\n")
	if strings.HasSuffix(first, ":") && quoted != "" {
		said, _, _ := strings.Cut(strings.TrimSpace(quoted), "\n")
		first += " " + said
	}
	return oneLine(strings.TrimPrefix(first, string(e.Status)+": "))
}

// maxReason bounds a reason in a list: the whole of it was shown when it came.
const maxReason = 240

// past is a status behind a name: "switch failed", "wipe was held".
func past(st runtime.Status) string {
	if st == runtime.Failed {
		return string(st)
	}
	return "was " + string(st)
}

// placedDetails are the details of why something did not end well, with its
// line in the plan.
func placedDetails(e runtime.Event) details {
	if e.Err == nil {
		return details{pos: e.Pos}
	}
	d := detailsOf(e.Err)
	if !d.pos.IsValid() {
		d.pos = e.Pos
	}
	return d
}

// of are the rows with a status, in the order in which they ended.
func (t *tally) of(st runtime.Status) []*tallyRow {
	var rows []*tallyRow
	for _, r := range t.rows {
		if r.status == st {
			rows = append(rows, r)
		}
	}
	return rows
}

// notOK is the order in which is told what did not end well.
var notOK = []runtime.Status{runtime.Failed, runtime.Held, runtime.Interrupted, runtime.Skipped}

// subject is the row's step with its hosts. Of what was not started they are
// only counted, where they are many.
func (r *tallyRow) subject() string {
	title := r.who.title()
	switch n := len(r.hosts); {
	case n == 0:
		return title
	case r.status == runtime.Skipped && n > 5:
		return title + " on " + count(n, "host")
	}
	return title + " on " + someOf(r.hosts)
}

// wentOn says on how many hosts the row's step ended well all the same.
func (t *tally) wentOn(r *tallyRow) string {
	if n := t.ok[r.who.step]; r.status == runtime.Failed && len(r.hosts) > 0 && !r.who.check && n > 0 {
		return "it is ok on " + count(n, "other host")
	}
	return ""
}

// An advice is a command, and what it is good for.
type advice struct{ command, does string }

// next is what can be done about a run that did not end well.
func (t *tally) next() []advice {
	if t.start == nil || t.start.Plan == nil || t.takenBack() {
		return nil
	}
	goOn := "goes on with what is left"
	if len(t.of(runtime.Failed)) > 0 {
		goOn = "goes on with what is left, once it is mended"
	}
	list := []advice{{"infra resume " + t.run, goOn}}
	if observes(t.start) {
		list = nil
	}
	if t.canUndo() {
		list = append(list, advice{"infra undo " + t.run, "takes back what was done"})
	}
	show := "infra log " + t.run
	for _, st := range notOK[:3] {
		if rows := t.of(st); len(rows) > 0 {
			show += " --step " + quoted(rows[0].who.step)
			break
		}
	}
	return append(list, advice{show, "shows what was done and printed"})
}

// quoted is a word as a shell takes it.
func quoted(word string) string {
	if strings.ContainsFunc(word, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.", r)
	}) {
		return "'" + strings.ReplaceAll(oneLine(word), "'", `'\''`) + "'"
	}
	return word
}

// takenBack says whether the run is taken back now, of itself.
func (t *tally) takenBack() bool {
	if !t.start.Plan.UndoOnFailure || t.stopped {
		return false
	}
	for _, r := range t.of(runtime.Failed) {
		if !r.who.check {
			return true
		}
	}
	return false
}

func (t *tally) canUndo() bool {
	for _, s := range t.start.Steps {
		if s.Undo != nil && t.ok[s.Name] > 0 {
			return t.start.Plan.Undoes == nil
		}
	}
	return false
}

// endings lists what did not end well, and says what to do next.
func (w *words) endings(status runtime.Status) string {
	t := &w.tally
	var b strings.Builder
	for _, st := range notOK {
		rows := t.of(st)
		if len(rows) == 0 {
			continue
		}
		b.WriteString(w.status(st, string(st)+":") + "\n")
		for _, r := range rows {
			line := joinParts([]string{w.bold(r.subject()), r.reason()}, ": ")
			if r.where != "" {
				line += w.dim(" (" + r.where + ")")
			}
			b.WriteString("  " + line + "\n")
			if on := t.wentOn(r); on != "" {
				b.WriteString("      " + w.dim(on) + "\n")
			}
		}
	}
	return b.String() + w.undone(status)
}

// undone says of a run that takes another one back whether it did, and what is
// left of that one.
func (w *words) undone(status runtime.Status) string {
	if w.tally.start == nil || w.tally.start.Plan == nil || w.tally.start.Plan.Undoes == nil {
		return ""
	}
	u := w.tally.start.Plan.Undoes
	var b strings.Builder
	left := leftLines(u)
	if len(left) > 0 {
		b.WriteString(w.bad("not taken back:") + "\n")
		for _, l := range left {
			b.WriteString("  " + printable(l) + "\n")
		}
		b.WriteString("  " + w.dim("infra log "+u.Run+" --step "+quoted(u.Left[0].Step)+" shows it") + "\n")
	}
	if w.previews != nil {
		return b.String()
	}
	switch {
	case status != runtime.OK:
		b.WriteString(w.bad("run " + u.Run + " is taken back in part"))
	case len(left) > 0:
		b.WriteString(w.change("run " + u.Run + " is taken back, but for that"))
	default:
		b.WriteString(w.good("run " + u.Run + " is taken back"))
	}
	return b.String() + "\n"
}

// nextLines are the advice for people.
func (w *words) nextLines(e runtime.Event) string {
	t := &w.tally
	if t.start != nil && t.start.Plan != nil && t.takenBack() {
		return `the plan says on_failure = "undo": what the run did is taken back now` + "\n" + w.dim("more: infra log "+e.Run) + "\n"
	}
	list := t.next()
	if e.Status == runtime.OK || len(list) == 0 {
		return w.dim("more: infra log "+e.Run) + "\n"
	}
	width := 0
	for _, a := range list {
		width = max(width, len(a.command))
	}
	var b strings.Builder
	b.WriteString(w.active("next:") + "\n")
	for _, a := range list {
		b.WriteString("  " + padRight(a.command, width) + "  " + w.dim(a.does) + "\n")
	}
	return b.String()
}

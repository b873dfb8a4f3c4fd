package main

import (
	"fmt"
	"strings"
	"time"

	"infra/runtime"
)

// end is the summary of a run, and why it failed where no step did.
func (w *words) end(e runtime.Event) string {
	var b strings.Builder
	if w.previews != nil {
		b.WriteString(w.previews.flush(w))
	}
	if e.Err != nil {
		printFailure(&b, "", e.Err, nil, bool(w.palette))
	}
	b.WriteString(w.summary(e))
	return b.String()
}

// summary tells in a few lines what a run did or would do.
func (w *words) summary(e runtime.Event) string {
	t := e.Totals
	if t == nil {
		t = new(runtime.Totals)
	}
	if w.previews != nil {
		return w.undone(e.Status) + w.drySummary(e, t)
	}
	return w.endings(e.Status) + w.runLine(e, t) + "\n" + w.nextLines(e)
}

// runLine is a run's outcome in one line.
func (w *words) runLine(e runtime.Event, t *runtime.Totals) string {
	parts := []string{w.statuses(t.Steps, "step"), w.statuses(t.Checks, "check"), w.changes(e.Status, t)}
	return w.status(e.Status, string(e.Status)) + " in " + elapsed(e.Took) + ": " + joinParts(parts, "; ")
}

// changes counts operations. Only a run that succeeded may claim that nothing
// changed: what failed half-way has not said what it did.
func (w *words) changes(st runtime.Status, t *runtime.Totals) string {
	ops := count(t.Ops, "operation")
	switch {
	case t.Changed > 0:
		return ops + ", " + w.change(count(t.Changed, "change"))
	case st == runtime.OK:
		return ops + ", " + w.good("no change")
	}
	return ops + ", no change completed"
}

// drySummary is a dry run's last lines: what a reviewer must not miss, and how
// many there are of each verdict.
func (w *words) drySummary(e runtime.Event, t *runtime.Totals) string {
	var b strings.Builder
	b.WriteString(w.listed(ofKind(w.findings, destroys), "destroys:"))
	if w.strict {
		b.WriteString(w.listed(ofKind(merged(w.findings), unknown), "unknown:"))
	}
	b.WriteString(w.dryLine(t) + w.dim(" ("+elapsed(e.Took)+")") + "\n")
	if n := notKnown(t); w.strict && n > 0 {
		b.WriteString(w.bad("strict:") + fmt.Sprintf(" %d unknown, and --strict wants all to be known\n", n))
	}
	return b.String()
}

// dryLine is a dry run's outcome in one line.
func (w *words) dryLine(t *runtime.Totals) string {
	line := w.verdicts(t.Verdicts)
	var not []string
	for _, st := range []runtime.Status{runtime.Failed, runtime.Stopped, runtime.Skipped, runtime.Held, runtime.Interrupted} {
		if n := t.Steps[st] + t.Checks[st]; n > 0 {
			not = append(not, fmt.Sprintf("%d %s", n, w.status(st, string(st))))
		}
	}
	if len(not) > 0 {
		line += "; not previewed to the end: " + strings.Join(not, ", ")
	}
	return line + "; nothing was changed"
}

// notKnown counts what --strict refuses: operations without a prediction,
// doubts, and steps that were not previewed to their end.
func notKnown(t *runtime.Totals) int {
	n := t.Verdicts[runtime.NotKnown]
	for _, st := range []runtime.Status{runtime.Stopped, runtime.Skipped} {
		n += t.Steps[st] + t.Checks[st]
	}
	return n
}

// listed is a list of findings under a heading, or "" where there are none.
func (w *words) listed(fs []finding, heading string) string {
	if len(fs) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(w.bold(heading) + "\n")
	for _, f := range fs {
		paint, sign := w.doubt, "?"
		if f.kind == destroys {
			paint, sign = w.bad, "!"
		}
		line := paint(sign+" "+f.subject()) + "  " + hang(f.msg, "      ")
		if where := f.where(); where != "" {
			line += w.dim("  (" + where + ")")
		}
		b.WriteString("  " + line + "\n")
		if f.hint != "" {
			b.WriteString("      " + w.active("hint:") + " " + hang(f.hint, "            ") + "\n")
		}
	}
	return b.String()
}

// summaryOf is the outcome of a run in one line, as RunEnded tells it.
func summaryOf(e runtime.Event, dryRun bool) string {
	w := newWords(false, true)
	t := e.Totals
	if t == nil {
		t = new(runtime.Totals)
	}
	if dryRun {
		return w.dryLine(t)
	}
	return w.runLine(e, t)
}

// statusOrder is the order in which statuses are counted out.
var statusOrder = []runtime.Status{runtime.OK, runtime.Failed, runtime.Warned, runtime.Held, runtime.Interrupted, runtime.Stopped, runtime.Skipped}

// statuses is "3 steps ok, 1 failed", or "" where there are none.
func (w *words) statuses(by map[runtime.Status]int, noun string) string {
	var parts []string
	for _, st := range statusOrder {
		n := by[st]
		switch {
		case n == 0:
		case len(parts) == 0:
			parts = append(parts, count(n, noun)+" "+w.status(st, string(st)))
		default:
			parts = append(parts, fmt.Sprintf("%d %s", n, w.status(st, string(st))))
		}
	}
	return strings.Join(parts, ", ")
}

// verdicts is "1 destroy, 4 changes, 2 no change, 0 unknown": all four, so that
// a reader sees which there are, and what is final first.
func (w *words) verdicts(by map[runtime.Verdict]int) string {
	if by[runtime.WillDestroy]+by[runtime.WillChange]+by[runtime.NotKnown] == 0 {
		return w.good("no change")
	}
	var parts []string
	for _, v := range verdictOrder {
		n, text := by[v], ""
		if v == runtime.WillDestroy || v == runtime.WillChange {
			text = count(n, v.String())
		} else {
			text = fmt.Sprintf("%d %s", n, v)
		}
		if _, paint := w.sign(v); n > 0 {
			text = paint(text)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// verdictOrder is the order in which verdicts are counted out.
var verdictOrder = []runtime.Verdict{runtime.WillDestroy, runtime.WillChange, runtime.NoChange, runtime.NotKnown}

// joinParts joins the parts that are not empty.
func joinParts(parts []string, sep string) string {
	var kept []string
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, sep)
}

// elapsed is a duration as people read it: 0.4s, 12.3s, 2m05s, 1h02m.
func elapsed(d time.Duration) string {
	if tenths := d.Round(100 * time.Millisecond); tenths < time.Minute {
		return fmt.Sprintf("%.1fs", tenths.Seconds())
	}
	s := int(d.Round(time.Second).Seconds())
	if s < 3600 {
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	}
	return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
}

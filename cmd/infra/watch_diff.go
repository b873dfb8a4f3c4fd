package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/rogpeppe/go-internal/diff"

	"infra/runtime"
	saved "infra/runtime/preview"
)

// differsBy counts differences: "2 added, 1 removed, 3 changed".
func differsBy(ds []saved.Difference) string {
	var added, removed, changed int
	for _, d := range ds {
		switch d.Kind {
		case saved.StepAdded:
			added += max(len(d.Operations), 1)
		case saved.StepRemoved:
			removed += max(len(d.Operations), 1)
		case saved.OperationAdded:
			added++
		case saved.OperationRemoved:
			removed++
		default:
			changed++
		}
	}
	var parts []string
	for _, part := range []struct {
		n    int
		word string
	}{{added, "added"}, {removed, "removed"}, {changed, "changed"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.word))
		}
	}
	return strings.Join(parts, ", ")
}

// differenceText shows what differs, step by step.
func (re *reload) differenceText(w *words) string {
	var b strings.Builder
	for i := 0; i < len(re.differences); {
		d := re.differences[i]
		end := i
		for end < len(re.differences) && re.differences[end].Step == d.Step && re.differences[end].Host == d.Host {
			end++
		}
		b.WriteString(re.differencesOf(w, instance{step: d.Step, host: d.Host}, re.differences[i:end]))
		i = end
	}
	return b.String()
}

// differencesOf shows what differs in one step.
func (re *reload) differencesOf(w *words, who instance, ds []saved.Difference) string {
	title := w.bold(who.title())
	switch ds[0].Kind {
	case saved.StepAdded:
		title = w.good("+ ") + title
	case saved.StepRemoved:
		title = w.bad("- ") + title
	}
	var rows []previewRow
	after := ""
	for _, d := range ds {
		switch d.Kind {
		case saved.StepEnds, saved.StepDoubted:
			if !re.isGood() && d.NowEnd.Status == string(runtime.Failed) {
				continue // which is shown above
			}
			after += re.endsOtherwise(w, who, d)
		case saved.StepAdded, saved.StepRemoved:
			for _, o := range d.Operations {
				rows = append(rows, w.oneSided(o, d.Kind == saved.StepAdded))
			}
			if d.Kind == saved.StepAdded {
				after += re.endsOtherwise(w, who, d)
			}
		case saved.OperationAdded:
			rows = append(rows, w.oneSided(*d.Now, true))
		case saved.OperationRemoved:
			rows = append(rows, w.oneSided(*d.Was, false))
		default:
			rows = append(rows, w.changedRow(d))
		}
	}
	return title + "\n" + w.rows(rows) + after
}

// rows lays rows out in columns.
func (w *words) rows(rows []previewRow) string {
	var b strings.Builder
	width := 0
	for _, r := range rows {
		width = max(width, min(ansi.StringWidth(r.what), maxWhat))
	}
	for _, r := range rows {
		b.WriteString(r.layout(width, w.palette))
	}
	return b.String()
}

// rowOf shows an operation of a preview.
func (w *words) rowOf(o saved.Operation) previewRow {
	return previewRow{
		verdict: o.Verdict, what: strings.TrimSpace(o.Name + " " + o.Host),
		show: withNote(strings.TrimSpace(printable(o.Show)), oneLine(o.Note)),
	}
}

// oneSided is the row of an operation that was added, or that is gone.
func (w *words) oneSided(o saved.Operation, added bool) previewRow {
	r := w.rowOf(o)
	if !added {
		r.sign, r.paint = "-", w.bad
		return r
	}
	r.sign, r.paint = "+", w.good
	r.detail = printable(strings.Join(o.Detail, "\n"))
	return r
}

// changedRow is the row of an operation that is another one than it was.
func (w *words) changedRow(d saved.Difference) previewRow {
	was, now := w.rowOf(*d.Was), w.rowOf(*d.Now)
	r := now
	r.sign, r.paint = "~", w.change
	var said []string
	if was.verdict != now.verdict {
		said = append(said, "was: "+was.verdict)
	}
	if was.show != now.show {
		said = append(said, "was: "+was.show)
	}
	if d.Now.Error != "" && d.Now.Error != d.Was.Error {
		said = append(said, printable(d.Now.Error))
	}
	if len(d.Was.Detail) > 0 && len(d.Now.Detail) > 0 {
		said = append(said, w.wasAndNow(d.Was.Detail, d.Now.Detail)...)
	} else if len(d.Now.Detail) > 0 {
		said = append(said, printable(strings.Join(d.Now.Detail, "\n")))
	}
	if len(said) == 0 {
		said = append(said, "with other arguments")
	}
	r.detail = strings.Join(said, "\n")
	return r
}

// wasAndNow are the lines of two details that differ, with a few around them. Most
// details are differences themselves, so that a plus or a minus would not do.
func (w *words) wasAndNow(was, now []string) []string {
	text := func(lines []string) []byte { return []byte(printable(strings.Join(lines, "\n")) + "\n") }
	var out []string
	for _, line := range lined(string(diff.Diff("was", text(was), "now", text(now)))) {
		if line == "" {
			continue
		}
		switch rest := line[1:]; line[0] {
		case '-':
			out = append(out, w.bad("was")+"  "+rest)
		case '+':
			out = append(out, w.good("now")+"  "+rest)
		case ' ':
			out = append(out, w.dim("     "+rest))
		}
	}
	return out[min(2, len(out)):] // "--- was" and "+++ now"
}

// endsOtherwise tells how the preview of a step ends now.
func (re *reload) endsOtherwise(w *words, who instance, d saved.Difference) string {
	if d.Kind == saved.StepDoubted {
		if len(d.NowEnd.Doubts) == 0 {
			return "  " + w.good("no longer doubted which step comes first") + "\n"
		}
		return "  " + w.doubt("unknown: ") + hang(printable(strings.Join(d.NowEnd.Doubts, "\n")), "           ") + "\n"
	}
	i := slices.IndexFunc(re.events, func(e runtime.Event) bool { return e.Kind == runtime.StepEnded && instanceOf(e) == who })
	switch {
	case i < 0:
		return ""
	case re.events[i].Status == runtime.OK && d.WasEnd != nil:
		return "  " + w.good("previewed to its end now") + w.dim("; it was "+d.WasEnd.Status) + "\n"
	}
	return w.howPreviewEnded(who, re.events[i])
}

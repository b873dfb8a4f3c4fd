package main

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"infra/runtime"
)

// previews collects a dry run: steps are previewed side by side and shown one
// after the other, in the plan's order, so that the same plan reads the same.
type previews struct {
	order  []instance // those that the plan announces
	blocks map[instance]*stepPreview
	next   int // into order: the first that was not shown
}

// A stepPreview is what one step would do.
type stepPreview struct {
	who   instance
	doc   string
	rows  []previewRow
	after string // how it ended, where that needs words
	ended bool
}

// A previewRow is an operation, or a line that the plan logged.
type previewRow struct {
	sign, verdict string
	what, show    string
	detail        string
	paint         func(string) string
}

func newPreviews(start *runtime.RunStart) *previews {
	p := &previews{blocks: map[instance]*stepPreview{}}
	for _, s := range start.Steps {
		if !s.FansOut() {
			p.expect(instance{step: s.Name}, s.Doc)
		}
		for _, h := range s.Each {
			p.expect(instance{step: s.Name, host: h.Name}, s.Doc)
		}
	}
	for _, c := range start.Checks {
		who := instance{step: c.Name, check: true}
		if c.Host != nil {
			who.host = c.Host.Name
		}
		p.expect(who, c.Doc)
	}
	return p
}

func (p *previews) expect(who instance, doc string) *stepPreview {
	b := &stepPreview{who: who, doc: doc}
	p.order = append(p.order, who)
	p.blocks[who] = b
	return b
}

// tell notes an event and returns the previews that can now be shown.
func (p *previews) tell(w *words, e runtime.Event) string {
	who := instanceOf(e)
	if who.step == "" || e.Kind == runtime.Doubted {
		return w.line(e)
	}
	b := p.blocks[who]
	if b == nil {
		b = p.expect(who, "")
	}
	switch e.Kind {
	case runtime.Logged:
		b.rows = append(b.rows, previewRow{sign: "|", show: printable(e.Text), paint: w.dim})
	case runtime.OpEnded:
		if e.Op != nil {
			b.rows = append(b.rows, w.previewRow(e))
		}
	case runtime.StepEnded:
		b.after, b.ended = w.howPreviewEnded(who, e), true
	}
	return p.ready(w)
}

// ready takes the previews that ended and wait for no earlier one.
func (p *previews) ready(w *words) string {
	var out strings.Builder
	for ; p.next < len(p.order) && p.blocks[p.order[p.next]].ended; p.next++ {
		out.WriteString(p.take(p.order[p.next], w))
	}
	return out.String()
}

// flush takes the rest, for a run that ends early.
func (p *previews) flush(w *words) string {
	var out strings.Builder
	for ; p.next < len(p.order); p.next++ {
		if b := p.blocks[p.order[p.next]]; b.ended || len(b.rows) > 0 {
			out.WriteString(p.take(p.order[p.next], w))
		}
	}
	return out.String()
}

func (p *previews) take(who instance, w *words) string {
	b := p.blocks[who]
	p.blocks[who] = &stepPreview{who: who, ended: true} // its rows are not needed again
	return b.layout(w)
}

// howPreviewEnded tells what the rows do not: why there are no more.
func (w *words) howPreviewEnded(who instance, e runtime.Event) string {
	said := w.lastWords(who)
	switch {
	case e.Status == runtime.OK && e.Text == "":
		return ""
	case e.Err != nil && e.Status != runtime.Skipped:
		var b strings.Builder
		what := "failed"
		if e.Status == runtime.Stopped {
			what = "the preview of this step ends here"
		}
		d := detailsOf(e.Err)
		if e.Status == runtime.Stopped && d.hint == "" {
			d.hint = waysOut
		}
		d.msg = what + ": " + d.msg
		b.WriteString(d.block("  ", said, w.palette))
		return b.String()
	}
	return "  " + joinParts([]string{w.status(e.Status, string(e.Status)), w.reason(e)}, ": ") + "\n"
}

// waysOut is what the author of a plan can do where a preview must stop.
const waysOut = "a run goes on here; a command that only observes says reads = True, and is then run in a preview too"

func (w *words) previewRow(e runtime.Event) previewRow {
	op := e.Op.Op
	row := previewRow{show: withNote(strings.TrimSpace(printable(op.Show)), noteOf(e)), what: strings.TrimSpace(op.Name + " " + op.Host)}
	switch {
	case e.Status != runtime.OK && e.Status != "":
		row.sign, row.verdict = "✗", string(e.Status)
		row.paint = func(s string) string { return w.status(e.Status, s) }
	case op.Effect == runtime.Read && e.Op.Prediction == nil:
		row.sign, row.verdict, row.paint = "·", "read", w.dim
	case e.Op.Prediction == nil:
		row.sign, row.verdict, row.paint = "+", op.Effect.String(), w.good
	default:
		v := e.Op.Prediction.Verdict
		row.sign, row.paint = w.sign(v)
		row.verdict = v.String()
		row.detail = strings.TrimRight(printable(e.Op.Prediction.Detail), "\n")
	}
	return row
}

// sign is the mark and the colour of a verdict.
func (w *words) sign(v runtime.Verdict) (string, func(string) string) {
	switch v {
	case runtime.NoChange:
		return "=", w.good
	case runtime.WillChange:
		return "~", w.change
	case runtime.WillDestroy:
		return "!", w.bad
	}
	return "?", w.doubt
}

// layout is a preview with its columns aligned.
func (b *stepPreview) layout(w *words) string {
	var out strings.Builder
	out.WriteString(w.bold(b.who.title()))
	if b.doc != "" {
		out.WriteString(w.dim("  " + oneLine(b.doc)))
	}
	out.WriteString("\n")
	width := 0
	for _, r := range b.rows {
		width = max(width, min(ansi.StringWidth(r.what), maxWhat))
	}
	for _, r := range b.rows {
		out.WriteString(r.layout(width, w.palette))
	}
	if len(b.rows) == 0 && b.after == "" {
		out.WriteString(w.dim("  no operations") + "\n")
	}
	out.WriteString(b.after)
	return out.String()
}

// maxWhat bounds the column of operations' names.
const maxWhat = 32

func (r previewRow) layout(width int, p palette) string {
	if r.what == "" {
		return fmt.Sprintf("  %s %s\n", r.paint(r.sign), hang(r.show, "    "))
	}
	what := padRight(r.what, width)
	show := hang(r.show, "        ")
	if r.sign == "·" {
		what, show = p.dim(what), p.dim(show)
	}
	line := strings.TrimRight(fmt.Sprintf("  %s  %s  %s", r.paint(r.sign+" "+fmt.Sprintf("%-9s", r.verdict)), what, show), " ")
	if r.detail == "" {
		return line + "\n"
	}
	return line + "\n" + indentLines(diffColors(r.detail, p), "      ") + "\n"
}

// diffColors paints the lines that a diff adds and removes.
func diffColors(detail string, p palette) string {
	lines := strings.Split(detail, "\n")
	for i, line := range lines {
		switch {
		case strings.HasPrefix(line, "+"):
			lines[i] = p.good(line)
		case strings.HasPrefix(line, "-"):
			lines[i] = p.bad(line)
		}
	}
	return strings.Join(lines, "\n")
}

// padRight fills s with spaces to a width in the terminal's columns.
func padRight(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-ansi.StringWidth(s)))
}

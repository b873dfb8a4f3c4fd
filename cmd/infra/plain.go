package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"infra/runtime"
)

// A reader shows a run. Events come one at a time.
type reader interface {
	Read(runtime.Event)
	Close()
}

// plain tells a run in lines that stand for themselves, for logs and pipes.
type plain struct {
	out   io.Writer
	words words
}

// newPlain returns a reader that tells a run in lines on out. Each is written
// as a whole.
func newPlain(out io.Writer, color, strict bool) reader {
	p := &plain{out, newWords(palette(color), false)}
	p.words.strict = strict
	return p
}

// Read implements reader.
func (p *plain) Read(e runtime.Event) {
	if lines := p.words.tell(e); lines != "" { // most events say nothing, and a write is a system call
		io.WriteString(p.out, lines)
	}
}

// Close implements reader.
func (p *plain) Close() {}

// An instance is a step on one host, or a check: what runs under one name.
type instance struct {
	step, host string
	check      bool
}

func instanceOf(e runtime.Event) instance { return instance{e.Step, e.Host, e.Check} }

// title is how an instance is named in a line.
func (i instance) title() string {
	title := oneLine(i.step)
	if i.check {
		title = "check " + title
	}
	if i.host != "" {
		title += " " + i.host
	}
	return title
}

// words turns events into lines. Brief words leave out what a live tree shows
// already: what starts, and what ends well.
type words struct {
	palette
	brief    bool
	strict   bool                // what is not known fails a dry run
	output   map[int]string      // the line that a running operation printed last
	parts    map[int]doing       // of a running operation
	said     map[instance]string // the last line of the operation that failed last
	previews *previews           // of a dry run
	findings []finding           // of a dry run
	tally    tally
}

// A doing is what is done with each part of an operation that was told of.
type doing map[string]string

func newWords(p palette, brief bool) words {
	return words{palette: p, brief: brief, output: map[int]string{}, parts: map[int]doing{}, said: map[instance]string{}}
}

// tell returns the lines that e adds, each with its newline, or "".
func (w *words) tell(e runtime.Event) string {
	w.listen(e)
	w.tally.Read(e)
	switch {
	case e.Kind == runtime.RunStarted, e.Kind == runtime.RunResumed:
		w.begin(e)
		return w.header(e)
	case e.Kind == runtime.RunEnded:
		return w.end(e)
	case w.previews != nil:
		if f, found := findingOf(e, true); found {
			w.findings = append(w.findings, f)
		}
		return w.previews.tell(w, e)
	}
	return w.line(e)
}

// begin prepares for a dry run.
func (w *words) begin(e runtime.Event) {
	if e.Start != nil && e.Start.DryRun {
		w.previews = newPreviews(e.Start)
	}
}

// listen keeps what a tool printed last, for the case that it fails and the
// error does not quote it, as after a timeout.
func (w *words) listen(e runtime.Event) {
	switch {
	case e.Op == nil:
	case e.Kind == runtime.OpOutput:
		w.output[e.Op.ID] = e.Text
	case e.Kind == runtime.OpEnded:
		if last := w.output[e.Op.ID]; e.Status != runtime.OK && last != "" {
			w.said[instanceOf(e)] = last
		}
		delete(w.output, e.Op.ID)
		delete(w.parts, e.Op.ID)
	}
}

// news says whether a part began, ended, or something else is done with it now.
// A line each time that it comes further would be too many.
func (w *words) news(e runtime.Event) bool {
	p := e.Part
	if p == nil || p.Name == "" || e.Op == nil {
		return false
	}
	parts := w.parts[e.Op.ID]
	if parts == nil {
		parts = doing{}
		w.parts[e.Op.ID] = parts
	}
	does, known := parts[p.Name]
	parts[p.Name] = p.Does
	if p.Over {
		delete(parts, p.Name)
	}
	return !known || p.Over || does != p.Does
}

// lastWords takes what the instance's failed operation printed last.
func (w *words) lastWords(who instance) []string {
	last := printable(lastDrawn(w.said[who]))
	delete(w.said, who)
	if last == "" {
		return nil
	}
	return []string{last}
}

func (w *words) header(e runtime.Event) string {
	if e.Start == nil {
		return ""
	}
	what := "run " + e.Run + " of "
	switch {
	case observes(e.Start):
		what = "observation " + e.Run + " of "
	case e.Start.DryRun:
		what = "dry run of "
	case e.Kind == runtime.RunResumed:
		what = "resuming run " + e.Run + " of "
	}
	line := w.bold(what + e.Start.File)
	if e.Start.Plan != nil && e.Start.Plan.Title != "" {
		line += w.dim(": " + oneLine(e.Start.Plan.Title))
	}
	if e.Start.DryRun && e.Start.Plan != nil && e.Start.Plan.UndoOnFailure {
		line += "\n" + w.dim("if a step fails, what the run did is taken back by its steps' undos")
	}
	line += "\n"
	for _, g := range e.Start.Gates {
		line += w.gate(g)
	}
	return line
}

// line is what a real run adds for an event between its start and its end.
func (w *words) line(e runtime.Event) string {
	who := instanceOf(e)
	switch e.Kind {
	case runtime.Stopping:
		return w.change("stopping: nothing new starts, what runs may end; Ctrl-C again ends it at once") + "\n"
	case runtime.Waiting:
		return w.under(who, w.change("waiting: ")+oneLine(e.Text))
	case runtime.Logged:
		return w.under(who, printable(e.Text))
	case runtime.Doubted:
		return w.under(who, w.doubt("unknown: ")+oneLine(e.Text))
	case runtime.StepRetried:
		return w.under(who, w.change(retryOf(e)+": ")+oneLine(detailsOf(e.Err).msg))
	case runtime.OpAsked, runtime.OpResumed, runtime.OpEnded:
		if w.brief || e.Op == nil {
			return ""
		}
		if who.host == "" {
			who.host = e.Op.Op.Host
		}
		return w.under(who, w.op(e))
	case runtime.OpProgress:
		if w.brief || !w.news(e) {
			return ""
		}
		if who.host == "" {
			who.host = e.Op.Op.Host
		}
		return w.under(who, w.part(*e.Part))
	case runtime.StepRestored:
		return w.under(who, w.status(e.Status, string(e.Status))+" before")
	case runtime.StepEnded:
		return w.ended(who, e)
	}
	return ""
}

// retryOf says which attempt failed, and when the next begins.
func retryOf(e runtime.Event) string { return cmp.Or(oneLine(e.Text), "trying again") }

// under is a line, or several, each under the name of who says it.
func (w *words) under(who instance, text string) string {
	prefix := w.dim(who.title()+" |") + " "
	if who.step == "" {
		prefix = ""
	}
	return prefix + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+prefix) + "\n"
}

func (w *words) op(e runtime.Event) string {
	name := e.Op.Op.Name
	switch e.Kind {
	case runtime.OpAsked:
		return strings.TrimSpace(name + " " + oneLine(e.Op.Op.Show))
	case runtime.OpResumed:
		return "finding out what became of " + strings.TrimSpace(name+" "+oneLine(e.Op.Op.Show))
	}
	text := name + " done " + elapsed(e.Took)
	if e.Status != runtime.OK {
		text = name + " " + w.status(e.Status, string(e.Status)) + " " + elapsed(e.Took)
	}
	if e.Op.Changed {
		text += w.change(" (changed)")
	}
	return text
}

// part is one line of how far an operation is.
func (w *words) part(p runtime.Part) string {
	text := strings.TrimRight("  "+oneLine(p.Name)+" "+oneLine(p.Does), " ")
	if p.Over {
		text += " " + elapsed(p.Took)
	}
	if p.Detail != "" {
		text += " (" + oneLine(p.Detail) + ")"
	}
	if p.Nth > 0 && p.Of > 0 {
		text += w.dim(fmt.Sprintf(" %d of %d", p.Nth, p.Of))
	}
	if p.Over && p.Sum != "" {
		text += w.dim(" " + oneLine(p.Sum))
	}
	return text
}

// ended tells how a step or a check ended; a failure as a block of its own.
func (w *words) ended(who instance, e runtime.Event) string {
	said := w.lastWords(who)
	loud := e.Status == runtime.Failed || e.Status == runtime.Held || e.Status == runtime.Stopped
	if e.Err != nil && loud {
		return w.failure(who, e, said)
	}
	if w.brief && e.Status != runtime.Failed {
		return ""
	}
	text := w.status(e.Status, string(e.Status))
	if e.Took > 0 {
		text += " " + elapsed(e.Took)
	}
	if reason := w.reason(e); reason != "" {
		text += ": " + reason
	}
	return w.under(who, text)
}

// reason is why something ended as it did, in one line.
func (w *words) reason(e runtime.Event) string {
	if e.Err != nil {
		return oneLine(detailsOf(e.Err).msg)
	}
	reason := oneLine(e.Text)
	if e.Status == runtime.Warned {
		return strings.TrimSpace(reason + " (not required)")
	}
	return reason
}

// failure is the block that tells why an instance did not succeed.
func (w *words) failure(who instance, e runtime.Event, said []string) string {
	what := fmt.Sprintf("step %q", who.step)
	if who.check {
		what = fmt.Sprintf("check %q", who.step)
	}
	if who.host != "" {
		what += " on " + who.host
	}
	if status := string(e.Status); e.Status != runtime.Failed && !strings.HasPrefix(detailsOf(e.Err).msg, status+": ") {
		what += " " + status
	}
	var b strings.Builder
	printFailure(&b, what, e.Err, said, bool(w.palette))
	return b.String()
}

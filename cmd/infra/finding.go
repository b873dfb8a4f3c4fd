package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/syntax"

	"infra/runtime"
)

// A finding is one thing that nobody who reads a run's result may miss.
type finding struct {
	kind  findingKind
	step  string // the step or the check; "" where it is about the plan's files
	check bool
	op    string   // the operation's name; "" where it is about the step
	hosts []string // that it is about
	pos   syntax.Position
	msg   string // without secrets; may have lines
	hint  string // what to do; may be empty
}

// findingKind tells findings apart; the first is the most important.
type findingKind int

const (
	failure findingKind = iota
	destroys
	unknown
	warning
)

// String is the word that a finding begins with.
func (k findingKind) String() string {
	return [...]string{"failed", "destroy", "unknown", "warning"}[k]
}

// findingOf is what an event has that must not be missed.
func findingOf(e runtime.Event, dryRun bool) (finding, bool) {
	f := finding{step: e.Step, check: e.Check, pos: e.Pos, msg: strings.TrimSpace(printable(e.Text))}
	if e.Host != "" {
		f.hosts = []string{e.Host}
	}
	switch e.Kind {
	case runtime.OpEnded:
		return f.ofOp(e)
	case runtime.StepEnded:
		return f.ofEnd(e, dryRun)
	case runtime.Doubted:
		f.kind = unknown
		return f, true
	}
	return f, false
}

// ofOp is the finding of an operation that a dry run foresaw.
func (f finding) ofOp(e runtime.Event) (finding, bool) {
	if e.Op == nil || e.Op.Prediction == nil {
		return f, false
	}
	op := e.Op.Op
	f.op, f.pos, f.msg = op.Name, op.Pos, oneLine(op.Show)
	if op.Host != "" {
		f.hosts = []string{op.Host}
	}
	switch e.Op.Prediction.Verdict {
	case runtime.WillDestroy:
		f.kind = destroys
		return f, true
	case runtime.NotKnown:
		f.kind, f.hint = unknown, howToKnow(e)
		f.msg = withNote(f.msg, noteOf(e))
		return f, true
	}
	return f, false
}

// ofEnd is the finding of a step or a check that ended otherwise than well.
func (f finding) ofEnd(e runtime.Event, dryRun bool) (finding, bool) {
	if e.Err != nil {
		d := detailsOf(e.Err)
		f.msg, f.hint = strings.TrimSpace(printable(d.msg)), printable(d.hint)
		if d.pos.IsValid() {
			f.pos = d.pos
		}
	}
	switch e.Status {
	case runtime.Failed, runtime.Held:
		f.kind = failure
	case runtime.Stopped:
		f.kind, f.hint = unknown, cmp.Or(f.hint, waysOut)
		f.msg = "the preview ends here: " + f.msg
	case runtime.Skipped:
		f.kind = unknown
		return f, dryRun
	case runtime.Warned:
		f.kind = warning
	default:
		return f, false
	}
	f.msg = cmp.Or(f.msg, "it said no")
	return f, true
}

// noteOf is what a preview says in brackets behind an operation.
func noteOf(e runtime.Event) string {
	return oneLine(e.Text)
}

func withNote(text, note string) string {
	if note == "" {
		return text
	}
	return strings.TrimSpace(text + " (" + note + ")")
}

// howToKnow says how an operation that a dry run knows nothing of could be
// made known.
func howToKnow(e runtime.Event) string {
	if u := e.Op.Op.Needs; u != nil {
		return fmt.Sprintf("it needs what %s answers (%s:%d): if that only observes, say reads = True there; what a command prints can be assumed with assume =",
			u.Op, u.Pos.Filename(), u.Pos.Line)
	}
	switch noteOf(e) {
	case "offline":
		return "preview it without --offline, where the host can be reached"
	case "before the change":
		return "it looks at what a change before it alters: preview it again after that, or move it into a plan of its own"
	}
	return "a command that only observes says reads = True, and is then run in a preview too"
}

// subject is what a finding is about: an operation or a step, and its hosts.
func (f finding) subject() string {
	what := oneLine(f.op)
	if what == "" {
		what = f.place()
	}
	if len(f.hosts) > 0 {
		what += " on " + someOf(f.hosts)
	}
	return what
}

// place is the step or the check that a finding is of.
func (f finding) place() string {
	switch {
	case f.step == "":
		return "the plan"
	case f.check:
		return "check " + oneLine(f.step)
	}
	return "step " + oneLine(f.step)
}

// where is a finding's step and line, as far as the subject does not say them.
func (f finding) where() string {
	var parts []string
	if f.op != "" {
		parts = append(parts, f.place())
	}
	if f.pos.IsValid() {
		parts = append(parts, lineOf(f.pos))
	}
	return strings.Join(parts, ", ")
}

// lineOf is a position as file:line.
func lineOf(pos syntax.Position) string {
	if pos.Line == 0 {
		return pos.Filename()
	}
	return fmt.Sprintf("%s:%d", pos.Filename(), pos.Line)
}

// someOf names a few and counts the rest.
func someOf(names []string) string {
	const few = 4
	if len(names) <= few+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// merged are findings by importance, the same one of several hosts as one.
func merged(all []finding) []finding {
	var out []finding
	at, seen := map[string]int{}, map[string]bool{}
	for _, f := range all {
		key := fmt.Sprintf("%d\x00%s\x00%t\x00%s\x00%s\x00%s", f.kind, f.step, f.check, f.op, f.pos, withoutHosts(f))
		i, there := at[key]
		if !there {
			i, at[key] = len(out), len(out)
			out = append(out, f)
			out[i].hosts = nil
		}
		for _, h := range f.hosts {
			if !seen[key+h] {
				seen[key+h] = true
				out[i].hosts = append(out[i].hosts, h)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b finding) int { return int(a.kind) - int(b.kind) })
	return out
}

// withoutHosts is a finding's message with its hosts' names taken out, so that
// what is said of each host in the same words is the same.
func withoutHosts(f finding) string {
	msg := f.msg
	for _, h := range f.hosts {
		msg = strings.ReplaceAll(msg, h, "\x00")
	}
	return msg
}

// ofKind are the findings of one kind.
func ofKind(all []finding, kind findingKind) []finding {
	var out []finding
	for _, f := range all {
		if f.kind == kind {
			out = append(out, f)
		}
	}
	return out
}

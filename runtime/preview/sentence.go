package preview

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// String is the difference in words, of the saved preview and of now.
func (d Difference) String() string {
	at := d.Where()
	switch d.Kind {
	case StepAdded:
		return at + " is not in the preview"
	case StepRemoved:
		return at + " is no step of the plan any more"
	case StepEnds:
		return fmt.Sprintf("%s: the preview ended as %s, now it ends as %s", at, d.WasEnd, d.NowEnd)
	case StepDoubted:
		return fmt.Sprintf("%s: which step comes first was doubted as %q, now as %q", at, d.WasEnd.Doubts, d.NowEnd.Doubts)
	case OperationAdded:
		return fmt.Sprintf("%s: not in the preview: %s (%s)", at, d.Now, d.Now.Pos)
	case OperationRemoved:
		return fmt.Sprintf("%s: no longer done: %s", at, d.Was)
	case OperationChanged:
		return at + ": " + d.changed()
	}
	return at + ": " + d.Was.String() + ": " + d.foreseen()
}

// Where is the step as people call it.
func (d Difference) Where() string { return Step{Name: d.Step, Host: d.Host}.String() }

// What is the operation in one line, as it is now or else as it was; "" where a
// step differs.
func (d Difference) What() string {
	if o := cmp.Or(d.Now, d.Was); o != nil {
		return o.String()
	}
	return ""
}

// Sides are what was and what is now, in lines, without what both have in common:
// for people who see the step, and the operation's line, above them.
func (d Difference) Sides() (was, now []string) {
	switch d.Kind {
	case StepAdded:
		return nil, doings(d.Operations)
	case StepRemoved:
		return doings(d.Operations), nil
	case StepEnds:
		return []string{d.WasEnd.String()}, []string{d.NowEnd.String()}
	case StepDoubted:
		return d.WasEnd.Doubts, d.NowEnd.Doubts
	case OperationAdded:
		return nil, []string{d.Now.String()}
	case OperationRemoved:
		return []string{d.Was.String()}, nil
	case OperationChanged:
		return d.changedSides()
	case VerdictMoved:
		return []string{d.Was.outcome()}, []string{d.Now.outcome()}
	case DetailChanged:
		return d.WasLines, d.NowLines
	}
	return []string{d.Was.shown()}, []string{d.Now.shown()}
}

func doings(ops []Operation) []string {
	out := make([]string, len(ops))
	for i, o := range ops {
		out[i] = o.String()
	}
	return out
}

func (e *Ending) String() string {
	if e.Why == "" {
		return e.Status
	}
	return e.Status + " (" + e.Why + ")"
}

// changed tells of an operation that is done otherwise.
func (d Difference) changed() string {
	was, now := d.Was, d.Now
	switch {
	case was.Effect != now.Effect:
		return fmt.Sprintf("the preview was: a %s: %s; now: a %s", was.Effect, was, now.Effect)
	case !sameText(was.String(), now.String()):
		return fmt.Sprintf("the preview was: %s; now: %s", was, now)
	case !sameLines(was.Detail, now.Detail):
		return was.String() + ": " + d.details()
	}
	return fmt.Sprintf("%s: the arguments were %s, now they are %s", was, was.arguments(), now.arguments())
}

// changedSides are the sides of what [Difference.changed] tells, of the arguments
// only those that differ.
func (d Difference) changedSides() (was, now []string) {
	switch {
	case d.Was.Effect != d.Now.Effect:
		return []string{"a " + d.Was.Effect + ": " + d.Was.String()}, []string{"a " + d.Now.Effect + ": " + d.Now.String()}
	case !sameText(d.Was.String(), d.Now.String()):
		return []string{d.Was.String()}, []string{d.Now.String()}
	case !sameLines(d.Was.Detail, d.Now.Detail):
		return d.WasLines, d.NowLines
	}
	return without(d.Was.Args, d.Now.Args), without(d.Now.Args, d.Was.Args)
}

// without are the arguments that other has not, or has otherwise, one a line.
func without(args, other Args) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if v, had := other[name]; !had || !sameValue(args[name], v) {
			out = append(out, name+" = "+jsonOf(args[name]))
		}
	}
	return out
}

// foreseen tells of the same operation, foreseen otherwise.
func (d Difference) foreseen() string {
	switch d.Kind {
	case VerdictMoved:
		return fmt.Sprintf("the preview was: %s; now: %s", d.Was.outcome(), d.Now.outcome())
	case DetailChanged:
		return d.details()
	}
	return fmt.Sprintf("it was shown as: %s; now: %s", d.Was.shown(), d.Now.shown())
}

// details shows where the details differ.
func (d Difference) details() string {
	return fmt.Sprintf("the preview was:\n%s\nnow:\n%s", lines(d.WasLines), lines(d.NowLines))
}

// apart leaves out of two lists of lines what both begin and end with, but for
// the line below which the first difference stands.
func apart(a, b []string) ([]string, []string) {
	same := 0
	for same < min(len(a), len(b)) && sameText(a[same], b[same]) {
		same++
	}
	tail := 0
	for tail < min(len(a), len(b))-same && sameText(a[len(a)-1-tail], b[len(b)-1-tail]) {
		tail++
	}
	var above []string
	if longer := slices.MaxFunc([][]string{a, b}, func(x, y []string) int { return len(x) - len(y) }); same < len(longer) {
		at := slices.IndexFunc(reversed(longer[:same]), func(line string) bool { return indent(line) < indent(longer[same]) })
		if at >= 0 {
			above = longer[same-1-at : same-at]
		}
	}
	return slices.Concat(above, a[same:len(a)-tail]), slices.Concat(above, b[same:len(b)-tail])
}

func reversed(list []string) []string {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

func (o Operation) shown() string {
	if o.Note == "" {
		return o.Show
	}
	return o.Show + " (" + o.Note + ")"
}

// outcome is what was foreseen in one line.
func (o Operation) outcome() string {
	parts := []string{o.Verdict, o.Error}
	if len(o.Detail) > 0 {
		parts = append(parts, o.Detail[0])
	}
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), ", ")
}

// most bounds how much of a detail a difference shows.
const most = 20

func lines(detail []string) string {
	var b strings.Builder
	for i, l := range detail {
		if i == most {
			fmt.Fprintf(&b, "\n  … %d lines more", len(detail)-most)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("  " + l)
	}
	if len(detail) == 0 {
		return "  nothing to show"
	}
	return b.String()
}

package preview

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"infra/runtime"
)

// Compare names every difference between a preview and the one that is made
// now, in words; nothing where now is what was reviewed. Both are as Parse
// returns them.
func Compare(was, now *Document) []string {
	d := &differences{}
	if was.Infra != now.Infra {
		d.add("infra is %s, the preview was made by %s", now.Infra, was.Infra)
	}
	if was.Plan != now.Plan || was.File != now.File {
		d.add("the plan is %s in %s, the preview is of %s in %s", now.Plan, now.File, was.Plan, was.File)
	}
	d.files(was.Sources, now.Sources, "is loaded now, and was not", "is no longer loaded")
	d.files(was.Files, now.Files, "is read now, and was not", "is not read now, or is gone")
	d.flakes(was.Flake, now.Flake)
	d.tools(was.Tools, now.Tools)
	d.hosts(was.Hosts, now.Hosts)
	d.steps(was.Steps, now.Steps)
	return d.found
}

// differences collects what is not the same.
type differences struct{ found []string }

func (d *differences) add(format string, args ...any) {
	d.found = append(d.found, fmt.Sprintf(format, args...))
}

// by makes a map of things by their names, and lists the names of both sides.
func by[T any](was, now []T, name func(T) string) (before, after map[string]T, names []string) {
	before, after = map[string]T{}, map[string]T{}
	for _, x := range was {
		before[name(x)] = x
	}
	for _, x := range now {
		after[name(x)] = x
	}
	all := maps.Clone(before)
	maps.Copy(all, after)
	return before, after, slices.Sorted(maps.Keys(all))
}

func (d *differences) files(was, now []runtime.Source, added, removed string) {
	before, after, names := by(was, now, func(f runtime.Source) string { return f.Path })
	for _, name := range names {
		b, had := before[name]
		a, has := after[name]
		switch {
		case !had:
			d.add("%s %s", name, added)
		case !has:
			d.add("%s %s", name, removed)
		case a.SHA256 != b.SHA256:
			d.add("%s was edited since", name)
		}
	}
}

func (d *differences) flakes(was, now *Flake) {
	switch {
	case was == nil && now == nil:
	case was == nil:
		d.add("there is a flake now, and there was none")
	case now == nil:
		d.add("there is no flake any more, or no nix to read it")
	default:
		if was.Lock != now.Lock {
			d.add("the flake's lock changed since: its inputs are others")
		}
		if was.NarHash != now.NarHash {
			d.add("the flake's files changed since: their narHash is %s, the preview saw %s", now.NarHash, was.NarHash)
		}
	}
}

func (d *differences) tools(was, now []Tool) {
	before, after, names := by(was, now, func(t Tool) string { return t.Name })
	for _, name := range names {
		d.value("", name, after[name].Version, before[name].Version)
	}
}

// value tells two values of one thing apart; nothing is "none".
func (d *differences) value(of, what, now, was string) {
	if now != was {
		d.add("%s%s is %s, the preview saw %s", of, what, cmp.Or(now, "none"), cmp.Or(was, "none"))
	}
}

func (d *differences) hosts(was, now []Host) {
	before, after, names := by(was, now, func(h Host) string { return h.Name })
	for _, name := range names {
		b, had := before[name]
		a, has := after[name]
		switch {
		case !had:
			d.add("%s is a host of the plan now, and was not", name)
		case !has:
			d.add("%s is no host of the plan any more", name)
		case a.Unreachable && !b.Unreachable:
			d.add("%s cannot be reached now, the preview could", name)
		case b.Unreachable && !a.Unreachable:
			d.add("%s can be reached now, the preview could not", name)
		default:
			d.host(b, a)
		}
	}
}

func (d *differences) host(was, now Host) {
	if was.BootID != now.BootID {
		d.add("%s was rebooted since: its boot id is %s, the preview saw %s", now.Name, cmp.Or(now.BootID, "none"), cmp.Or(was.BootID, "none"))
	}
	if was.System != now.System {
		d.add("%s runs %s, the preview saw %s", now.Name, cmp.Or(now.System, "no system of nix"), cmp.Or(was.System, "no system of nix"))
	}
	of := now.Name + ": "
	if was.Generation != now.Generation {
		d.add("%sthe generation is %s, the preview saw %s", of, numbered(now.Generation), numbered(was.Generation))
	}
	d.value(of, "the system profile", now.Profile, was.Profile)
}

func numbered(generation int) string {
	if generation == 0 {
		return "none"
	}
	return fmt.Sprint(generation)
}

func (d *differences) steps(was, now []Step) {
	before, after, _ := by(was, now, Step.String)
	for _, b := range was {
		a, has := after[b.String()]
		if !has {
			d.add("%s is no step of the plan any more", b)
			continue
		}
		if a.Status != b.Status || a.Why != b.Why {
			d.add("%s: the preview ended as %s, now it ends as %s", b, ended(b), ended(a))
		}
		if !slices.Equal(a.Doubts, b.Doubts) {
			d.add("%s: which step comes first was doubted as %q, now as %q", b, b.Doubts, a.Doubts)
		}
		d.operations(b.String(), b.Operations, a.Operations)
	}
	for _, a := range now {
		if _, had := before[a.String()]; !had {
			d.add("%s is not in the preview", a)
		}
	}
}

func ended(s Step) string {
	if s.Why == "" {
		return s.Status
	}
	return s.Status + " (" + s.Why + ")"
}

// operations walks along both lists. What stands at both is the same one, or
// the same one with something changed; the rest was added or is left out.
func (d *differences) operations(step string, was, now []Operation) {
	at := 0
	for i, b := range was {
		next := indexFrom(now, at, b.same)
		if next < 0 && at < len(now) && b.akin(now[at]) && indexFrom(was, i+1, now[at].same) < 0 {
			d.changed(step, b, now[at])
			at++
			continue
		}
		if next < 0 {
			d.add("%s: no longer done: %s", step, b)
			continue
		}
		d.added(step, now[at:next])
		d.foreseen(step, b, now[next])
		at = next + 1
	}
	d.added(step, now[at:])
}

func (d *differences) added(step string, ops []Operation) {
	for _, o := range ops {
		d.add("%s: not in the preview: %s (%s)", step, o, o.Pos)
	}
}

func indexFrom(ops []Operation, from int, match func(Operation) bool) int {
	if i := slices.IndexFunc(ops[from:], match); i >= 0 {
		return from + i
	}
	return -1
}

// akin operations are the same thing done otherwise.
func (o Operation) akin(other Operation) bool { return o.Name == other.Name && o.Host == other.Host }

// same operations do the same, whatever was foreseen of them.
func (o Operation) same(other Operation) bool {
	return o.akin(other) && o.Effect == other.Effect && o.Needs == other.Needs && o.arguments() == other.arguments()
}

// changed tells of an operation that is done otherwise.
func (d *differences) changed(step string, was, now Operation) {
	switch {
	case was.Effect != now.Effect:
		d.add("%s: the preview was: a %s: %s; now: a %s", step, was.Effect, was, now.Effect)
		return
	case was.String() != now.String():
		d.add("%s: the preview was: %s; now: %s", step, was, now)
		return
	case !slices.Equal(was.Detail, now.Detail):
		d.details(step+": "+was.String()+": ", was, now)
		return
	}
	d.add("%s: %s: the arguments were %s, now they are %s", step, was, was.arguments(), now.arguments())
}

// foreseen compares what was foreseen of the same operation.
func (d *differences) foreseen(step string, was, now Operation) {
	at := step + ": " + was.String() + ": "
	switch {
	case was.Verdict != now.Verdict || was.Error != now.Error:
		d.add("%sthe preview was: %s; now: %s", at, was.outcome(), now.outcome())
	case !slices.Equal(was.Detail, now.Detail):
		d.details(at, was, now)
	case was.Show != now.Show || was.Note != now.Note:
		d.add("%sit was shown as: %s; now: %s", at, was.shown(), now.shown())
	}
}

// details shows where the details of two operations differ.
func (d *differences) details(at string, was, now Operation) {
	b, a := apart(was.Detail, now.Detail)
	d.add("%sthe preview was:\n%s\nnow:\n%s", at, lines(b), lines(a))
}

// apart leaves out of two lists of lines what both begin and end with, but for
// the line below which the first difference stands.
func apart(a, b []string) ([]string, []string) {
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	tail := 0
	for tail < min(len(a), len(b))-same && a[len(a)-1-tail] == b[len(b)-1-tail] {
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

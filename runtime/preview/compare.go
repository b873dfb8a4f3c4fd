package preview

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

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
	for _, step := range Diff(was, now) {
		d.add("%s", step)
	}
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

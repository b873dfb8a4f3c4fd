package engine

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"infra/runtime"
)

// doubt reports, at the end of a preview, what was answered although another
// step may alter the answer and nothing says which of the two comes first. What
// a doubted task shows may not be what a run of it does, so that it throws doubt
// on others in turn.
func (r *run) doubt(groups []*group) {
	all := alterationsOf(groups)
	doubted := map[*task]bool{}
	for again := true; again; {
		again = false
		for _, g := range groups {
			for _, t := range g.tasks {
				if t.history == nil || doubted[t] || !r.doubtTask(t, all) {
					continue
				}
				doubted[t], again = true, true
				if !t.history.broken {
					all.unsure = with(all.unsure, &alteration{task: t})
				}
			}
		}
	}
}

// doubtTask reports the first such answer of a task.
func (r *run) doubtTask(t *task, all *alterations) bool {
	for _, l := range t.history.looked {
		for _, made := range all.meeting(l) {
			if a := made.unordered(t, all.alike); a != nil {
				r.sayDoubt(t, l, a, all)
				return true
			}
		}
	}
	return false
}

// sayDoubt tells the readers of a doubt about a step, once for all its hosts.
func (r *run) sayDoubt(t *task, l look, a *alteration, all *alterations) {
	pair := [2]*group{t.group, a.task.group}
	if all.told[pair] {
		return
	}
	all.told[pair] = true
	e := t.event(runtime.Doubted)
	e.Host, e.Pos = "", l.pos
	what := "whose preview is not certain"
	if a.name != "" {
		what = fmt.Sprintf("%s, %s", a.name, a.pos)
	}
	if other := a.task.name(); t.group != a.task.group {
		e.Text = fmt.Sprintf("%s on %s looks at what the step %s may alter (%s), and which of the two steps comes first is not fixed; "+
			"say needs = [%s], or the other way round", l.name, place(l.host), other, what, other)
	} else {
		e.Text = fmt.Sprintf("%s on %s looks at what the same step may alter for %s (%s): which comes first is not fixed; use a step for each of the two",
			l.name, place(l.host), a.task.host.Name, what)
	}
	_ = r.emit(e) // a preview has no journal that could be lost
}

func place(host string) string { return cmp.Or(host, "this machine") }

// alterations are those of a whole preview.
type alterations struct {
	byHost map[string]*alteredPaths
	unsure []*byStep // tasks whose previews are not certain: they may alter anything
	told   map[[2]*group]bool
	alike  bool // all steps that fan out do so over the same hosts
}

type alteredPaths struct {
	byPath map[string][]*byStep
	sorted []string
	all    []*byStep
}

// byStep is what the tasks of one step may do to one path, or to any.
type byStep struct {
	group *group
	made  []*alteration         // one of each task
	hosts map[*runtime.Host]int // into made; nil until it is asked for
}

func alterationsOf(groups []*group) *alterations {
	all := &alterations{byHost: map[string]*alteredPaths{}, told: map[[2]*group]bool{}, alike: true}
	var first *group
	for _, g := range groups {
		if g.step.FansOut() && first == nil {
			first = g
		}
		all.alike = all.alike && (!g.step.FansOut() || slices.Equal(g.step.Each, first.step.Each) && len(g.tasks) == len(first.tasks))
		for _, t := range g.tasks {
			if t.history == nil {
				continue
			}
			for host, made := range t.history.made {
				all.add(host, made)
			}
			if t.history.broken {
				all.unsure = with(all.unsure, &alteration{task: t})
			}
		}
	}
	for _, on := range all.byHost {
		on.sorted = slices.Sorted(maps.Keys(on.byPath))
	}
	return all
}

func (all *alterations) add(host string, made []alteration) {
	on := all.byHost[host]
	if on == nil {
		on = &alteredPaths{byPath: map[string][]*byStep{}}
		all.byHost[host] = on
	}
	for i := range made {
		for _, p := range made[i].paths {
			on.byPath[p] = with(on.byPath[p], &made[i])
			on.all = with(on.all, &made[i])
		}
	}
}

// with adds an alteration to those of its step, which comes last; those of one
// task come one after the other.
func with(steps []*byStep, a *alteration) []*byStep {
	if len(steps) == 0 || steps[len(steps)-1].group != a.task.group {
		steps = append(steps, &byStep{group: a.task.group})
	}
	s := steps[len(steps)-1]
	if n := len(s.made); n == 0 || s.made[n-1].task != a.task {
		if s.hosts != nil {
			s.hosts[a.task.host] = n
		}
		s.made = append(s.made, a)
	}
	return steps
}

// of returns what the step's task for a host may do, or nil.
func (s *byStep) of(h *runtime.Host) *alteration {
	if s.hosts == nil {
		s.hosts = make(map[*runtime.Host]int, len(s.made))
		for i, a := range s.made {
			s.hosts[a.task.host] = i
		}
	}
	if i, ok := s.hosts[h]; ok {
		return s.made[i]
	}
	return nil
}

// unordered returns one that may come before t as well as after it, or nil. Where all
// steps are alike, how t stands to the task of another host is how it stands to
// that of any.
func (s *byStep) unordered(t *task, alike bool) *alteration {
	candidates := s.made
	if alike && len(s.made) > 3 {
		candidates = s.made[:2:2]
		if own := s.of(t.host); own != nil {
			candidates = append(candidates, own)
		}
	}
	for _, a := range candidates {
		if !ordered(a.task, t) {
			return a
		}
	}
	return nil
}

// meeting returns what may alter the answer to a look.
func (all *alterations) meeting(l look) []*byStep {
	found := all.unsure[:len(all.unsure):len(all.unsure)]
	if on := all.byHost[l.host]; on != nil {
		for _, p := range l.looks {
			found = append(found, on.at(p)...)
		}
	}
	if on := all.byHost[""]; on != nil {
		for _, p := range l.here {
			found = append(found, on.at(p)...)
		}
	}
	if l.beyond {
		for _, on := range all.byHost {
			found = append(found, on.all...)
		}
	}
	return found
}

// at returns the alterations of a path, of what it lies in, and of what lies
// below it.
func (on *alteredPaths) at(p string) []*byStep {
	if p == "/" {
		return on.all
	}
	found := on.byPath[p]
	for up := p; up != "/" && up != "."; {
		up = path.Dir(up)
		found = append(found[:len(found):len(found)], on.byPath[up]...)
	}
	below := p + "/"
	first, _ := slices.BinarySearch(on.sorted, below)
	for _, q := range on.sorted[first:] {
		if !strings.HasPrefix(q, below) {
			break
		}
		found = append(found[:len(found):len(found)], on.byPath[q]...)
	}
	return found
}

// ordered says whether one of the tasks starts only after the other has ended.
func ordered(a, b *task) bool {
	return a == b || waitsFor(a, b, map[*task]bool{}) || waitsFor(b, a, map[*task]bool{})
}

func waitsFor(t, other *task, seen map[*task]bool) bool {
	for _, n := range t.needs {
		if n.all && n.tasks[0].group == other.group {
			return true
		}
		for _, x := range n.oneOf(other) {
			if x == other {
				return true
			}
			if !seen[x] {
				seen[x] = true
				if waitsFor(x, other, seen) {
					return true
				}
			}
		}
	}
	return false
}

// oneOf returns those tasks of a need by which it may wait for other: where it
// waits for a whole step, the one for other's host, else any.
func (n need) oneOf(other *task) []*task {
	if !n.all || other.host == nil {
		return n.tasks[:1]
	}
	for i, t := range n.tasks {
		if t.host == other.host {
			return n.tasks[i : i+1]
		}
	}
	return n.tasks[:1]
}

package engine

import (
	"reflect"
	"slices"
	"sync"

	"go.starlark.net/syntax"

	"infra/runtime"
	"infra/runtime/preview"
)

// A history is what a preview of a task left undone, and what it looked at. A
// run will have done the former, and that of every step that the task needs,
// before it comes to a later operation.
type history struct {
	before []*history              // of the tasks that end before this one starts
	made   map[string][]alteration // by host: what was foreseen and not made
	looked []look                  // what was answered as if nothing else happened
	broken bool                    // the preview ended early: anything may be altered
}

// An alteration is a change, or a build, that was foreseen. It keeps no more of
// the operation than is asked for later: a preview has all of them at its end.
type alteration struct {
	task  *task
	name  string // of the operation; "" where it is the task that is not certain
	args  runtime.Args
	pos   syntax.Position
	paths []string
}

// A look is an operation whose answer was believed.
type look struct {
	name, host  string
	pos         syntax.Position
	looks, here []string
	beyond      bool
}

// everything is the scope of an operation that says none.
var everything = []string{"/"}

func scope(paths []string) []string {
	if paths == nil {
		return everything
	}
	return paths
}

// note remembers an operation that was not carried out.
func (h *history) note(t *task, op runtime.Op) {
	if h.made == nil {
		h.made = map[string][]alteration{}
	}
	h.made[op.Host] = append(h.made[op.Host], alteration{t, op.Name, op.Args, op.Pos, scope(op.Alters)})
}

// look remembers an operation whose answer was believed.
func (h *history) look(op runtime.Op) {
	if looks := scope(op.Looks); len(looks)+len(op.Here) > 0 || op.Beyond {
		h.looked = append(h.looked, look{op.Name, op.Host, op.Pos, looks, op.Here, op.Beyond})
	}
}

// alters says whether what was foreseen so far may alter the answer to op.
func (h *history) alters(op runtime.Op) bool {
	looks := scope(op.Looks)
	if len(looks)+len(op.Here) == 0 && !op.Beyond {
		return false
	}
	return h.any(nil, func(h *history) bool {
		if h.broken || op.Beyond && len(h.made) > 0 {
			return true
		}
		return meetsAny(h.made[op.Host], looks) || meetsAny(h.made[""], op.Here)
	})
}

func meetsAny(made []alteration, looks []string) bool {
	return slices.ContainsFunc(made, func(a alteration) bool { return meet(a.paths, looks) })
}

// does says whether op itself was foreseen, and nothing else that would alter
// the answer to it.
func (h *history) does(op runtime.Op) bool {
	done := false
	other := h.any(nil, func(h *history) bool {
		for _, a := range h.made[op.Host] {
			switch {
			case a.name == op.Name && reflect.DeepEqual(a.args, op.Args):
				done = true
			case meet(a.paths, scope(op.Looks)):
				return true
			}
		}
		return h.broken
	})
	return done && !other && !op.Beyond && len(op.Here) == 0
}

// any says whether match holds for the history or one before it, seen ones
// left out. The way back is short: tasks of one host, and steps as a whole.
func (h *history) any(seen map[*history]bool, match func(*history) bool) bool {
	if seen[h] {
		return false
	}
	if match(h) {
		return true
	}
	if seen == nil && len(h.before) > 1 {
		seen = map[*history]bool{}
	}
	if seen != nil {
		seen[h] = true
	}
	for _, b := range h.before {
		if b.any(seen, match) {
			return true
		}
	}
	return false
}

// meet says whether a path of one is a path of the other, or lies below it.
func meet(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if preview.Within(x, y) || preview.Within(y, x) {
				return true
			}
		}
	}
	return false
}

// begin makes the history of a task whose needs have ended.
func (t *task) begin() {
	t.history = &history{}
	for _, n := range t.needs {
		if n.all {
			t.history.before = append(t.history.before, n.tasks[0].group.history())
		} else {
			t.history.before = append(t.history.before, n.tasks[0].history)
		}
	}
}

// A whole is the history of all the tasks of a step and of what they needed,
// made when the first task that needs all of them begins.
type whole struct {
	once    sync.Once
	history history
}

func (g *group) history() *history {
	g.whole.once.Do(func() {
		h := &g.whole.history
		h.made = map[string][]alteration{}
		seen := map[*history]bool{}
		for _, t := range g.tasks {
			t.history.any(seen, func(one *history) bool {
				h.broken = h.broken || one.broken
				for host, made := range one.made {
					h.made[host] = append(h.made[host], made...)
				}
				return false
			})
		}
	})
	return &g.whole.history
}

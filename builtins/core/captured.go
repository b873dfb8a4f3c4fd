package core

import (
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// alterations tells whether a state was always the same.
type alterations struct {
	first   string
	begun   bool
	altered bool
}

// add takes the state in, and says whether it has ever been another one.
func (a *alterations) add(state string) bool {
	if !a.begun {
		a.first, a.begun = state, true
	}
	a.altered = a.altered || state != a.first
	return a.altered
}

// captured writes down everything that a function could alter besides what it
// makes itself: the values that it and the functions among them have captured.
// What a file binds is frozen, and no such value.
func captured(fn starlark.Value) string {
	w := writer{seen: map[starlark.Value]bool{}}
	w.value(fn)
	return w.String()
}

type writer struct {
	strings.Builder
	seen map[starlark.Value]bool
}

func (w *writer) value(v starlark.Value) {
	switch v := v.(type) {
	case nil: // a variable that is not bound yet
	case *starlark.Function:
		w.function(v)
	case *starlark.Builtin:
		w.value(v.Receiver())
	case starlark.Tuple:
		w.elements(v)
	case *starlark.List:
		w.once(v, func() { w.elements(v) })
	case *starlark.Set:
		w.once(v, func() { w.elements(v) })
	case *starlark.Dict:
		w.once(v, func() {
			for key, value := range v.Entries() {
				w.WriteString(key.String())
				w.value(value)
			}
		})
	case *starlarkstruct.Struct:
		for _, value := range v.Entries() {
			w.value(value)
		}
	default:
		w.WriteString(v.String() + ",")
	}
}

func (w *writer) function(fn *starlark.Function) {
	w.once(fn, func() {
		for i := range fn.NumFreeVars() {
			_, v := fn.FreeVar(i)
			w.value(v)
		}
		for i := range fn.NumParams() {
			w.value(fn.ParamDefault(i))
		}
	})
}

func (w *writer) elements(v starlark.Iterable) {
	w.WriteString("[")
	for e := range starlark.Elements(v) {
		w.value(e)
	}
	w.WriteString("]")
}

// once keeps to one visit of what can hold itself.
func (w *writer) once(v starlark.Value, visit func()) {
	if !w.seen[v] {
		w.seen[v] = true
		visit()
	}
}

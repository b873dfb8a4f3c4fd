package interp

import (
	"go.starlark.net/starlark"

	"infra/runtime"
)

// The builtins and methods whose results need more than a rule.

func abs(c *calling) (starlark.Value, error) {
	u, ok := c.whole()
	if !ok {
		return c.plainly()
	}
	if kind, _ := u.Shape.Known(); kind == "int" || kind == "float" {
		return u, nil
	}
	return u.As(nil), nil
}

// anyOrAll asks the elements in turn, until one decides.
func anyOrAll(decides bool) func(*calling) (starlark.Value, error) {
	return func(c *calling) (starlark.Value, error) {
		if u, ok := c.whole(); ok {
			return u.As(runtime.BoolShape), nil
		}
		iterable, ok := c.arg(0, "").(starlark.Iterable)
		if !ok || len(c.args) != 1 || len(c.kwargs) > 0 {
			return c.plainly()
		}
		for e := range starlark.Elements(iterable) {
			if u, ok := e.(runtime.Unknown); ok {
				return u.As(runtime.BoolShape), nil
			}
			if bool(e.Truth()) == decides {
				return starlark.Bool(decides), nil
			}
		}
		return starlark.Bool(!decides), nil
	}
}

// sequence copies an iterable into a list or a tuple, in some order.
func sequence(kind string) func(*calling) (starlark.Value, error) {
	return func(c *calling) (starlark.Value, error) {
		u, ok := c.whole()
		if !ok {
			return c.plainly()
		}
		shape := &runtime.Shape{Type: kind}
		switch from, _ := u.Shape.Known(); from {
		case "list", "tuple", "range":
			shape.Elem = u.Shape.Elem
		}
		return u.As(shape), nil
	}
}

// dict is dict(x) and d.update(x): the keys must be known.
func dict(c *calling) (starlark.Value, error) {
	if len(c.args) == 0 {
		return c.plainly()
	}
	if u, ok := c.args[0].(runtime.Unknown); ok {
		if c.recv == nil {
			return u.As(runtime.DictShape), nil
		}
		return c.end(u)
	}
	pairs, ok := c.args[0].(starlark.Iterable)
	if _, mapping := pairs.(starlark.IterableMapping); !ok || mapping {
		return c.plainly()
	}
	for pair := range starlark.Elements(pairs) {
		if u, ok := pair.(runtime.Unknown); ok {
			return c.end(u)
		}
		if u, ok := runtime.FindUnknown(elementOf(pair, 0)); ok {
			return c.end(u)
		}
	}
	return c.plainly()
}

// keyed looks at the first argument only, a key or an index.
func keyed(c *calling) (starlark.Value, error) {
	if len(c.args) > 0 {
		if u, ok := runtime.FindUnknown(c.args[0]); ok {
			return c.end(u)
		}
	}
	return c.plainly()
}

// search is list.index, whose answer may not be known, and list.remove, which
// would alter one knows not what.
func search(c *calling) (starlark.Value, error) {
	u, unknown := c.whole()
	if list, ok := c.recv.(*starlark.List); ok && !unknown && len(c.args) > 0 {
		// Only the first that is equal counts, where it is not said where to begin.
		for i := range list.Len() {
			yes, answer, err := equal(list.Index(i), c.args[0], starlark.CompareLimit)
			if u, unknown = answer.(runtime.Unknown); unknown || err != nil || yes && len(c.args) == 1 {
				break
			}
		}
	}
	switch {
	case !unknown:
		return c.plainly()
	case c.name == "index":
		return u.As(runtime.IntShape), nil
	}
	return c.end(u)
}

func dir(c *calling) (starlark.Value, error) {
	if u, ok := c.whole(); ok {
		if _, sure := u.Shape.Has(""); !sure || u.Shape == runtime.PlainData {
			return u.As(runtime.StringsShape), nil
		}
	}
	return c.plainly()
}

func hasattr(c *calling) (starlark.Value, error) {
	u, ok := c.whole()
	if !ok {
		return c.plainly()
	}
	name, isName := starlark.AsString(c.arg(1, ""))
	if isName && isUnknown(c.args[0]) {
		if has, sure := u.Shape.Has(name); sure {
			return starlark.Bool(has), nil
		}
	}
	return u.As(runtime.BoolShape), nil
}

// getattr gives methods as x.name does: guarded.
func getattr(c *calling) (starlark.Value, error) {
	if len(c.args) > 1 {
		if u, ok := c.args[1].(runtime.Unknown); ok {
			return c.end(u)
		}
		if u, ok := c.args[0].(runtime.Unknown); ok && len(c.args) > 2 {
			name, _ := starlark.AsString(c.args[1])
			if _, sure := u.Shape.Has(name); !sure {
				return u.As(nil), nil
			}
		}
	}
	v, err := c.plainly()
	if err != nil {
		return nil, err
	}
	return c.forms.method(v), nil
}

func typeOf(c *calling) (starlark.Value, error) {
	u, ok := c.whole()
	if !ok {
		return c.plainly()
	}
	if name, known := u.Shape.Known(); known {
		return starlark.String(name), nil
	}
	return u.As(runtime.StringShape), nil
}

// extreme is max and min.
func extreme(c *calling) (starlark.Value, error) {
	if c.arg(len(c.args), "key") != nil {
		return keyFunction(c)
	}
	if u, ok := c.within(); ok {
		return u.As(nil), nil
	}
	return c.plainly()
}

func sorted(c *calling) (starlark.Value, error) {
	if key := c.arg(1, "key"); key != nil && key != starlark.None {
		return keyFunction(c)
	}
	if u, ok := c.within(); ok {
		return u.As(runtime.ListShape), nil
	}
	return c.plainly()
}

// keyFunction calls a builtin that calls a function for each element. The
// function may act, so that all elements must be there, and what it returns
// decides.
func keyFunction(c *calling) (starlark.Value, error) {
	if u, ok := c.whole(); ok {
		return c.end(u)
	}
	call := *c
	call.args, call.kwargs = append(starlark.Tuple(nil), c.args...), append([]starlark.Tuple(nil), c.kwargs...)
	if c.name == "sorted" && len(c.args) > 1 {
		call.args[1] = c.known(c.args[1])
	}
	for i, kv := range call.kwargs {
		if kv[0] == starlark.String("key") {
			call.kwargs[i] = starlark.Tuple{kv[0], c.known(kv[1])}
		}
	}
	return call.plainly()
}

// keyOf begins the name of a key function that is looked at.
const keyOf = "key of "

// known is a function whose results must be known.
func (c *calling) known(fn starlark.Value) starlark.Value {
	if _, ok := fn.(starlark.Callable); !ok {
		return fn // the builtin says what is wrong with it
	}
	return starlark.NewBuiltin(keyOf+c.name, func(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		v, err := starlark.Call(t, fn, args, kwargs)
		if u, ok := runtime.FindUnknown(v); ok && err == nil {
			return nil, u.End("a key of " + c.name)
		}
		return v, err
	})
}

func decode(c *calling) (starlark.Value, error) {
	u, ok := c.whole()
	if !ok {
		return c.plainly()
	}
	if len(c.args)+len(c.kwargs) > 1 {
		return u.As(nil), nil // it may be the default that was given
	}
	return u.As(runtime.PlainData), nil
}

// now is not known in a preview: a run has a clock of its own.
func now(c *calling) (starlark.Value, error) {
	if runtime.ReadingFrom(runtime.ContextOf(c.thread)) != nil || len(c.args)+len(c.kwargs) > 0 {
		return c.plainly()
	}
	return runtime.Unknown{Op: "time.now", Pos: c.thread.CallFrame(1).Pos, Shape: runtime.TimeShape}, nil
}

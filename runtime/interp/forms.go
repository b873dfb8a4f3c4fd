package interp

import (
	"maps"
	"slices"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/runtime"
)

// Forms are the forms of code in which a value may decide, by name: "if" is an
// if statement's condition, "==" the operator, "x[i]" an index, "len()" the
// builtin, "list.index()" the method. Each says what becomes of a value that is
// not known: it goes on in a result that is not known either, or it ends the
// preview.
type Forms map[string]Form

// A Form is what is done about one form of code: one of the three functions.
type Form struct {
	pass    func(*bindings, starlark.Value) (starlark.Value, error) // what passes an operand through
	operate func(x, y starlark.Value) (starlark.Value, error)       // an operator
	call    func(*calling) (starlark.Value, error)                  // a builtin or a method
	inRun   bool                                                    // a run needs it too: it makes text, which may hold a secret
}

// DryRunForms are all forms: without one of them, a preview could lie.
func DryRunForms() Forms {
	all := Forms{}
	for _, part := range []Forms{decisions(), operators(), universals(), moduleForms(), methodForms()} {
		maps.Copy(all, part)
	}
	return all
}

// inRun returns the forms that a run needs.
func (f Forms) inRun() Forms {
	run := Forms{}
	for name, form := range f {
		if form.inRun {
			run[name] = form
		}
	}
	if len(run) > 0 {
		run["x.f"] = f["x.f"]
	}
	return run
}

// decisions are the forms that pass a value through, or end.
func decisions() Forms {
	ends := func(what string) Form {
		return Form{pass: func(_ *bindings, v starlark.Value) (starlark.Value, error) {
			if u, ok := v.(runtime.Unknown); ok {
				return nil, u.End(what)
			}
			return v, nil
		}}
	}
	return Forms{
		"if":                   ends("the condition of an if"),
		"while":                ends("the condition of a while"),
		"if else":              ends("the condition of an if"),
		"if in comprehension":  ends("the condition of a comprehension"),
		"and":                  ends("the left side of and"),
		"or":                   ends("the left side of or"),
		"for":                  ends("what a for goes through"),
		"for in comprehension": ends("what a comprehension goes through"),
		"*args":                ends("what * passes"),
		"**kwargs":             ends("what ** passes"),
		"[i:j]":                ends("a bound of a slice"),
		"+=":                   inPlace(syntax.PLUS),
		"|=":                   inPlace(syntax.PIPE),
		"unpack":               {call: unpack},
		"x[i]":                 {pass: index},
		"[i]":                  {pass: same},
		".f":                   {pass: same},
		"-x":                   {pass: same},
		"x[:]":                 {pass: sliced},
		"x.f":                  {pass: func(b *bindings, v starlark.Value) (starlark.Value, error) { return b.method(v), nil }},
	}
}

// inPlace looks at the operands of x += y and x |= y, which may alter x, and
// returns y, with which the interpreter goes on.
func inPlace(op syntax.Token) Form {
	return Form{call: func(c *calling) (starlark.Value, error) {
		x, y := c.args[0], c.args[1]
		u, ok := eitherUnknown(x, y)
		if !ok {
			return y, nil
		}
		runtime.RaiseDoubt(runtime.ContextOf(c.thread), u)
		_, err := starlark.Binary(op, x, y)
		return y, err
	}}
}

// index ends the preview where an index or a key is not known: what it picks
// may be a list or a dict that has another name too.
func index(_ *bindings, v starlark.Value) (starlark.Value, error) {
	if u, ok := runtime.FindUnknown(v); ok {
		return nil, u.End("an index")
	}
	return v, nil
}

// same hands a value on. It is there for [doubted].
func same(_ *bindings, v starlark.Value) (starlark.Value, error) { return v, nil }

// unpack looks at what an assignment takes apart and, for a nested pattern,
// at the elements which that takes apart in turn.
func unpack(c *calling) (starlark.Value, error) {
	pattern := "()"
	if len(c.args) > 1 {
		pattern = string(c.args[1].(starlark.String))
	}
	_, err := unpackAs(c.args[0], pattern)
	return c.args[0], err
}

// unpackAs looks at v as pattern takes it apart, and returns what is left of
// the pattern behind it.
func unpackAs(v starlark.Value, pattern string) (rest string, err error) {
	if pattern[0] == '.' {
		return pattern[1:], nil
	}
	if u, ok := v.(runtime.Unknown); ok {
		return "", u.End("what is unpacked")
	}
	rest = pattern[1:]
	for i := 0; rest[0] != ')'; i++ {
		if rest, err = unpackAs(elementOf(v, i), rest); err != nil {
			return "", err
		}
	}
	return rest[1:], nil
}

// elementOf is v's element i, or None. What cannot be indexed has elements that
// can be hashed, which are known.
func elementOf(v starlark.Value, i int) starlark.Value {
	if elems, ok := v.(starlark.Indexable); ok && i < elems.Len() {
		return elems.Index(i)
	}
	return starlark.None
}

// sliced makes something of an Unknown that the interpreter can slice.
func sliced(_ *bindings, v starlark.Value) (starlark.Value, error) {
	if u, ok := v.(runtime.Unknown); ok {
		return slice{u}, nil
	}
	return v, nil
}

// A slice is an Unknown that is about to be sliced; no plan ever holds one.
type slice struct{ runtime.Unknown }

var _ starlark.Sliceable = slice{}

// Len is any length: the bounds are not looked at.
func (slice) Len() int { return 0 }

// Index is part of being sliceable.
func (s slice) Index(int) starlark.Value { return s.Unknown }

// Slice is not known either, and of the same shape.
func (s slice) Slice(_, _, _ int) starlark.Value { return s.Unknown }

// operators are the operators that give a value.
func operators() Forms {
	forms := Forms{
		"not": {pass: func(_ *bindings, v starlark.Value) (starlark.Value, error) {
			if u, ok := v.(runtime.Unknown); ok {
				return u.As(runtime.BoolShape), nil
			}
			return !v.Truth(), nil
		}},
		"%":  {operate: percent, inRun: true},
		"in": {operate: within},
		"not in": {operate: func(x, y starlark.Value) (starlark.Value, error) {
			return negateIf(true)(within(x, y))
		}},
	}
	for _, op := range []syntax.Token{syntax.EQL, syntax.NEQ, syntax.LT, syntax.LE, syntax.GT, syntax.GE} {
		forms[op.String()] = Form{operate: func(x, y starlark.Value) (starlark.Value, error) {
			return compare(op, x, y, starlark.CompareLimit)
		}}
	}
	for _, op := range []syntax.Token{syntax.PLUS, syntax.MINUS, syntax.STAR, syntax.SLASH, syntax.SLASHSLASH,
		syntax.AMP, syntax.PIPE, syntax.CIRCUMFLEX, syntax.LTLT, syntax.GTGT} {
		forms[op.String()] = Form{operate: func(x, y starlark.Value) (starlark.Value, error) { return operate(op, x, y) }}
	}
	return forms
}

func operate(op syntax.Token, x, y starlark.Value) (starlark.Value, error) {
	if isUnknown(x) || isUnknown(y) {
		return runtime.Operate(op, x, y)
	}
	return starlark.Binary(op, x, y)
}

func isUnknown(v starlark.Value) bool { _, ok := v.(runtime.Unknown); return ok }

// Names lists the forms, sorted.
func (f Forms) Names() []string { return slices.Sorted(maps.Keys(f)) }

package interp

import (
	"maps"
	"slices"
	"strings"

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

// A Form is what is done about one form of code.
type Form struct {
	call  func(*calling) (starlark.Value, error)
	inRun bool // a run needs it too: it makes text, which may hold a secret
}

// A calling is one use of a form: a call of its hidden builtin.
type calling struct {
	thread *starlark.Thread
	name   string
	args   starlark.Tuple
	kwargs []starlark.Tuple
	recv   starlark.Value    // of a method
	native *starlark.Builtin // what would be called; nil for an operator
	forms  *bindings
}

// plainly calls the native builtin as if nothing stood before it: in its frame.
func (c *calling) plainly() (starlark.Value, error) {
	return c.native.CallInternal(c.thread, c.args, c.kwargs)
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

// bindings are forms made into what a file's code sees.
type bindings struct {
	predeclared starlark.StringDict
	methods     map[string]map[string]Form // by type and name
}

// bind makes forms' builtins, which shadow what they guard in base.
func (f Forms) bind(base starlark.StringDict) *bindings {
	b := &bindings{predeclared: maps.Clone(base), methods: map[string]map[string]Form{}}
	modules := map[string]starlark.StringDict{}
	for name, form := range f {
		plain, callable := strings.CutSuffix(name, "()")
		owner, member, dotted := cutLast(plain)
		switch {
		case !callable:
			b.predeclared[name] = b.operator(name, form)
		case !dotted:
			b.shadow(b.predeclared, plain, starlark.Universe[plain], form)
		case moduleMembers(base[owner]) == nil:
			if b.methods[owner] == nil {
				b.methods[owner] = map[string]Form{}
			}
			b.methods[owner][member] = form
		default:
			if modules[owner] == nil {
				modules[owner] = maps.Clone(moduleMembers(base[owner]))
			}
			b.shadow(modules[owner], member, modules[owner][member], form)
		}
	}
	for name, members := range modules {
		b.predeclared[name] = newModule(name, members)
	}
	b.predeclared.Freeze()
	return b
}

// cutLast cuts "time.time.format" into the type and the method.
func cutLast(name string) (owner, member string, dotted bool) {
	i := strings.LastIndexByte(name, '.')
	return name[:max(i, 0)], name[i+1:], i >= 0
}

// operator is the hidden builtin of a form that is no function.
func (b *bindings) operator(name string, form Form) starlark.Value {
	return starlark.NewBuiltin(name, func(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		return form.call(&calling{thread: t, name: name, args: args, forms: b})
	})
}

// shadow puts a guarded builtin where native stands. A name that the base gives
// another meaning to is left alone.
func (b *bindings) shadow(env starlark.StringDict, name string, native starlark.Value, form Form) {
	if own, taken := env[name]; native == nil || taken && own != native {
		return
	}
	if fn, ok := native.(*starlark.Builtin); ok {
		env[name] = b.guarded(fn, nil, form)
	}
}

// guarded is native with form before it; it looks and prints like native.
func (b *bindings) guarded(native *starlark.Builtin, recv starlark.Value, form Form) *starlark.Builtin {
	guard := starlark.NewBuiltin(native.Name(), func(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		return form.call(&calling{t, native.Name(), args, kwargs, recv, native, b})
	})
	if recv == nil {
		return guard
	}
	return guard.BindReceiver(recv)
}

// method guards a bound method of one of Starlark's own types.
func (b *bindings) method(v starlark.Value) starlark.Value {
	native, ok := v.(*starlark.Builtin)
	if !ok || native.Receiver() == nil {
		return v
	}
	recv := native.Receiver()
	form, ok := b.methods[recv.Type()][native.Name()]
	if _, unknown := recv.(runtime.Unknown); unknown || !ok {
		return v
	}
	return b.guarded(native, recv, form)
}

// methodNames are the names of methods that have a form.
func (f Forms) methodNames() map[string]bool {
	names := map[string]bool{}
	for name := range f {
		if plain, ok := strings.CutSuffix(name, "()"); ok {
			if _, member, dotted := cutLast(plain); dotted {
				names[member] = true
			}
		}
	}
	return names
}

// decisions are the forms that pass a value through, or end.
func decisions() Forms {
	ends := func(what string) Form {
		return Form{call: func(c *calling) (starlark.Value, error) {
			if u, ok := c.args[0].(runtime.Unknown); ok {
				return nil, u.End(what)
			}
			return c.args[0], nil
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
		"<<=":                  ends("an operand of <<="),
		">>=":                  ends("an operand of >>="),
		"unpack":               {call: unpack},
		"x[i]":                 {call: index},
		"x[:]":                 {call: sliced},
		"x.f":                  {call: func(c *calling) (starlark.Value, error) { return c.forms.method(c.args[0]), nil }},
	}
}

// index ends the preview where an index or a key is not known: what it picks
// may be a list or a dict that has another name too.
func index(c *calling) (starlark.Value, error) {
	if u, ok := runtime.FindUnknown(c.args[0]); ok {
		return nil, u.End("an index")
	}
	return c.args[0], nil
}

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
func sliced(c *calling) (starlark.Value, error) {
	if u, ok := c.args[0].(runtime.Unknown); ok {
		return slice{u}, nil
	}
	return c.args[0], nil
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

// operators are the operators that give a value. Those that are not here ask
// an Unknown operand themselves; + and | ask it too, but not whether they alter
// a list or a dict in place.
func operators() Forms {
	forms := Forms{
		"not": {call: func(c *calling) (starlark.Value, error) {
			if u, ok := c.args[0].(runtime.Unknown); ok {
				return u.As(runtime.BoolShape), nil
			}
			return !c.args[0].Truth(), nil
		}},
		"%":      {call: percent, inRun: true},
		"in":     {call: func(c *calling) (starlark.Value, error) { return within(c.args[0], c.args[1]) }},
		"not in": {call: notWithin},
	}
	for _, op := range []syntax.Token{syntax.EQL, syntax.NEQ, syntax.LT, syntax.LE, syntax.GT, syntax.GE} {
		forms[op.String()] = Form{call: func(c *calling) (starlark.Value, error) {
			return compare(op, c.args[0], c.args[1], starlark.CompareLimit)
		}}
	}
	for _, op := range []syntax.Token{syntax.PLUS, syntax.PIPE, syntax.LTLT, syntax.GTGT} {
		forms[op.String()] = Form{call: func(c *calling) (starlark.Value, error) { return operate(op, c.args[0], c.args[1]) }}
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

func notWithin(c *calling) (starlark.Value, error) {
	v, err := within(c.args[0], c.args[1])
	if b, ok := v.(starlark.Bool); ok {
		return !b, err
	}
	return v, err
}

// Names lists the forms, sorted.
func (f Forms) Names() []string { return slices.Sorted(maps.Keys(f)) }

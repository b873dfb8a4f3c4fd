package interp

import (
	"maps"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"infra/runtime"
)

// A calling is one call of a builtin that has a form.
type calling struct {
	thread *starlark.Thread
	name   string
	args   starlark.Tuple
	kwargs []starlark.Tuple
	recv   starlark.Value    // of a method
	native *starlark.Builtin // what would be called
	forms  *bindings
}

// plainly calls the native builtin as if nothing stood before it: in its frame.
func (c *calling) plainly() (starlark.Value, error) {
	return c.native.CallInternal(c.thread, c.args, c.kwargs)
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
		b.predeclared[name] = &starlarkstruct.Module{Name: name, Members: members}
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
		switch {
		case form.pass != nil:
			return doubted(t)(form.pass(b, args[0]))
		case form.operate != nil:
			return doubted(t)(form.operate(args[0], args[1]))
		}
		return form.call(&calling{thread: t, name: name, args: args, forms: b})
	})
}

// doubted hands on a result. One that is not known comes from what may fail in
// a run, and an attempt about it must not say that it did not.
func doubted(t *starlark.Thread) func(starlark.Value, error) (starlark.Value, error) {
	return func(v starlark.Value, err error) (starlark.Value, error) {
		switch v := v.(type) {
		case runtime.Unknown:
			runtime.RaiseDoubt(runtime.ContextOf(t), v)
		case slice:
			runtime.RaiseDoubt(runtime.ContextOf(t), v.Unknown)
		case *starlark.Builtin: // a method, of what may turn out to have none of that name
			if u, ok := v.Receiver().(runtime.Unknown); ok && u.Shape == runtime.PlainData {
				runtime.RaiseDoubt(runtime.ContextOf(t), u)
			}
		}
		return v, err
	}
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
		return doubted(t)(form.call(&calling{t, native.Name(), args, kwargs, recv, native, b}))
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

func moduleMembers(v starlark.Value) starlark.StringDict {
	if m, ok := v.(*starlarkstruct.Module); ok {
		return m.Members
	}
	return nil
}

// Package call is the one adapter between Go and Starlark signatures. A
// builtin is a [Spec]: its name, words, parameters, effect, result and example
// in one place, from which come the unpacking of arguments, the documentation,
// the hints on misspelt names and the behaviour of a dry run.
package call

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"infra/runtime"
)

// Level says where a builtin may be called.
type Level uint8

// The levels.
const (
	InStep   Level = iota // it acts: only while a step or a check runs
	InFile                // it declares: only while a file is read
	Anywhere              // it computes
	Input                 // it observes: in a step, and while a file is read, which then is made of what it saw
)

// A Spec is everything there is to know about one builtin.
type Spec struct {
	Name    string // "nix.build"
	Level   Level
	Effect  runtime.Effect // the strongest its operations have; for InStep only
	Doc     string         // sentences; the first stands alone in a list
	Params  []Param        // filled by New
	Returns string         // the result's type, "store_path"; "" is None
	Fields  []Field        // the result's fields
	Example string         // a few lines that a test runs

	// Receiver is the builtin whose result has this one as a method,
	// "terraform.dir"; "" for a function of a module.
	Receiver string

	run func(*Call, starlark.Tuple, []starlark.Tuple) (starlark.Value, error)
}

// A Field documents one field of a result.
type Field struct{ Name, Type, Doc string }

// New completes a spec with the function behind it. A is a struct whose fields
// are the parameters, in order: see [Param] for their tags.
func New[A any](s Spec, fn func(*Call, A) (starlark.Value, error)) Spec {
	params := paramsOf[A]()
	s.Params = params
	s.run = func(c *Call, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var a A
		given, err := unpack(params, &a, args, kwargs)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.spec.Name, err)
		}
		c.args, c.needs, c.placed = given.kept, given.needs, given.placed
		if c.Recv == nil {
			c.decides = a
		}
		if c.needs != nil && c.spec.Level == Anywhere {
			return c.spec.notKnown(*c.needs), nil
		}
		v, err := fn(c, a)
		if c.needs != nil && !c.asked {
			return c.withoutAsking(err)
		}
		if v == nil {
			v = starlark.None
		}
		return v, err
	}
	return s
}

// A Call is one call of a builtin by a plan.
type Call struct {
	Thread *starlark.Thread
	Pos    syntax.Position // of the call in the plan
	Recv   starlark.Value  // what a method was called on; nil for a function

	spec  *Spec
	do    runtime.Do
	ctx   context.Context
	args  runtime.Args
	needs *runtime.Unknown // an argument, or a part of one, that is not known yet
	asked bool             // for an operation

	placed []*runtime.Host // those among the arguments that are reached at an address of their own

	decides any              // what its operations are known by; nil: nothing tells
	answers []starlark.Value // what it was answered so far
}

// Context is the run's: it ends when the run is to stop.
func (c *Call) Context() context.Context { return c.ctx }

// Do asks for an operation with the builtin's own effect. The name, the
// arguments and the position are the call's unless op has its own.
func (c *Call) Do(op runtime.Op) (runtime.Result, error) {
	return c.ask(op, c.spec.Effect)
}

// Read asks for an operation that only observes, whatever the builtin may do
// when it is called otherwise.
func (c *Call) Read(op runtime.Op) (runtime.Result, error) {
	return c.ask(op, runtime.Read)
}

// Change asks for an operation that can be undone or repeated, of a builtin that
// destroys when it is called otherwise.
func (c *Call) Change(op runtime.Op) (runtime.Result, error) {
	return c.ask(op, runtime.Change)
}

// Ahead is Do for a builtin that hands on the operation's value and does no more. Where
// it is called as a statement of its own, the plan's code may go on before the answer is
// there, as [runtime.Ahead] says; the value is None then.
func (c *Call) Ahead(op runtime.Op) (starlark.Value, error) {
	op.Statement = runtime.StatementOf(c.Thread)
	return c.Value(op)
}

func (c *Call) ask(op runtime.Op, e runtime.Effect) (runtime.Result, error) {
	c.asked = true
	op.Effect, op.Pos = e, c.Pos
	if op.Name == "" {
		op.Name = c.spec.Name
	}
	if op.Args == nil {
		op.Args = c.args
	}
	if op.NotKnown == nil {
		op.NotKnown = c.NotKnown
	}
	if op.Same == nil {
		op.Same = c.same()
	}
	c.place(&op)
	if c.needs != nil { // a path among the arguments may be what is not known
		op.Needs, op.Looks, op.Alters = c.needs, nil, nil
	}
	res, err := c.answer(op)
	if c.answers = append(c.answers, res.Value); err != nil || res.Aside != nil {
		c.decides = nil // nothing tells what the builtin makes of that
	}
	return res, err
}

func (c *Call) answer(op runtime.Op) (runtime.Result, error) {
	if reading := runtime.ReadingFrom(c.ctx); reading != nil {
		return c.see(reading, op)
	}
	return c.do(c.ctx, op)
}

// see carries out a read while a file is read. What it answers becomes a source
// of the plan, as a file that it loads is: who goes on with the plan later goes
// on with the same.
func (c *Call) see(reading *runtime.Reading, op runtime.Op) (runtime.Result, error) {
	if op.Effect != runtime.Read {
		return runtime.Result{}, fmt.Errorf("%s acts on the world, and reading a file must not", op.Name)
	}
	r, err := runtime.ReaderFrom(c.ctx)(c.ctx, op)
	if err != nil {
		return r, err
	}
	seen, err := runtime.Encode(r.Value)
	if err != nil {
		return r, err
	}
	args, err := json.Marshal(op.Args)
	if err != nil {
		return r, err
	}
	reading.Saw(op.Name+" "+string(args), seen)
	return r, nil
}

// withoutAsking is the answer of a builtin that was called with what is not
// known yet and asked for no operation: it computed with a stand-in, or
// refused it.
func (c *Call) withoutAsking(err error) (starlark.Value, error) {
	var ends *runtime.NotKnownError
	switch {
	case err == nil:
		return c.spec.notKnown(*c.needs), nil
	case errors.As(err, &ends):
		return nil, err
	}
	return nil, fmt.Errorf("%w; with its name in place of the value: %w",
		&runtime.NotKnownError{Field: "what " + c.spec.Name + " does", Origin: *c.needs}, err)
}

// Value is Do for builtins that hand on the operation's value.
func (c *Call) Value(op runtime.Op) (starlark.Value, error) {
	r, err := c.Do(op)
	return r.Value, err
}

// Unknown is the value that only a real run of this call will know.
func (c *Call) Unknown() runtime.Unknown {
	return runtime.Unknown{Op: c.spec.Name, Pos: c.Pos}
}

// NotKnown is the builtin's result where a preview knows nothing of it.
func (c *Call) NotKnown() starlark.Value { return c.spec.notKnown(c.Unknown()) }

// Report notes a problem with a declaration and lets the reading go on.
func (c *Call) Report(hint, format string, args ...any) {
	runtime.ReadingFrom(c.ctx).Report(c.Pos, hint, format, args...)
}

// Builtin makes the Starlark value of a spec whose operations go through do.
func (s Spec) Builtin(do runtime.Do) *starlark.Builtin { return s.builtin(do, nil) }

// Method is s as a method of recv, a value that the call c makes. Its
// operations go through the same door as the call's.
func (c *Call) Method(s Spec, recv starlark.Value) *starlark.Builtin { return s.builtin(c.do, recv) }

func (s Spec) builtin(do runtime.Do, recv starlark.Value) *starlark.Builtin {
	spec := &s
	return starlark.NewBuiltin(last(s.Name), func(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		ctx := runtime.ContextOf(t)
		if err := spec.allowed(ctx); err != nil {
			return nil, err
		}
		return spec.run(&Call{Thread: t, Pos: t.CallFrame(1).Pos, Recv: recv, spec: spec, do: do, ctx: ctx}, args, kwargs)
	})
}

func (s *Spec) allowed(ctx context.Context) error {
	return s.AllowedAt(runtime.ReadingFrom(ctx) != nil)
}

// AllowedAt says whether the builtin may be called while a file is read
// (reading) or while a step runs.
func (s *Spec) AllowedAt(reading bool) error {
	switch {
	case s.Level == InStep && reading:
		return runtime.WithHint(fmt.Errorf("%s acts on the world, and reading a file must not", s.Name),
			"call it inside a step: def build(): %s(...)", s.Name)
	case s.Level == InFile && !reading:
		return runtime.WithHint(fmt.Errorf("%s declares, and a running step cannot", s.Name),
			"call it at the top level of the file")
	}
	return nil
}

// Accepts says what is wrong with a call that has so many positional arguments
// and these named ones, as far as that can be seen without running it.
func (s *Spec) Accepts(positional int, named []string) []error {
	var errs []error
	args := make(starlark.Tuple, positional)
	for i := range args {
		args[i] = starlark.None
	}
	kwargs := make([]starlark.Tuple, len(named))
	for i, name := range named {
		kwargs[i] = starlark.Tuple{starlark.String(name), starlark.None}
		if _, err := match(s.Params, nil, kwargs[i:i+1]); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return errs
	}
	given, err := match(s.Params, args, kwargs)
	if err != nil {
		return []error{err}
	}
	for i, p := range s.Params {
		if given[i] == nil && !p.Optional {
			errs = append(errs, p.missing())
		}
	}
	return errs
}

// Modules makes the names a plan sees from specs: "fail" is a function,
// "nix.build" a function of the module nix, "nix.flake.check" one of a module
// within it. A method is of no module.
func Modules(do runtime.Do, specs []Spec) starlark.StringDict {
	top := starlark.StringDict{}
	for _, s := range specs {
		if s.Receiver != "" {
			continue
		}
		path := strings.Split(s.Name, ".")
		members, prefix := top, ""
		for _, name := range path[:len(path)-1] {
			prefix = strings.TrimPrefix(prefix+"."+name, ".")
			m, ok := members[name].(*starlarkstruct.Module)
			if !ok {
				m = &starlarkstruct.Module{Name: prefix, Members: starlark.StringDict{}}
				members[name] = m
			}
			members = m.Members
		}
		members[path[len(path)-1]] = s.Builtin(do)
	}
	top.Freeze()
	return top
}

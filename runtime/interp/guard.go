package interp

import (
	starlarkmath "go.starlark.net/lib/math"
	"go.starlark.net/starlark"

	"infra/runtime"
)

// values are all arguments, named ones included.
func (c *calling) values() []starlark.Value {
	all := make([]starlark.Value, 0, len(c.args)+len(c.kwargs))
	all = append(all, c.args...)
	for _, kv := range c.kwargs {
		all = append(all, kv[1])
	}
	return all
}

// arg returns an argument by place or name, or nil.
func (c *calling) arg(i int, name string) starlark.Value {
	if i < len(c.args) {
		return c.args[i]
	}
	for _, kv := range c.kwargs {
		if kv[0] == starlark.String(name) {
			return kv[1]
		}
	}
	return nil
}

// whole returns an argument that is not known as a whole.
func (c *calling) whole() (runtime.Unknown, bool) {
	for _, v := range c.values() {
		if u, ok := v.(runtime.Unknown); ok {
			return u, true
		}
	}
	return runtime.Unknown{}, false
}

// within returns what is not known in an argument, at any depth.
func (c *calling) within() (runtime.Unknown, bool) {
	for _, v := range c.values() {
		if u, ok := runtime.FindUnknown(v); ok {
			return u, true
		}
	}
	return runtime.Unknown{}, false
}

func (c *calling) end(u runtime.Unknown) (starlark.Value, error) {
	return nil, u.End("an argument of " + c.name)
}

// gives: the result is not known where an argument or anything in it is not.
func gives(shape *runtime.Shape) Form {
	return Form{call: func(c *calling) (starlark.Value, error) {
		if u, ok := c.within(); ok {
			return u.As(shape), nil
		}
		return c.plainly()
	}}
}

// givesWhole: the result is not known where an argument is not. It does not
// matter what an argument holds.
func givesWhole(shape *runtime.Shape) Form {
	return Form{call: func(c *calling) (starlark.Value, error) {
		if u, ok := c.whole(); ok {
			return u.As(shape), nil
		}
		return c.plainly()
	}}
}

// ends: the preview ends where an argument or anything in it is not known.
func ends() Form {
	return Form{call: func(c *calling) (starlark.Value, error) {
		if u, ok := c.within(); ok {
			return c.end(u)
		}
		return c.plainly()
	}}
}

// endsWhole: the preview ends where an argument is not known.
func endsWhole() Form {
	return Form{call: func(c *calling) (starlark.Value, error) {
		if u, ok := c.whole(); ok {
			return c.end(u)
		}
		return c.plainly()
	}}
}

// universals are the builtins that every Starlark has. Those that are not here,
// print and dir say, do not decide.
func universals() Forms {
	return Forms{
		"abs()":       {call: abs},
		"all()":       {call: anyOrAll(false)},
		"any()":       {call: anyOrAll(true)},
		"bool()":      givesWhole(runtime.BoolShape),
		"bytes()":     gives(runtime.BytesShape),
		"chr()":       gives(runtime.StringShape),
		"dict()":      {call: dict},
		"dir()":       {call: dir},
		"enumerate()": givesWhole(&runtime.Shape{Type: "list", Elem: runtime.TupleShape}),
		"float()":     gives(runtime.FloatShape),
		"getattr()":   {call: getattr},
		"hasattr()":   {call: hasattr},
		"hash()":      gives(runtime.IntShape),
		"int()":       gives(runtime.IntShape),
		"len()":       givesWhole(runtime.IntShape),
		"list()":      {call: sequence("list")},
		"max()":       {call: extreme},
		"min()":       {call: extreme},
		"ord()":       gives(runtime.IntShape),
		"range()":     gives(runtime.RangeShape),
		"repr()":      {call: text, inRun: true},
		"reversed()":  {call: sequence("list")},
		"set()":       gives(runtime.SetShape),
		"sorted()":    {call: sorted},
		"str()":       {call: text, inRun: true},
		"tuple()":     {call: sequence("tuple")},
		"type()":      {call: typeOf},
		"zip()":       givesWhole(&runtime.Shape{Type: "list", Elem: runtime.TupleShape}),
	}
}

// moduleForms are the functions of the modules that come with Starlark.
func moduleForms() Forms {
	forms := Forms{
		"json.encode()":            {call: text, inRun: true},
		"json.encode_indent()":     {call: text, inRun: true},
		"json.decode()":            {call: decode},
		"json.indent()":            gives(runtime.StringShape),
		"time.now()":               {call: now},
		"time.from_timestamp()":    gives(runtime.TimeShape),
		"time.parse_time()":        gives(runtime.TimeShape),
		"time.time()":              gives(runtime.TimeShape),
		"time.parse_duration()":    gives(&runtime.Shape{Type: "time.duration"}),
		"time.is_valid_timezone()": gives(runtime.BoolShape),
	}
	for name, member := range starlarkmath.Module.Members {
		if _, ok := member.(*starlark.Builtin); ok {
			forms["math."+name+"()"] = gives(runtime.FloatShape)
		}
	}
	forms["math.ceil()"], forms["math.floor()"] = gives(runtime.IntShape), gives(runtime.IntShape)
	return forms
}

// methodForms are the methods of Starlark's types that take a value by which
// they decide. A list takes any value with append, for one, and does not look.
func methodForms() Forms {
	forms := Forms{
		"string.format()":   {call: text, inRun: true},
		"string.join()":     {call: text, inRun: true},
		"dict.get()":        {call: keyed},
		"dict.pop()":        {call: keyed},
		"dict.setdefault()": {call: keyed},
		"dict.update()":     {call: dict},
		"list.extend()":     endsWhole(),
		"list.index()":      {call: search},
		"list.insert()":     {call: keyed},
		"list.pop()":        ends(),
		"list.remove()":     {call: search},

		"time.time.format()":      gives(runtime.StringShape),
		"time.time.in_location()": gives(runtime.TimeShape),
	}
	methods := func(on string, form Form, names ...string) {
		for _, name := range names {
			forms[on+"."+name+"()"] = form
		}
	}
	methods("string", gives(runtime.StringShape), "lstrip", "removeprefix", "removesuffix", "replace", "rstrip", "strip")
	methods("string", gives(runtime.IntShape), "count", "find", "index", "rfind", "rindex")
	methods("string", gives(runtime.BoolShape), "endswith", "startswith")
	methods("string", gives(runtime.StringsShape), "rsplit", "split", "splitlines")
	methods("string", gives(&runtime.Shape{Type: "tuple", Elem: runtime.StringShape}), "partition", "rpartition")
	methods("set", gives(runtime.SetShape), "difference", "intersection", "symmetric_difference", "union")
	methods("set", gives(runtime.BoolShape), "issubset", "issuperset")
	methods("set", ends(), "add", "discard", "remove", "update")
	return forms
}

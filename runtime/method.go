package runtime

import (
	"maps"

	"go.starlark.net/starlark"
)

// A method is what calling one of an Unknown's answers with.
type method struct {
	gives  *Shape
	elem   bool // it gives an element rather than gives
	alters bool // it would alter the value, and ends the preview
}

// methods are those of Starlark's own types and of a command's result. A type
// that stands here has no others.
var methods = map[string]map[string]method{
	"NoneType": {}, "bool": {}, "int": {}, "float": {}, "tuple": {}, "range": {}, "secret": {},
	"function": {}, "builtin_function_or_method": {},
	"bytes": {"elems": {gives: &Shape{Type: "bytes.elems", Elem: IntShape}}},
	"string": giving(
		StringShape, "capitalize", "format", "join", "lower", "lstrip", "removeprefix", "removesuffix", "replace",
		"rstrip", "strip", "title", "upper",
		IntShape, "count", "find", "index", "rfind", "rindex",
		BoolShape, "endswith", "isalnum", "isalpha", "isdigit", "islower", "isspace", "istitle", "isupper", "startswith",
		StringsShape, "rsplit", "split", "splitlines",
		&Shape{Type: "tuple", Elem: StringShape}, "partition", "rpartition",
		&Shape{Type: "string.elems", Elem: StringShape}, "elems", "codepoints",
		&Shape{Type: "string.elems", Elem: IntShape}, "elem_ords", "codepoint_ords"),
	"list":           join(giving(IntShape, "index"), altering("append", "clear", "extend", "insert", "pop", "remove")),
	"dict":           join(dictMethods, altering("clear", "pop", "popitem", "setdefault", "update")),
	"set":            join(giving(SetShape, "difference", "intersection", "symmetric_difference", "union", BoolShape, "issubset", "issuperset"), altering("add", "clear", "discard", "pop", "remove", "update")),
	"command_result": giving(PlainData, "json", StringsShape, "lines"),
	"time.time":      giving(StringShape, "format", &Shape{Type: "time.time"}, "in_location"),
}

var dictMethods = map[string]method{
	"get":    {elem: true},
	"items":  {gives: &Shape{Type: "list", Elem: TupleShape}},
	"keys":   {gives: ListShape},
	"values": {gives: ListShape},
}

// Plain data is a string, a list or a dict: it has the methods of all of them,
// and where two have one of the same name, its answer fits both.
func init() {
	methods[PlainData.Type] = join(methods["string"], methods["list"], methods["dict"], map[string]method{
		"values": {gives: &Shape{Type: "list", Elem: PlainData}},
		"keys":   {gives: StringsShape},
		"items":  {gives: &Shape{Type: "list", Elem: &Shape{Type: "tuple", Elem: PlainData}}},
	})
}

// giving makes methods of names, each of which gives the shape before it.
func giving(shapesAndNames ...any) map[string]method {
	made := map[string]method{}
	var shape *Shape
	for _, x := range shapesAndNames {
		switch x := x.(type) {
		case *Shape:
			shape = x
		case string:
			made[x] = method{gives: shape}
		}
	}
	return made
}

func altering(names ...string) map[string]method {
	made := map[string]method{}
	for _, name := range names {
		made[name] = method{alters: true}
	}
	return made
}

func join(tables ...map[string]method) map[string]method {
	made := map[string]method{}
	for _, t := range tables {
		maps.Copy(made, t)
	}
	return made
}

// of is the method as a plan sees it, bound to u.
func (m method) of(u Unknown, name string) starlark.Value {
	call := func(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		if m.alters {
			return nil, u.End("what ." + name + "() alters")
		}
		RaiseDoubt(ContextOf(t), u) // it may fail
		return u.As(m.shape(u, args, kwargs)), nil
	}
	return starlark.NewBuiltin(name, call).BindReceiver(u)
}

// shape is that of the answer. Text made with what is not text alone may be a
// secret, and dict.get may answer with the default that it was given.
func (m method) shape(u Unknown, args starlark.Tuple, kwargs []starlark.Tuple) *Shape {
	if m.elem && len(args) < 2 {
		elem, _ := u.Shape.element()
		return elem
	}
	if m.elem {
		return nil
	}
	if m.gives == StringShape {
		return TextShape(append(pairs(kwargs), args...)...)
	}
	return m.gives
}

// pairs returns named arguments as values.
func pairs(kwargs []starlark.Tuple) []starlark.Value {
	values := make([]starlark.Value, len(kwargs))
	for i, kv := range kwargs {
		values[i] = kv
	}
	return values
}

// TextShape is that of text made of values: a string, a secret where one of
// them is, and not known where one of them may be.
func TextShape(values ...starlark.Value) *Shape {
	shape := StringShape
	for _, v := range values {
		AnyWithin(v, func(v starlark.Value) bool {
			u, unknown := v.(Unknown)
			_, secret := v.(*Secret)
			switch {
			case secret || unknown && u.Shape == SecretShape:
				shape = SecretShape
			case unknown && !u.Shape.HidesNothing():
				shape = nil
			}
			return shape != StringShape
		})
		if shape != StringShape {
			return shape
		}
	}
	return shape
}

package call

import (
	"reflect"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// represent replaces what is not known in an argument by its name, where the
// parameter's type is one of text or store paths: the operation is then shown
// with that name and not carried out. Of any other type the builtin itself
// would decide on it, so that ends the preview.
func represent(v starlark.Value, to reflect.Type, name string) (starlark.Value, *runtime.Unknown, error) {
	u, found := runtime.FindUnknown(v)
	if !found || takesAnything(to) {
		return v, nil, nil
	}
	as, ok := representations[to]
	if !ok || !as.fits(v) {
		return nil, nil, &runtime.NotKnownError{Field: "the argument " + name, Origin: u}
	}
	return replaced(v, as.value), &u, nil
}

// takesAnything: such a parameter is handed on as it is.
func takesAnything(t reflect.Type) bool {
	return t == reflect.TypeFor[starlark.Value]() || t == reflect.TypeFor[[]starlark.Value]() || t == reflect.TypeFor[starlark.Callable]() || t == reflect.TypeFor[Late]()
}

// A representation is how a parameter's type holds what is not known.
type representation struct {
	value func(runtime.Unknown) starlark.Value
	types []string // of the values that may turn out; a call with another one would fail
}

var representations = map[reflect.Type]representation{
	reflect.TypeFor[string]():                  {nameOf, []string{"string", "store_path"}},
	reflect.TypeFor[Target]():                  {nameOf, []string{"string"}},
	reflect.TypeFor[runtime.Text]():            {nameOf, []string{"string", "bytes", "secret"}},
	reflect.TypeFor[*runtime.Text]():           {nameOf, []string{"string", "bytes", "secret"}},
	reflect.TypeFor[*runtime.StorePath]():      {pathOf, []string{"string", "store_path"}},
	reflect.TypeFor[[]string]():                {listOf, []string{"list", "tuple", "set"}},
	reflect.TypeFor[Argv]():                    {listOf, []string{"string", "list", "tuple"}},
	reflect.TypeFor[StorePaths]():              {pathOf, []string{"string", "store_path", "list", "tuple"}},
	reflect.TypeFor[map[string]runtime.Text](): {nameOf, nil},
}

func nameOf(u runtime.Unknown) starlark.Value { return starlark.String(u.String()) }

func listOf(u runtime.Unknown) starlark.Value { return starlark.NewList([]starlark.Value{nameOf(u)}) }

func pathOf(u runtime.Unknown) starlark.Value { return &runtime.StorePath{Path: u.String()} }

// fits says whether v, of which something is not known, could be right. What
// is not known in a list or a dict is for the converter to judge.
func (r representation) fits(v starlark.Value) bool {
	u, whole := v.(runtime.Unknown)
	if !whole || r.types == nil {
		return !whole
	}
	return u.Shape == nil || u.Shape == runtime.PlainData || slices.Contains(r.types, u.Shape.Type)
}

// replaced is v with what is not known replaced; of a list or a dict, each
// element by the representation of one.
func replaced(v starlark.Value, whole func(runtime.Unknown) starlark.Value) starlark.Value {
	element := func(e starlark.Value) starlark.Value {
		if u, ok := e.(runtime.Unknown); ok {
			if p, ok := whole(u).(*runtime.StorePath); ok {
				return p
			}
			return nameOf(u)
		}
		return e
	}
	switch v := v.(type) {
	case runtime.Unknown:
		return whole(v)
	case *starlark.List, starlark.Tuple:
		var out []starlark.Value
		for e := range starlark.Elements(v.(starlark.Iterable)) {
			out = append(out, element(e))
		}
		return starlark.NewList(out)
	case *starlark.Dict:
		out := starlark.NewDict(v.Len())
		for k, e := range v.Entries() {
			_ = out.SetKey(k, element(e)) // it was a key before
		}
		return out
	}
	return v
}

// notKnown is the builtin's result, of which nothing is known but its shape.
func (s *Spec) notKnown(u runtime.Unknown) starlark.Value {
	switch {
	case s.Returns == "":
		return starlark.None
	case len(s.Fields) == 0 || strings.HasPrefix(s.Returns, "list of ") || shapes[s.Returns] != nil:
		return u.As(s.shape())
	}
	fields := make([]runtime.Field, len(s.Fields))
	for i, f := range s.Fields {
		fields[i] = runtime.Field{Name: f.Name, Value: u.As(shapeOf(f.Type))}
	}
	return runtime.NewRecord(s.Returns, fields...)
}

// shape is that of the builtin's result.
func (s *Spec) shape() *runtime.Shape {
	known := shapeOf(s.Returns)
	kind, list := strings.CutPrefix(s.Returns, "list of ")
	if known != nil || !list {
		return known
	}
	elem := &runtime.Shape{Type: strings.TrimSuffix(kind, "s")}
	for _, f := range s.Fields {
		elem.Fields = append(elem.Fields, runtime.ShapeOf{Name: f.Name, Shape: shapeOf(f.Type)})
	}
	return &runtime.Shape{Type: "list", Elem: elem}
}

// shapes are those of the types that documentation names.
var shapes = map[string]*runtime.Shape{
	"string": runtime.StringShape, "bool": runtime.BoolShape, "int": runtime.IntShape,
	"secret": runtime.SecretShape, "store_path": runtime.StorePathShape, "plain data": runtime.PlainData,
	"list of strings":  runtime.StringsShape,
	"tuple of strings": {Type: "tuple", Elem: runtime.StringShape},
	"dict of strings":  {Type: "dict", Elem: runtime.StringShape},
	"sops_file":        {Type: "sops_file", Elem: runtime.SecretShape},
}

// shapeOf is the shape of a documented type; nil where that says too little.
func shapeOf(documented string) *runtime.Shape { return shapes[documented] }

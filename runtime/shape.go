package runtime

import (
	"fmt"
	"slices"

	"go.starlark.net/starlark"
)

// A Shape is what is known of an [Unknown] value: its type and, where it has
// any, those of its elements or fields. A nil Shape is no knowledge at all: the
// value may be anything that a plan can hold, a function included.
type Shape struct {
	Type   string    // as type() will say; PlainData's is "plain data", for which type() is not known
	Elem   *Shape    // of a list, tuple, set, or of a dict's values; nil where that is not known
	Fields []ShapeOf // of a record, a struct or a store path, in order
}

// ShapeOf is the shape of one field.
type ShapeOf struct {
	Name  string
	Shape *Shape
}

// The shapes of Starlark's own types.
var (
	StringShape  = &Shape{Type: "string"}
	BytesShape   = &Shape{Type: "bytes"}
	BoolShape    = &Shape{Type: "bool"}
	IntShape     = &Shape{Type: "int"}
	FloatShape   = &Shape{Type: "float"}
	SecretShape  = &Shape{Type: "secret"}
	ListShape    = &Shape{Type: "list"}
	TupleShape   = &Shape{Type: "tuple"}
	DictShape    = &Shape{Type: "dict"}
	SetShape     = &Shape{Type: "set"}
	RangeShape   = &Shape{Type: "range", Elem: IntShape}
	StringsShape = &Shape{Type: "list", Elem: StringShape}
	// PlainData is what JSON can say: None, bools, numbers, strings, lists
	// and dicts of these. It is never a function.
	PlainData = &Shape{Type: "plain data"}
	// StorePathShape is that of a [StorePath].
	StorePathShape = &Shape{Type: "store_path", Fields: []ShapeOf{
		{"path", StringShape}, {"name", StringShape}, {"drv", StringShape}}}
	// TimeShape is that of what time.now answers.
	TimeShape = &Shape{Type: "time.time", Fields: []ShapeOf{
		{"year", IntShape}, {"month", IntShape}, {"day", IntShape}, {"hour", IntShape}, {"minute", IntShape},
		{"second", IntShape}, {"nanosecond", IntShape}, {"unix", IntShape}, {"unix_nano", IntShape}}}
)

// kind is the type, or "" where type() is not known.
func (s *Shape) kind() string {
	if s == nil || s.Type == PlainData.Type {
		return ""
	}
	return s.Type
}

// Known says whether type() is known, and is then the type.
func (s *Shape) Known() (name string, ok bool) { return s.kind(), s.kind() != "" }

// Has says whether a value of the shape has a field or method of that name;
// sure is false where only the run will know.
func (s *Shape) Has(name string) (has, sure bool) {
	if s == nil {
		return false, false
	}
	v, err := s.attr(Unknown{}, name)
	return err == nil, err != nil || v != Unknown{} && s != PlainData
}

// HidesNothing says that text made of such a value is text, and not a secret.
func (s *Shape) HidesNothing() bool {
	if s == nil {
		return false
	}
	switch s.Type {
	case "plain data", "string", "bytes", "bool", "int", "float", "range":
		return true
	case "list", "tuple", "dict", "set":
		return s.Elem.HidesNothing()
	}
	return len(s.Fields) > 0 && !slices.ContainsFunc(s.Fields, func(f ShapeOf) bool { return !f.Shape.HidesNothing() })
}

// element is the shape of x[i]; ok is false for what has no elements.
func (s *Shape) element() (elem *Shape, ok bool) {
	if s == nil {
		return nil, true
	}
	switch s.Type {
	case "plain data", "string", "bytes":
		return s, true
	case "list", "tuple", "dict", "range":
		return s.Elem, true
	}
	_, native := methods[s.Type]
	return s.Elem, !native && len(s.Fields) == 0
}

// attr returns the field or method name of u, whose shape s is.
func (s *Shape) attr(u Unknown, name string) (starlark.Value, error) {
	if s == nil {
		return u.As(nil), nil
	}
	for _, f := range s.Fields {
		if f.Name == name {
			return u.As(f.Shape), nil
		}
	}
	own, native := methods[s.Type]
	if s.hasField("stdout") {
		own, native = methods["command_result"], true
	}
	if m, ok := own[name]; ok {
		return m.of(u, name), nil
	}
	if !native && len(s.Fields) == 0 {
		return u.As(nil), nil
	}
	return nil, starlark.NoSuchAttrError(fmt.Sprintf("%s has no .%s field or method", s.Type, name))
}

func (s *Shape) hasField(name string) bool {
	return slices.ContainsFunc(s.Fields, func(f ShapeOf) bool { return f.Name == name })
}

func (s *Shape) attrNames() []string {
	if s == nil {
		return nil
	}
	var names []string
	for _, f := range s.Fields {
		names = append(names, f.Name)
	}
	own := methods[s.Type]
	if s.hasField("stdout") {
		own = methods["command_result"]
	}
	for name := range own {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

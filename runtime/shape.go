package runtime

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
	StringsShape = &Shape{Type: "list", Elem: StringShape}
	// PlainData is what JSON can say: None, bools, numbers, strings, lists
	// and dicts of these. It is never a function.
	PlainData = &Shape{Type: "plain data"}
	// StorePathShape is that of a [StorePath].
	StorePathShape = &Shape{Type: "store_path", Fields: []ShapeOf{
		{"path", StringShape}, {"name", StringShape}, {"drv", StringShape}}}
)

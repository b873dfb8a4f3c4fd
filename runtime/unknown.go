package runtime

import (
	"fmt"
	"iter"
	"slices"
	"strconv"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"
)

// Unknown stands for a value that only a real run will know. A plan may pass
// it on, ask it for attributes and elements, and build text with it: the
// result is Unknown too. What decides on one ends the step's preview with a
// [NotKnownError]; interp compiles previews so that nothing decides unnoticed.
//
// The interpreter's own interfaces cannot do that, since neither truth nor
// equality nor printing may fail. What they can do is done here, for the few
// places that no compiler of ours has seen.
type Unknown struct {
	Op    string          // the operation that will know, "ssh.run"
	Pos   syntax.Position // where the plan asked for it
	Shape *Shape          // what is known of the value; nil is nothing
}

var (
	_ starlark.HasAttrs    = Unknown{}
	_ starlark.HasSetField = Unknown{}
	_ starlark.HasBinary   = Unknown{}
	_ starlark.HasUnary    = Unknown{}
	_ starlark.Mapping     = Unknown{}
	_ starlark.HasSetKey   = Unknown{}
	_ starlark.Callable    = Unknown{}
)

// String is how a preview prints it: (known after ssh.run, plans/a.star:31).
func (u Unknown) String() string {
	return "(known after " + u.Op + ", " + u.Pos.Filename() + ":" + strconv.Itoa(int(u.Pos.Line)) + ")"
}

// As is the same unknown with another shape: what is made of it.
func (u Unknown) As(shape *Shape) Unknown { return Unknown{u.Op, u.Pos, shape} }

// End is the error that ends a preview which needs to know u. what is the
// place that needs it, "the condition of an if".
func (u Unknown) End(what string) error { return &NotKnownError{Field: what, Origin: u} }

// Type is "unknown", whatever the shape: the interpreter takes values of one
// Type for one Go type, and would panic where it compared this to a string.
func (Unknown) Type() string { return "unknown" }

// Freeze does nothing: an Unknown is immutable.
func (Unknown) Freeze() {}

// Truth is false; a preview is compiled so that nobody asks.
func (Unknown) Truth() starlark.Bool { return false }

// Hash refuses: an Unknown is no key.
func (u Unknown) Hash() (uint32, error) { return 0, u.End("a key") }

// Name makes an Unknown callable, so that a call of it says what is wrong.
func (u Unknown) Name() string { return "unknown" }

// CallInternal ends the preview: what the function does is not known either.
func (u Unknown) CallInternal(*starlark.Thread, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
	return nil, u.End("the function that is called")
}

// Get is x[i], of a dict, a list or a text. An element is always found: only
// the run knows whether it is there.
func (u Unknown) Get(starlark.Value) (starlark.Value, bool, error) {
	elem, ok := u.Shape.element()
	if !ok {
		return nil, false, fmt.Errorf("%s has no elements", u.Shape.Type)
	}
	return u.As(elem), true, nil
}

// SetKey ends the preview: x[i] = v would alter what another name may know.
func (u Unknown) SetKey(_, _ starlark.Value) error { return u.End("what an element is assigned to") }

// SetField ends the preview, as SetKey does.
func (u Unknown) SetField(string, starlark.Value) error {
	return u.End("what a field is assigned to")
}

// Attr is a field, or a method that answers with an Unknown, where the shape
// has one of that name.
func (u Unknown) Attr(name string) (starlark.Value, error) { return u.Shape.attr(u, name) }

// AttrNames lists what the shape is known to have.
func (u Unknown) AttrNames() []string { return u.Shape.attrNames() }

// Unary is -x, +x and ~x.
func (u Unknown) Unary(syntax.Token) (starlark.Value, error) {
	switch u.Shape.kind() {
	case "":
		return u.As(nil), nil
	case "int", "float":
		return u.As(u.Shape), nil
	}
	return nil, fmt.Errorf("a %s has no sign", u.Shape.Type)
}

// Binary is asked by augmented assignment, x += y: interp compiles every other
// operator to Operate. A list or a dict would be altered in place, and with it
// what another name knows, so that where x may be one the preview ends.
func (u Unknown) Binary(op syntax.Token, y starlark.Value, side starlark.Side) (starlark.Value, error) {
	x := starlark.Value(u)
	if side == starlark.Right {
		x, y = y, x
	}
	if op == syntax.PLUS || op == syntax.PIPE {
		switch kindOf(x) {
		case "", "list", "dict":
			return nil, u.End("an operand of " + op.String() + "=")
		}
	}
	return Operate(op, x, y)
}

// FindUnknown returns the first Unknown in a value: the value itself, or what
// a list, tuple, dict, struct or record holds at any depth. It takes no time
// for what holds nothing.
func FindUnknown(v starlark.Value) (Unknown, bool) {
	var found Unknown
	ok := AnyWithin(v, func(v starlark.Value) bool {
		u, is := v.(Unknown)
		if is {
			found = u
		}
		return is
	})
	return found, ok
}

// AnyWithin says whether v or what it holds at any depth satisfies match, which
// sees neither containers nor scalars.
func AnyWithin(v starlark.Value, match func(starlark.Value) bool) bool {
	switch v.(type) {
	case nil, starlark.NoneType, starlark.Bool, starlark.Int, starlark.Float, starlark.String, starlark.Bytes, *starlark.Set:
		return false // a set's elements can be hashed, what match looks for cannot
	}
	w := walk{match: match}
	return w.inside(v)
}

// A walk visits every container once, or the first one twice, so that it ends
// in a list which holds itself, and is quick where many hold the same one.
type walk struct {
	match func(starlark.Value) bool
	seen  map[any]bool
}

func (w *walk) any(v starlark.Value) bool {
	switch v := v.(type) {
	case starlark.Tuple:
		return len(v) > 0 && w.first(backing{&v[0], len(v)}) && w.inside(v)
	case *starlark.List, *starlark.Dict, *starlarkstruct.Struct, *Record:
		return w.first(v) && w.inside(v)
	}
	return w.inside(v)
}

func (w *walk) inside(v starlark.Value) bool {
	switch v := v.(type) {
	case nil, starlark.NoneType, starlark.Bool, starlark.Int, starlark.Float, starlark.String, starlark.Bytes, *starlark.Set:
		return false
	case starlark.Tuple:
		return slices.ContainsFunc(v, w.any)
	case *starlark.List:
		for i := range v.Len() {
			if w.any(v.Index(i)) {
				return true
			}
		}
		return false
	case *starlark.Dict:
		return w.anyOf(second(v.Entries()))
	case *starlarkstruct.Struct:
		return w.anyOf(second(v.Entries()))
	case *Record:
		return slices.ContainsFunc(v.fields, func(f Field) bool { return w.any(f.Value) })
	case *starlark.Builtin:
		u, ok := v.Receiver().(Unknown) // a method prints the type of what it is bound to
		return ok && w.match(u)
	}
	return w.match(v)
}

// backing tells one tuple from another.
type backing struct {
	first *starlark.Value
	n     int
}

func (w *walk) first(container any) bool {
	if w.seen[container] {
		return false
	}
	if w.seen == nil {
		w.seen = map[any]bool{}
	}
	w.seen[container] = true
	return true
}

func (w *walk) anyOf(values iter.Seq[starlark.Value]) bool {
	for v := range values {
		if w.any(v) {
			return true
		}
	}
	return false
}

func second[K any](pairs iter.Seq2[K, starlark.Value]) iter.Seq[starlark.Value] {
	return func(yield func(starlark.Value) bool) {
		for _, v := range pairs {
			if !yield(v) {
				return
			}
		}
	}
}

package runtime

import (
	"fmt"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// Unknown stands for a value that only a real run will know. A plan may pass
// it on, ask it for attributes and elements, and build text with it: the
// result is Unknown too. What decides on one ends the step's preview with a
// [NotKnownError]; interp compiles previews so that nothing decides unnoticed.
type Unknown struct {
	Op    string          // the operation that will know, "ssh.run"
	Pos   syntax.Position // where the plan asked for it
	Shape *Shape          // what is known of the value; nil is nothing
}

// String is how a preview prints it: (known after ssh.run, plans/a.star:31).
func (u Unknown) String() string {
	return fmt.Sprintf("(known after %s, %s:%d)", u.Op, u.Pos.Filename(), u.Pos.Line)
}

// As is the same unknown with another shape: what is made of it.
func (u Unknown) As(shape *Shape) Unknown { return Unknown{u.Op, u.Pos, shape} }

// Type is the type that the value will have, or "unknown".
func (u Unknown) Type() string {
	if u.Shape == nil {
		return "unknown"
	}
	return u.Shape.Type
}

// Freeze does nothing: an Unknown is immutable.
func (Unknown) Freeze() {}

// Truth is false; a preview is compiled so that nobody asks.
func (Unknown) Truth() starlark.Bool { return false }

// Hash refuses: an Unknown is no key.
func (u Unknown) Hash() (uint32, error) { return 0, &NotKnownError{Field: "a key", Origin: u} }

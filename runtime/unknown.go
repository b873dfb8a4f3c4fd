package runtime

import (
	"fmt"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// Unknown stands for a value that only a real run will know. It occurs as a
// field of a [Record]; reading that field ends the step's preview, so that no
// dry run decides on a guess.
type Unknown struct {
	Op  string // the operation that will know, "ssh.run"
	Pos syntax.Position
}

var _ starlark.Value = Unknown{}

// String is how a preview prints it: (known after ssh.run, plans/a.star:31).
func (u Unknown) String() string {
	return fmt.Sprintf("(known after %s, %s:%d)", u.Op, u.Pos.Filename(), u.Pos.Line)
}

// Type is "unknown".
func (Unknown) Type() string { return "unknown" }

// Freeze does nothing: an Unknown is immutable.
func (Unknown) Freeze() {}

// Truth is false; no plan gets hold of an Unknown to ask.
func (Unknown) Truth() starlark.Bool { return false }

// Hash refuses: an Unknown is no key.
func (u Unknown) Hash() (uint32, error) { return 0, &NotKnownError{Field: "a key", Origin: u} }

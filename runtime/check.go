package runtime

import (
	"fmt"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"
)

// A Check is a function of a plan that only observes. It returns truth, or a
// struct(ok, detail).
type Check struct {
	Name     string
	Doc      string
	Fn       starlark.Callable
	Host     *Host         // Fn receives it; nil: Fn receives nothing
	Required bool          // whether the plan fails without it
	Timeout  time.Duration // how long it may take, at each try; 0: no limit
	Pos      syntax.Position
}

var _ starlark.Value = (*Check)(nil)

// Judge is what the result of a function that observes says: truth, or a
// struct(ok, detail).
func Judge(v starlark.Value) (ok bool, detail string) {
	ok = bool(v.Truth())
	s, is := v.(*starlarkstruct.Struct)
	if !is {
		return ok, ""
	}
	if x, err := s.Attr("ok"); err == nil {
		ok = bool(x.Truth())
	}
	if x, err := s.Attr("detail"); err == nil {
		detail, _ = starlark.AsString(x)
	}
	return ok, detail
}

// String prints the check as check("name").
func (c *Check) String() string { return fmt.Sprintf("check(%q)", c.Name) }

// Type is "check".
func (c *Check) Type() string { return "check" }

// Freeze does nothing: a check is immutable.
func (c *Check) Freeze() {}

// Truth is true.
func (c *Check) Truth() starlark.Bool { return true }

// Hash refuses: checks are listed, not looked up.
func (c *Check) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: check") }

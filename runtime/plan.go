package runtime

import (
	"fmt"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// A Plan is one phase of changing a fleet: steps to run and checks that say
// whether it worked. A plan file binds exactly one global to a plan, and that
// name is the plan's name.
type Plan struct {
	Name   string // set when the file has been read
	Title  string
	Doc    string   // the file's docstring
	Phase  int      // -1 where the plan has none
	After  []*Gate  // all of which hold it back
	Phases []string // of a plan that is made of others: their names, in order; it has no steps then
	Hosts  []*Host
	Steps  []*Step
	Checks []*Check
	Pos    syntax.Position // where plan() was called

	UndoOnFailure bool  // once a step fails nothing more starts, and what was done is taken back
	Undoes        *Undo // of a plan that takes a run back: which one; nil for any other
}

// An Undo is what a plan that takes a run back takes back, and what it does not.
type Undo struct {
	Run  string // its id
	Left []Left
}

// A Left is a step of which something was done that no undo takes back: it has
// none, or it did not end well, and so has no result that an undo could be
// called with.
type Left struct {
	Step, Host string
	Status     Status   // how the step ended
	Done       []string // what was done of it, and what may have been, in order
}

var _ starlark.HasAttrs = (*Plan)(nil)

// Host returns the plan's host of that name, or nil.
func (p *Plan) Host(name string) *Host {
	for _, h := range p.Hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// String prints the plan as plan("name").
func (p *Plan) String() string { return fmt.Sprintf("plan(%q)", p.Name) }

// Type is "plan".
func (p *Plan) Type() string { return "plan" }

// Freeze does nothing: a plan is immutable once made.
func (p *Plan) Freeze() {}

// Truth is true.
func (p *Plan) Truth() starlark.Bool { return true }

// Hash refuses; a plan's name may still change while its file is read.
func (p *Plan) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: plan") }

// AttrNames lists what a plan file may ask of a plan.
func (p *Plan) AttrNames() []string { return []string{"hosts", "title"} }

// Attr returns one of AttrNames.
func (p *Plan) Attr(name string) (starlark.Value, error) {
	switch name {
	case "title":
		return starlark.String(p.Title), nil
	case "hosts":
		hosts := make(starlark.Tuple, len(p.Hosts))
		for i, h := range p.Hosts {
			hosts[i] = h
		}
		return hosts, nil
	}
	return nil, nil
}

package runtime

import (
	"fmt"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// A Step is one function of a plan that acts. It is data: what is run, after
// what, for which hosts and under which rules.
type Step struct {
	Name      string
	Doc       string            // the docstring's first line
	Fn        starlark.Callable // of a step that a person does, what asks them
	Human     string            // what a person does; "" of any other step
	Undo      starlark.Callable // receives what Fn returned; nil where there is none
	Wants     []starlark.Value  // Needs as the file wrote them: functions and steps
	Needs     []*Step           // whose results Fn receives, in this order; resolved by the plan
	Each      []*Host           // Fn runs once for each; nil: it runs once
	Parallel  int               // of Each, how many at once; 0: as many as there are workers
	Canary    int               // of Each, how many must succeed before the rest starts
	OnFailure OnFailure
	Confirm   string        // a question a person answers first; "" asks nothing
	Timeout   time.Duration // of one attempt; 0: none
	Retries   int           // further attempts after a failed one
	Locks     []string      // names that no two steps hold at once
	Reload    bool          // infra watch --apply may carry it out, with nobody asked
	Pos       syntax.Position
}

// OnFailure says what a failure on one host of Each means for the others.
type OnFailure string

// The failure policies.
const (
	StopOnFailure     OnFailure = "stop"     // no further host is started
	ContinueOnFailure OnFailure = "continue" // the other hosts are still done
)

var _ starlark.Value = (*Step)(nil)

// FansOut says whether the step runs once for each of some hosts.
func (s *Step) FansOut() bool { return s.Each != nil }

// Covers says whether h is among the hosts the step fans out over.
func (s *Step) Covers(h *Host) bool {
	for _, x := range s.Each {
		if x.Name == h.Name {
			return true
		}
	}
	return false
}

// String prints the step as step("name").
func (s *Step) String() string { return fmt.Sprintf("step(%q)", s.Name) }

// Type is "step".
func (s *Step) Type() string { return "step" }

// Freeze does nothing: a step is immutable.
func (s *Step) Freeze() {}

// Truth is true.
func (s *Step) Truth() starlark.Bool { return true }

// Hash refuses: steps are listed, not looked up.
func (s *Step) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: step") }

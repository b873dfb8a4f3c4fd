package runtime

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// A Gate holds a plan back until time and evidence open it. It is data: what it
// waits for. The record of runs decides whether it is open, never a plan's code.
type Gate struct {
	Kind GateKind
	Of   string // the plan that it waits for; of GateApproved, what a person has to approve of

	// Of GateStable alone.
	For     time.Duration // how long the plan has to have been stable
	AtMost  int           // how many observations in that time may have failed
	AtLeast Rate          // how often it has to have been observed

	Pos syntax.Position
}

// GateKind is what a gate waits for.
type GateKind string

// The gates.
const (
	GateDone     GateKind = "done"     // a whole run of the plan ended well, and nothing was taken back since
	GateStable   GateKind = "stable"   // the plan is done, for some time, and was observed to be well in it
	GateApproved GateKind = "approved" // a person said go
	GateGo       GateKind = "go"       // the plan's checks say so, and no person says otherwise
)

// Name is what a person calls the gate by, such as "stable:cinnabar".
func (g *Gate) Name() string { return string(g.Kind) + ":" + g.Of }

var _ starlark.Value = (*Gate)(nil)

// String prints the gate as it is written.
func (g *Gate) String() string {
	if g.Kind == GateStable {
		return fmt.Sprintf("stable(%q, %q)", g.Of, FormatDuration(g.For))
	}
	return fmt.Sprintf("%s(%q)", g.Kind, g.Of)
}

// Type is "gate".
func (g *Gate) Type() string { return "gate" }

// Freeze does nothing: a gate is immutable.
func (g *Gate) Freeze() {}

// Truth is true. Whether a gate is open is not for a plan to know.
func (g *Gate) Truth() starlark.Bool { return true }

// Hash refuses: gates are listed, not looked up.
func (g *Gate) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: gate") }

// A Rate is how often something happens: Times in Per. The zero Rate is never.
type Rate struct {
	Times int
	Per   time.Duration
}

// Gap is how far apart two events of the rate are at most. That is half as long
// again as the rate says, so that what happens once a day may be late.
func (r Rate) Gap() time.Duration {
	if r.Times == 0 {
		return 1<<63 - 1
	}
	return r.Per / time.Duration(r.Times) * 3 / 2
}

// String prints the rate as [ParseRate] reads it.
func (r Rate) String() string {
	for name, unit := range rateUnits {
		if r.Per == unit {
			return fmt.Sprintf("%d/%s", r.Times, name)
		}
	}
	return fmt.Sprintf("%d/%s", r.Times, FormatDuration(r.Per))
}

var rateUnits = map[string]time.Duration{"hour": time.Hour, "day": 24 * time.Hour, "week": 7 * 24 * time.Hour}

// ParseRate reads "1/day", "4/hour" and "2/week".
func ParseRate(s string) (Rate, error) {
	times, per, _ := strings.Cut(s, "/")
	n, err := strconv.ParseUint(times, 10, 16)
	unit := rateUnits[per]
	if err != nil || n == 0 || unit == 0 {
		return Rate{}, fmt.Errorf("%q is no rate: write \"1/day\", \"4/hour\" or \"2/week\"", s)
	}
	return Rate{int(n), unit}, nil
}

// A GateState is what the record says of a gate.
type GateState struct {
	Gate *Gate
	Open bool
	Why  string    // what opened it, or what is missing, since when
	Hint string    // what a person does about a closed one; "" where only time does
	From time.Time // the earliest that a closed one can open; zero where no time is known

	Since  time.Time     // of GateStable, since when it has been stable; zero where it is not
	Soaked time.Duration // how long that is

	// Overridden says why a person goes on although the gate is closed; "" where nobody does.
	Overridden string
}

// Holds says whether the gate keeps a plan from running.
func (s GateState) Holds() bool { return !s.Open && s.Overridden == "" }

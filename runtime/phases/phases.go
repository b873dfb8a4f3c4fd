// Package phases says where a migration is: for each of its phases, which are plans,
// and each of their hosts, what was done, how it has been since, and what holds the
// next one back. It decides nothing that runtime/gates has not decided, and reads no
// more of the journal than what is shown.
package phases

import (
	"fmt"
	"time"

	"infra/runtime"
	"infra/runtime/clock"
	"infra/runtime/gates"
	"infra/runtime/journal"
)

// A State is where a phase, or a host of it, is.
type State string

// The states.
const (
	Waiting     State = "waiting"     // a gate is closed
	Ready       State = "ready"       // every gate is open, and it is not done
	Running     State = "running"     // a run of it goes on now
	Failed      State = "failed"      // its last run did, and left changes or nothing done
	Held        State = "held"        // its last run waits for a person
	Interrupted State = "interrupted" // its last run was stopped, or cut off
	RolledBack  State = "rolled back" // what was done was taken back
	Degraded    State = "degraded"    // done, and a check failed when it was looked at last
	Soaking     State = "soaking"     // done, and a later phase waits for it to be stable
	Stable      State = "stable"      // done, and stable as long as the later phases want it
	Done        State = "done"        // done, and nobody waits for it to be stable
)

// A Source is a plan, and the file that it was read from.
type Source struct {
	Plan *runtime.Plan
	File string // from the project's root
}

// A Phase is where one plan is.
type Phase struct {
	Plan  *runtime.Plan
	File  string // from the project's root
	State State
	Why   string // it is so, where the state alone does not say; "" else
	Hint  string // what a person does about Why
	Hosts []Host // as the plan lists them

	// Earliest is when it can begin at the earliest, also by the gates of those that it
	// waits for; zero where it has begun, or can now.
	Earliest time.Time

	Gates     []runtime.GateState // in the plan's order; Overridden is why a person passed it in the last run
	Overrides []Override          // that the last run, and the one that did it, passed

	Last     *journal.Run // the latest run or undo, without steps; nil: none
	Done     *journal.Run // since which it is done; nil: it is not
	Undone   *journal.Run // that took it back; nil: none
	Observed *Observed    // when its checks were run last; nil: never

	// Decided is what a person said last about the plan; nil: nobody did.
	Decided *journal.Decision

	Soak *Soak // nil where it is not done, or nobody waits for it to be stable
}

// Holds are the gates that are closed.
func (p *Phase) Holds() []runtime.GateState {
	var closed []runtime.GateState
	for _, g := range p.Gates {
		if !g.Open {
			closed = append(closed, g)
		}
	}
	return closed
}

// Over says whether the phase is done, however it has been since.
func (p *Phase) Over() bool {
	switch p.State {
	case Done, Stable, Soaking, Degraded:
		return true
	}
	return false
}

// A Host is where a phase is on one host.
type Host struct {
	Name  string
	State State
	Why   string // the step or check that failed there; "" for none
}

// Observed is when the checks of a phase were run last, by infra verify or in a run.
type Observed struct {
	Run     string
	At      clock.Instant
	Status  runtime.Status // OK: no required check failed
	Verdict string         // [gates.Go], [gates.Conditional] or [gates.NoGo]; "" where something was changed since
	Failed  []string       // the checks that did not hold, with their hosts
	InRun   bool           // not by infra verify
}

// A Soak is how far a phase is on its way to be stable.
type Soak struct {
	Gate   runtime.GateState // the first that opens of those that are closed, or else the longest
	Waiter string            // the plan that it holds back
}

// Part is how much of the time has gone by, from 0 to 1.
func (s *Soak) Part() float64 {
	if s.Gate.Open {
		return 1
	}
	return min(1, max(0, float64(s.Gate.Soaked)/float64(s.Gate.Gate.For)))
}

// String prints "5d 3h of 7d".
func (s *Soak) String() string {
	soaked := "0s"
	if s.Gate.Soaked > 0 {
		soaked = runtime.FormatDuration(s.Gate.Soaked)
	}
	return fmt.Sprintf("%s of %s", soaked, runtime.FormatDuration(s.Gate.Gate.For))
}

// An Override is a gate that a person passed although it was closed.
type Override struct {
	journal.Override
	By      string
	At      time.Time
	Run     string
	InForce bool // the gate is closed still
}

// A Warning is what a person should know of, whatever they came to look for.
type Warning struct {
	Plan string // "" where it is about the record as a whole
	Text string
	Hint string
}

// A View is where all phases are at one moment.
type View struct {
	Now      clock.Instant
	Phases   []*Phase
	Warnings []Warning
}

// Phase is the phase of that name, or nil.
func (v *View) Phase(name string) *Phase {
	for _, p := range v.Phases {
		if p.Plan.Name == name {
			return p
		}
	}
	return nil
}

// A Book is what a view is made from.
type Book struct {
	Now    clock.Instant
	Record *gates.Record
	Ledger *journal.Ledger       // nil: nothing was recorded yet
	Alive  func(run string) bool // whether a process works on that run now
}

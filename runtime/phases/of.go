package phases

import (
	"fmt"
	"slices"
	"time"

	"infra/runtime"
	"infra/runtime/gates"
	"infra/runtime/journal"
)

// Of says where each of these plans is, in their order.
func Of(plans []Source, b Book) (*View, error) {
	v := &View{Now: b.Now}
	for _, s := range plans {
		p, err := b.phase(s)
		if err != nil {
			return nil, fmt.Errorf("plan %s: %w", s.Plan.Name, err)
		}
		v.Phases = append(v.Phases, p)
	}
	for _, p := range v.Phases {
		if p.State == Done {
			p.soak(v.Phases)
			p.settle()
		}
		if err := b.hosts(p); err != nil {
			return nil, fmt.Errorf("plan %s: %w", p.Plan.Name, err)
		}
	}
	known := map[*Phase]time.Time{}
	for _, p := range v.Phases {
		if p.State == Waiting {
			p.Earliest = v.earliest(p, known)
		}
	}
	v.warn()
	return v, nil
}

// phase is where one plan is, as far as it can be told without the others.
func (b *Book) phase(s Source) (*Phase, error) {
	p := &Phase{Plan: s.Plan, File: s.File}
	standing, err := b.Record.Standing(s.Plan.Name)
	if err != nil {
		return nil, err
	}
	p.Last, p.Done, p.Undone = standing.Last, standing.Done, standing.Undone
	if p.Gates, err = b.Record.States(s.Plan); err != nil {
		return nil, err
	}
	p.overrides()
	if err := b.observed(p); err != nil {
		return nil, err
	}
	b.state(p, standing)
	return p, nil
}

// overrides are the gates that the last run passed, and the one that did the phase.
func (p *Phase) overrides() {
	runs := []*journal.Run{p.Done}
	if p.Last != nil && (p.Done == nil || p.Last.ID != p.Done.ID) {
		runs = append(runs, p.Last)
	}
	for _, r := range runs {
		if r == nil {
			continue
		}
		for _, o := range r.Call().Overrides {
			p.Overrides = append(p.Overrides, Override{Override: o, By: r.User, At: r.Started, Run: r.ID})
		}
	}
	for i := range p.Overrides {
		o := &p.Overrides[i]
		for j := range p.Gates {
			if g := &p.Gates[j]; g.Gate.Name() == o.Gate && !g.Open {
				g.Overridden, o.InForce = o.Because, true
			}
		}
	}
}

// observed finds out when the checks of a phase were run last, and how they were.
func (b *Book) observed(p *Phase) error {
	if b.Ledger == nil {
		return nil
	}
	err := b.Ledger.Observations(p.Plan.Name, func(o journal.Observation) bool {
		p.Observed = &Observed{Run: o.Run, At: o.At, Status: o.Status}
		return false
	})
	if err != nil {
		return err
	}
	v, err := b.Record.Verdict(p.Plan.Name)
	p.Decided = v.Word
	if err != nil || v.Kind == "" {
		return err
	}
	if p.Observed == nil || p.Observed.Run != v.Run {
		p.Observed = &Observed{Run: v.Run, Status: p.Last.Status, InRun: true, At: p.Last.Over()}
	}
	p.Observed.Verdict, p.Observed.Failed = v.Kind, v.Failed
	return nil
}

// state is the phase's state by its own runs. That others wait for it to be stable is
// not in it.
func (b *Book) state(p *Phase, s *gates.Standing) {
	last := p.Last
	p.State, p.Why, p.Hint = Ready, "", ""
	switch {
	case last != nil && last.Status == journal.Unfinished && b.Alive(last.ID):
		p.State = Running
		if of := last.Call().Undoes; of != "" {
			p.Why = fmt.Sprintf("run %s takes back run %s", last.ID, of)
		}
		return
	case s.Undone != nil:
		p.State = RolledBack
	case s.Done != nil:
		p.State = Done
		return
	case p.byChecks():
		p.State = Done
		if p.Observed.Verdict == gates.NoGo {
			p.State = Failed
		}
		return
	case last == nil || last.Status == runtime.OK:
		p.State = p.before()
		if last == nil {
			return
		}
	default:
		p.State = ended(last.Status)
	}
	p.Why, p.Hint = s.Why, s.Hint
	if last != nil && last.Status == journal.Unfinished && p.State == Interrupted {
		p.Why, p.Hint = fmt.Sprintf("run %s was cut off", last.ID), "infra resume "+last.ID
	}
}

// byChecks says whether it is a phase of checks alone, and they were run: by them it is
// done or not, since there is nothing to carry out.
func (p *Phase) byChecks() bool {
	return len(p.Plan.Steps) == 0 && p.Observed != nil && p.Observed.Verdict != ""
}

// before is the state of what was not begun.
func (p *Phase) before() State {
	if slices.ContainsFunc(p.Gates, func(g runtime.GateState) bool { return !g.Open }) {
		return Waiting
	}
	return Ready
}

// ended is the state after a run that ended so, and not well.
func ended(s runtime.Status) State {
	switch s {
	case runtime.Held:
		return Held
	case runtime.Interrupted, journal.Unfinished, journal.InFlight:
		return Interrupted
	}
	return Failed
}

// soak finds the gate that says how stable the phase is: of the closed ones the first
// that opens, or else the one that wanted most. A plan that is done waits no more,
// unless a person passed the gate.
func (p *Phase) soak(all []*Phase) {
	for _, w := range all {
		for _, g := range w.Gates {
			if g.Gate.Kind != runtime.GateStable || g.Gate.Of != p.Plan.Name || w.Over() && !g.Open && g.Overridden == "" {
				continue
			}
			if p.Soak == nil || sooner(g, p.Soak.Gate) {
				p.Soak = &Soak{Gate: g, Waiter: w.Plan.Name}
			}
		}
	}
}

// sooner says whether a tells more about how stable a phase is than b.
func sooner(a, b runtime.GateState) bool {
	switch {
	case a.Open != b.Open:
		return !a.Open
	case a.Open:
		return a.Gate.For > b.Gate.For
	}
	return a.Gate.For-a.Soaked < b.Gate.For-b.Soaked
}

// settle says how a phase that is done has been since.
func (p *Phase) settle() {
	failed := p.Observed != nil && (p.Observed.Verdict == gates.NoGo || p.Observed.Verdict == gates.Conditional)
	switch {
	case failed:
		p.State = Degraded
	case p.Soak == nil:
	case p.Soak.Gate.Open:
		p.State = Stable
	default:
		p.State = Soaking
	}
}

// earliest is when a phase can begin, if every run took no time and every person said
// yes at once. Of phases that wait for each other nobody knows it: now is said.
func (v *View) earliest(p *Phase, known map[*Phase]time.Time) time.Time {
	if at, ok := known[p]; ok {
		return at
	}
	at := v.Now.Wall
	known[p] = at
	if p.Over() || p.State == Running {
		return at
	}
	for _, g := range p.Gates {
		opens := g.From
		if of := v.Phase(g.Gate.Of); of != nil && !of.Over() && g.Gate.Kind != runtime.GateApproved {
			opens = v.earliest(of, known).Add(g.Gate.For)
		}
		if !g.Open && opens.After(at) {
			at = opens
		}
	}
	known[p] = at
	return at
}

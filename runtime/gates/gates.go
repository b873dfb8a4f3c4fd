// Package gates says whether what holds a plan back is open. It decides by the
// record of runs, observations and decisions alone.
//
// Time is counted by each machine's clock that nobody can set. Across a boot, or from
// one machine to another, only their wall clocks tell, which are trusted as long as
// they do not go back.
package gates

import (
	"fmt"
	"strings"

	"infra/runtime"
	"infra/runtime/clock"
	"infra/runtime/journal"
)

// A Record is what is known of all plans at one moment. It reads the journal as far
// as it is asked, and each plan once.
type Record struct {
	ledger    *journal.Ledger // nil: nothing was recorded yet
	now       clock.Instant
	plans     map[string]*Standing
	rollbacks []journal.Run
	looked    bool // for the rollbacks
}

// At is what is known at a moment. The ledger may be nil, where nothing was recorded.
func At(now clock.Instant, ledger *journal.Ledger) *Record {
	return &Record{ledger: ledger, now: now, plans: map[string]*Standing{}}
}

// States says of each gate of a plan whether it is open, and why.
func (r *Record) States(p *runtime.Plan) ([]runtime.GateState, error) {
	states := make([]runtime.GateState, len(p.After))
	for i, g := range p.After {
		var err error
		if states[i], err = r.state(g); err != nil {
			return nil, fmt.Errorf("gate %s: %w", g, err)
		}
	}
	return states, nil
}

func (r *Record) state(g *runtime.Gate) (runtime.GateState, error) {
	state := runtime.GateState{Gate: g}
	if g.Kind == runtime.GateApproved {
		return r.approved(state)
	}
	s, err := r.Standing(g.Of)
	switch {
	case err != nil:
		return state, err
	case g.Kind == runtime.GateGo:
		return r.isGo(state, s)
	case s.Done == nil:
		state.Why, state.Hint = s.Why, s.Hint
		if g.Kind == runtime.GateStable {
			state.From = r.now.Wall.Add(g.For)
		}
		return state, nil
	case g.Kind == runtime.GateDone:
		state.Open, state.Why = true, fmt.Sprintf("run %s ended well at %s", s.Done.ID, stamp(s.Done.Over()))
		return state, nil
	}
	return r.stable(state, s)
}

// stable asks how long a plan that is done has been well.
func (r *Record) stable(state runtime.GateState, s *Standing) (runtime.GateState, error) {
	g := state.Gate
	seen, done := r.sights(s)
	k := soaking(g, sight{s.Done.ID, s.Done.Over(), true}, seen, r.now)
	if err := done(); err != nil {
		return state, err
	}
	state.Since, state.Soaked, state.Hint = k.since, k.time, k.hint
	state.Open = !k.since.IsZero() && k.time >= g.For
	if state.Open {
		state.Why = fmt.Sprintf("well for %s, since %s", runtime.FormatDuration(k.time), at(k.since))
		return state, nil
	}
	state.From = r.now.Wall.Add(g.For - k.time)
	wants := runtime.FormatDuration(g.For)
	switch {
	case k.since.IsZero():
		state.Why = fmt.Sprintf("%s, so no time of %s has begun", k.broken, wants)
	case k.broken == "":
		state.Why = fmt.Sprintf("well for %s of %s, since run %s ended", runtime.FormatDuration(k.time), wants, s.Done.ID)
	default:
		state.Why = fmt.Sprintf("well for %s of %s, since %s: %s", runtime.FormatDuration(k.time), wants, at(k.since), k.broken)
	}
	return state, nil
}

// approved asks for a person's word.
func (r *Record) approved(state runtime.GateState) (runtime.GateState, error) {
	of := state.Gate.Of
	d, err := r.decision(of)
	switch {
	case err != nil:
		return state, err
	case d == nil:
		state.Why = "nobody has decided on " + of
	case !d.Go:
		state.Why = said(d)
	default:
		state.Open, state.Why = true, said(d)
		return state, nil
	}
	state.Hint = fmt.Sprintf("infra decide %s go --because \"...\"", of)
	return state, nil
}

// isGo asks what the plan's checks say, and then a person where they leave it open.
func (r *Record) isGo(state runtime.GateState, s *Standing) (runtime.GateState, error) {
	v, err := r.Verdict(s.Plan)
	if err != nil {
		return state, err
	}
	d, of := v.Word, s.Plan
	decide := fmt.Sprintf("infra decide %s go --because \"...\"", of)
	switch {
	case v.Kind == "":
		state.Why, state.Hint = v.Why, v.Hint
	case v.Kind == NoGo:
		state.Why, state.Hint = v.Why, "mend it; infra verify then looks again"
	case d != nil && !d.Go:
		state.Why, state.Hint = said(d), decide
	case v.Kind == Go:
		state.Open, state.Why = true, v.Why
	case d == nil:
		state.Why, state.Hint = v.Why+", and nobody has decided", decide
	case len(without(v.Failed, d.Despite)) > 0:
		state.Why, state.Hint = fmt.Sprintf("%s, and %s did not know of %s", v.Why, said(d), strings.Join(without(v.Failed, d.Despite), ", ")), decide
	default:
		state.Open, state.Why = true, v.Why+"; "+said(d)
	}
	return state, nil
}

func without(list, known []string) []string {
	have := map[string]bool{}
	for _, k := range known {
		have[k] = true
	}
	var rest []string
	for _, x := range list {
		if !have[x] {
			rest = append(rest, x)
		}
	}
	return rest
}

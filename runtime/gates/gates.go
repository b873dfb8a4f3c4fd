// Package gates says whether what holds a plan back is open. It decides by the
// record of runs, observations and decisions alone.
//
// What came after what is told by the order in which it was recorded, never by a clock.
// An observation stands for the moment at which it began, a run for that at which it
// ended. How long something was is counted, of one boot of a machine, by the clock that
// nobody can set: the machine's own may be set forward and back meanwhile.
//
// From one boot to another, and from one machine to another, only wall clocks tell. Of
// them this is assumed, and no more:
//
//   - When a machine records something for the first time since it booted (or where it
//     recorded nothing yet, when it asks about a gate), its clock is right, to within 5
//     minutes between any two machines; or it is behind, and shows a time more than 5
//     minutes before something that was recorded earlier by a right clock. That is noticed
//     and said, and what such a boot saw well opens nothing elsewhere. How the clock is
//     set later in that boot makes no difference.
//   - A run that another process went on with ends when the clock of its machine is right,
//     or behind in the same way, or ahead. The journal keeps nothing else of that moment.
//   - Of a machine that tells no boot each moment is taken as such a first one.
//
// So a gate never opens early by a clock: across boots and machines those 5 minutes are
// counted against it. And it never opens before the time that it said was the earliest,
// unless somebody changes the gate. A clock that is ahead after a boot, or behind by less
// than the time since anything was recorded, is not noticed.
package gates

import (
	"fmt"
	"math"
	"strings"
	"time"

	"infra/runtime"
	"infra/runtime/clock"
	"infra/runtime/journal"
)

// A Record is what is known of all plans at one moment. It reads the journal as far
// as it is asked, and each plan once.
type Record struct {
	// Known are the names of the project's plans, for who misspelled one in a gate, and
	// Nearest guesses which they meant; nil: nobody knows.
	Known   []string
	Nearest func(name string, names []string) string

	ledger    *journal.Ledger // nil: nothing was recorded yet
	now       clock.Instant
	line      *timeline
	plans     map[string]*Standing
	rollbacks []journal.Run
	looked    bool // for the rollbacks
}

// At is what is known at a moment. The ledger may be nil, where nothing was recorded.
func At(now clock.Instant, ledger *journal.Ledger) *Record {
	return &Record{ledger: ledger, now: now, line: newTimeline(now, ledger), plans: map[string]*Standing{}}
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
		state.Open, state.Why = true, fmt.Sprintf("run %s ended well at %s", s.Done.ID, at(s.Done.Over().Wall))
		return state, nil
	}
	return r.stable(state, s)
}

// stable asks how long a plan that is done has been well.
func (r *Record) stable(state runtime.GateState, s *Standing) (runtime.GateState, error) {
	g := state.Gate
	now, err := r.line.present()
	if err != nil {
		return state, err
	}
	k, err := r.soak(g, s, now, short)
	if err != nil {
		return state, err
	}
	state.Since, state.Soaked, state.Hint = k.since, k.time, k.hint
	state.Open = k.any && !k.failing && !k.unknown && k.counted >= g.For
	if state.Open {
		state.Why, state.Hint = fmt.Sprintf("well for %s, since %s", runtime.FormatDuration(k.time), at(k.since)), ""
		return state, nil
	}
	if state.From, err = r.earliest(g, s, now); err != nil {
		return state, err
	}
	state.Why = k.missing(g, s)
	return state, r.unobservable(&state, s)
}

func (r *Record) soak(g *runtime.Gate, s *Standing, now moment, to lean) (soak, error) {
	seen := newTrail(r, s, g.AtLeast.Gap())
	k := soaking(g, now, to, seen.sights(), s.done.sight)
	return k, seen.err
}

// earliest is when a closed gate can open: if all goes well from now on, and every
// clock was wrong to its advantage.
func (r *Record) earliest(g *runtime.Gate, s *Standing, now moment) (time.Time, error) {
	k, err := r.soak(g, s, now, long)
	switch {
	case err != nil || k.unknown:
		return time.Time{}, err
	case !k.any:
		return r.now.Wall.Add(g.For), nil
	}
	return r.now.Wall.Add(min(g.For, max(0, g.For-k.counted))), nil
}

// missing is why a plan has not been stable for long enough.
func (k soak) missing(g *runtime.Gate, s *Standing) string {
	wants := runtime.FormatDuration(g.For)
	switch {
	case k.since.IsZero() && k.broken == "":
		return fmt.Sprintf("nobody knows when run %s ended, so no time of %s has begun", s.Done.ID, wants)
	case k.since.IsZero():
		return fmt.Sprintf("%s, so no time of %s has begun", k.broken, wants)
	case k.time >= g.For:
		return fmt.Sprintf("well for %s since %s by the clocks of several machines or boots, which may differ by %s", runtime.FormatDuration(k.time), at(k.since), runtime.FormatDuration(doubt))
	case k.broken == "":
		return fmt.Sprintf("well for %s of %s, since run %s ended at %s", runtime.FormatDuration(k.time), wants, s.Done.ID, at(k.since))
	}
	return fmt.Sprintf("well for %s of %s, since %s: %s", runtime.FormatDuration(k.time), wants, at(k.since), k.broken)
}

// unobservable says so of a plan that has to be observed and has nothing to observe.
func (r *Record) unobservable(state *runtime.GateState, s *Standing) error {
	g := state.Gate
	if g.AtLeast.Times == 0 || !s.Done.Whole() {
		return nil
	}
	seen, err := r.ledger.ObservedBefore(s.Plan, math.MaxInt64, 1)
	if err != nil || len(seen) > 0 {
		return err
	}
	checks, err := r.ledger.Checks(s.Done.ID)
	if err == nil && len(checks) == 0 {
		state.Why += fmt.Sprintf("; %s has no checks, so nothing observes it", s.Plan)
		state.Hint = fmt.Sprintf("give %s checks = [...], or write stable(%q, %q, at_least = None)", s.Plan, g.Of, runtime.FormatDuration(g.For))
	}
	return err
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

package phases

import (
	"cmp"
	"slices"

	"infra/runtime"
	"infra/runtime/journal"
)

// lookBack is how many runs of parts of a plan are looked at to find out what was done
// on each host.
const lookBack = 5

// hosts finds out where a phase is on each of its hosts.
func (b *Book) hosts(p *Phase) error {
	p.Hosts = make([]Host, len(p.Plan.Hosts))
	for i, h := range p.Plan.Hosts {
		p.Hosts[i] = Host{Name: h.Name, State: p.State}
	}
	switch {
	case len(p.Hosts) == 0:
	case p.State == RolledBack:
		p.rolledBack()
	case p.State == Degraded || p.State == Failed && p.byChecks():
		p.degraded()
	case p.State == Failed || p.Last != nil && !p.Over():
		return b.byRuns(p)
	}
	return nil
}

// rolledBack leaves the other hosts as they were where one alone was taken back.
func (p *Phase) rolledBack() {
	one := p.Undone.RolledBack()
	for i := range p.Hosts {
		if h := &p.Hosts[i]; one != "" && h.Name != one {
			h.State = Done
		}
	}
}

// degraded leaves the hosts alone of which every check held. A check of no host is
// about none of them.
func (p *Phase) degraded() {
	well := Done
	if p.Soak != nil {
		well = Soaking
		if p.Soak.Gate.Open {
			well = Stable
		}
	}
	for i := range p.Hosts {
		h := &p.Hosts[i]
		bad := p.State
		h.State = well
		for _, c := range p.Plan.Checks {
			if c.Host != nil && c.Host.Name == h.Name && slices.Contains(p.Observed.Failed, c.Name+" "+h.Name) {
				h.State, h.Why = bad, cmp.Or(h.Why, c.Name)
			}
		}
	}
	if !slices.ContainsFunc(p.Hosts, func(h Host) bool { return h.Why != "" }) && len(p.Hosts) == 1 {
		p.Hosts[0].State = p.State
	}
}

// byRuns takes each host's state from the last run that did something there.
func (b *Book) byRuns(p *Phase) error {
	acts, err := b.Ledger.Acts(p.Plan.Name)
	if err != nil {
		return err
	}
	for i := range p.Hosts {
		p.Hosts[i].State = p.before()
	}
	if p.State == Running {
		p.each(func(h *Host) { h.State = Running })
	}
	open := map[string]bool{}
	for _, h := range p.Hosts {
		open[h.Name] = true
	}
	slices.Reverse(acts)
	for i, act := range acts {
		if i == lookBack || len(open) == 0 || act.Call().Undoes != "" {
			break
		}
		run, err := b.Ledger.Run(act.ID)
		if err != nil {
			return err
		}
		p.each(func(h *Host) {
			if open[h.Name] && b.inRun(p, h, &run) {
				delete(open, h.Name)
			}
		})
	}
	return nil
}

func (p *Phase) each(do func(*Host)) {
	for i := range p.Hosts {
		do(&p.Hosts[i])
	}
}

// inRun takes a host's state from a run, and says whether that did anything there.
func (b *Book) inRun(p *Phase, h *Host, run *journal.Run) (touched bool) {
	state, why, well := Done, "", 0
	for _, s := range run.Steps {
		if !about(s, h.Name, len(p.Hosts) == 1) {
			continue
		}
		now := ofStep(s.Status)
		if s.Status == runtime.Skipped && s.Started.IsZero() {
			now = Interrupted
		} else {
			touched = true
		}
		if !s.Check && s.Status == runtime.OK {
			well++
		}
		if worse(now, state) {
			state, why = now, s.Name
		}
	}
	goesOn := p.State == Running && run.ID == p.Last.ID
	switch {
	case !touched:
		return false
	case goesOn && (state == Interrupted || state == Done && well < stepsOn(p.Plan, h.Name)):
		state, why = Running, ""
	case state == Done && run.Status != runtime.OK && well < stepsOn(p.Plan, h.Name):
		state, why = ended(run.Status), ""
	}
	h.State, h.Why = state, why
	return true
}

// about says whether a step has to do with a host: it was made for it, or did
// something on it. Where a plan has but one, all of them do.
func about(s journal.Step, host string, only bool) bool {
	if s.Host != "" || only {
		return s.Host == host || s.Host == ""
	}
	return slices.ContainsFunc(s.Ops, func(o journal.Op) bool { return o.Host == host })
}

// ofStep is the state that a step leaves its host in.
func ofStep(s runtime.Status) State {
	switch s {
	case runtime.OK, runtime.Warned:
		return Done
	}
	return ended(s)
}

// worse says whether a matters more to a person than b.
func worse(a, b State) bool {
	order := []State{Done, Interrupted, Held, Failed}
	return slices.Index(order, a) > slices.Index(order, b)
}

// stepsOn is how many steps a plan surely has on a host: those that fan out over it, or
// all where it has no other.
func stepsOn(p *runtime.Plan, host string) int {
	n := 0
	for _, s := range p.Steps {
		if len(p.Hosts) == 1 || s.FansOut() && slices.ContainsFunc(s.Each, func(h *runtime.Host) bool { return h.Name == host }) {
			n++
		}
	}
	return n
}

package phases

import (
	"fmt"
	"time"

	"infra/runtime"
	"infra/runtime/clock"
)

// turned is by how much a clock has to be wrong until a person is told.
const turned = 5 * time.Minute

func (v *View) warn() {
	v.warnOfClock()
	for _, p := range v.Phases {
		for _, o := range p.Overrides {
			if o.InForce {
				v.add(p.Plan.Name, "infra log "+o.Run, "%s went on although %s was closed, and still is: %s (%s)", p.Plan.Name, o.Gate, o.Because, o.By)
			}
		}
		for _, g := range p.Gates {
			if g.Gate.Kind != runtime.GateApproved && v.Phase(g.Gate.Of) == nil {
				v.add(p.Plan.Name, "", "%s waits for %s, and the project has no plan %s", p.Plan.Name, g.Gate, g.Gate.Of)
			}
		}
		v.warnOfSilence(p)
	}
}

func (v *View) add(plan, hint, format string, args ...any) {
	v.Warnings = append(v.Warnings, Warning{plan, fmt.Sprintf(format, args...), hint})
}

// warnOfSilence tells of a phase that others wait for, and that nobody looks at: soon
// enough to look before its time begins anew.
func (v *View) warnOfSilence(p *Phase) {
	if p.Soak == nil || p.Soak.Gate.Gate.AtLeast.Times == 0 || p.Done == nil {
		return
	}
	rate := p.Soak.Gate.Gate.AtLeast
	seen := p.Done.Over()
	if p.Observed != nil && v.Now.Sub(p.Observed.At) < v.Now.Sub(seen) {
		seen = p.Observed.At
	}
	gap := v.Now.Sub(seen)
	if gap <= rate.Per/time.Duration(rate.Times)*5/4 {
		return
	}
	hint := "infra verify " + p.File
	left := rate.Gap() - gap
	switch {
	case left > 0:
		v.add(p.Plan.Name, hint, "nobody looked at %s for %s: within %s somebody has to, or its time begins anew", p.Plan.Name,
			runtime.FormatDuration(gap), runtime.FormatDuration(left))
	default:
		v.add(p.Plan.Name, hint, "nobody looked at %s for %s, and it has to be observed %s", p.Plan.Name, runtime.FormatDuration(gap), rate)
	}
}

// warnOfClock tells of the largest jump of a clock since what is on record.
func (v *View) warnOfClock() {
	var largest time.Duration
	var where string
	note := func(what string, then clock.Instant) {
		jump := v.Now.Jump(then)
		if jump == 0 {
			jump = min(0, v.Now.Sub(then))
		}
		if max(jump, -jump) >= max(largest, -largest) {
			largest, where = jump, what
		}
	}
	for _, p := range v.Phases {
		if p.Last != nil {
			note("run "+p.Last.ID, p.Last.Over())
		}
		if p.Observed != nil && !p.Observed.InRun {
			note("observation "+p.Observed.Run, p.Observed.At)
		}
	}
	switch {
	case largest > turned:
		v.add("", "gates count by a clock that nobody can set", "this machine's clock was set forward by %s after %s", runtime.FormatDuration(largest), where)
	case largest < -turned:
		v.add("", "", "this machine's clock is %s behind what it was at the end of %s", runtime.FormatDuration(-largest), where)
	}
}

package phases

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"infra/runtime"
	"infra/runtime/clock"
	"infra/runtime/journal"
)

// What is read of a phase's past at most.
const (
	mostRuns         = 5
	mostObservations = 5000
	mostOutcomes     = 5000
)

// A Detail is what there is to know of one phase.
type Detail struct {
	Runs      []journal.Run // the newest first, without steps
	Window    Window
	Checks    []Check       // as the plan lists them, and then what it had once
	Decisions []journal.Run // the newest first
}

// A Window is how often a phase was observed in the time that counts.
type Window struct {
	From     time.Time // since it was done, but no longer ago than the gate or a week wants
	Times    int
	Failed   int
	Flapping int           // of the outcomes of checks in it: failed, and then held
	Gap      time.Duration // the longest time in which nobody looked
	GapAfter time.Time
	Cut      bool // there were more, and the newest alone were counted
}

// A Check is how one check of a phase is.
type Check struct {
	Name, Host string
	Required   bool
	Gone       bool           // the plan does not have it any more
	Status     runtime.Status // "" where it was never run
	Why        string         // it failed, or what it said
	At         time.Time      // when it was run last
	Run        string
	Since      time.Time // since when it has been so
	AtLeast    bool      // or longer: no more was read
	Flapping   bool
}

// Detail reads what there is to know of one phase of a view.
func (b *Book) Detail(p *Phase) (*Detail, error) {
	d := &Detail{}
	for _, c := range p.Plan.Checks {
		check := Check{Name: c.Name, Required: c.Required}
		if c.Host != nil {
			check.Host = c.Host.Name
		}
		d.Checks = append(d.Checks, check)
	}
	if b.Ledger == nil {
		return d, nil
	}
	var err error
	if d.Runs, err = b.Ledger.Acts(p.Plan.Name); err != nil {
		return nil, err
	}
	if p.Undone != nil && p.Undone.RolledBack() != "" {
		d.Runs = append(d.Runs, *p.Undone)
	}
	slices.SortStableFunc(d.Runs, func(a, b journal.Run) int { return cmp.Compare(b.Seq, a.Seq) })
	d.Runs = d.Runs[:min(mostRuns, len(d.Runs))]
	if d.Decisions, err = b.Ledger.Decisions(p.Plan.Name); err != nil {
		return nil, err
	}
	slices.Reverse(d.Decisions)
	if err := b.window(p, &d.Window); err != nil {
		return nil, err
	}
	return d, b.outcomes(p, d)
}

// window counts what was observed.
func (b *Book) window(p *Phase, w *Window) error {
	length := 7 * 24 * time.Hour
	if p.Soak != nil {
		length = p.Soak.Gate.Gate.For
	}
	begin := b.Now.Add(-length)
	if p.Done != nil && b.Now.Sub(p.Done.Over()) < length {
		begin = p.Done.Over()
	}
	w.From = begin.Wall
	later := b.Now
	gap := func(at clock.Instant) {
		if d := later.Sub(at); d > w.Gap {
			w.Gap, w.GapAfter = d, at.Wall
		}
		later = at
	}
	err := b.Ledger.Observations(p.Plan.Name, func(o journal.Observation) bool {
		if begin.Sub(o.At) > 0 {
			return false
		}
		if w.Cut = w.Times == mostObservations; w.Cut {
			return false
		}
		gap(o.At)
		w.Times++
		if o.Status != runtime.OK {
			w.Failed++
		}
		return true
	})
	if !w.Cut {
		gap(begin)
	}
	return err
}

// outcomes finds out how each check is, and since when.
func (b *Book) outcomes(p *Phase, d *Detail) error {
	settled := 0
	find := func(name, host string) *Check {
		i := slices.IndexFunc(d.Checks, func(c Check) bool { return c.Name == name && c.Host == host })
		if i < 0 {
			d.Checks = append(d.Checks, Check{Name: name, Host: host, Gone: true})
			i = len(d.Checks) - 1
		}
		return &d.Checks[i]
	}
	take := func(o journal.Outcome) {
		c := find(o.Check, o.Host)
		switch {
		case c.Status == "":
			c.Status, c.Why, c.At, c.Run, c.Since, c.AtLeast = o.Status, cmp.Or(o.Err, o.Text), o.At, o.Run, o.At, true
			c.Flapping = flapping(o)
		case o.Status == c.Status && c.AtLeast:
			c.Since = o.At
		case c.AtLeast:
			c.AtLeast = false
			settled++
		}
	}
	if p.Observed != nil && p.Observed.InRun {
		if err := b.inRunOf(p.Observed.Run, take); err != nil {
			return err
		}
	}
	seen, cut := 0, false
	err := b.Ledger.Outcomes(p.Plan.Name, func(o journal.Outcome) bool {
		if flapping(o) && !o.At.Before(d.Window.From) {
			d.Window.Flapping++
		}
		take(o)
		seen++
		cut = seen == mostOutcomes
		return !cut && (settled < len(d.Checks) || !o.At.Before(d.Window.From))
	})
	if err != nil || cut {
		return err
	}
	if p.Done != nil && (p.Observed == nil || p.Observed.Run != p.Done.ID) {
		err = b.inRunOf(p.Done.ID, take)
	}
	for i := range d.Checks {
		d.Checks[i].AtLeast = false
	}
	return err
}

// inRunOf takes the outcomes of the checks that a run came to.
func (b *Book) inRunOf(id string, take func(journal.Outcome)) error {
	run, err := b.Ledger.Run(id)
	if err != nil {
		return err
	}
	for _, s := range run.Steps {
		if s.Check && s.Status != runtime.Skipped {
			take(journal.Outcome{Run: run.ID, At: run.Ended, Check: s.Name, Host: s.Host, Status: s.Status, Err: s.Err, Text: s.Text})
		}
	}
	return nil
}

// flapping says whether a check failed, and held when it was tried again.
func flapping(o journal.Outcome) bool { return strings.HasPrefix(o.Err, "flapping") }

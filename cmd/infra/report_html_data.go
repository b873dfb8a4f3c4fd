package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"infra/runtime"
	"infra/runtime/journal"
	"infra/runtime/phases"
)

// A storyPage is what infra report shows. All of its text is printable and scrubbed.
type storyPage struct {
	Project, Title, Generated, Version, Head string
	Records                                  int // that Head is the end of
	Axis                                     axis
	NowX                                     float64
	Tally                                    []pill
	Warnings                                 []phases.Warning
	Overrides                                []overrideRow
	Next                                     *phasePage // the first that may not begin, or may now; nil: all have begun
	Phases                                   []*phasePage
	Others                                   *phasePage // what is about no phase; nil: nothing
	Decisions                                []decisionRow
	Runs                                     []runRow // the newest first
	Older                                    int      // runs that are not among them
}

// A pill is a word with a colour.
type pill struct{ Tone, Text string }

// A storyteller makes a page of the record.
type storyteller struct {
	ledger *journal.Ledger // nil: nothing was recorded yet
	view   *phases.View
	axis   axis
	acts   []journal.Run // and decisions, the oldest first
	byPlan map[string][]journal.Run
	seen   map[string][]journal.Observation // of a plan, the oldest first
	ills   map[string][]journal.Trouble     // of a plan
	shown  map[string]bool                  // the runs that have a place on the page
	room   int                              // how many rows the details of runs may still have
}

const (
	// newest is how many runs and decisions are read.
	newest = 1000
	// detailed is how many of the runs are listed, with their steps.
	detailed = 150
	// detailRows is how many rows all their details may have.
	detailRows = 4000
)

// story makes a page of where the phases are and of the record.
func story(v *phases.View, ledger *journal.Ledger) (*storyPage, error) {
	s := &storyteller{ledger: ledger, view: v, byPlan: map[string][]journal.Run{}, seen: map[string][]journal.Observation{},
		ills: map[string][]journal.Trouble{}, shown: map[string]bool{}, room: detailRows}
	if err := s.read(); err != nil {
		return nil, err
	}
	p := &storyPage{Axis: s.axis, NowX: s.axis.x(s.axis.Now), Generated: minute(s.axis.Now)}
	for _, w := range v.Warnings {
		p.Warnings = append(p.Warnings, phases.Warning{Plan: w.Plan, Text: printable(w.Text), Hint: printable(w.Hint)})
	}
	if len(s.acts) == newest {
		p.Warnings = append(p.Warnings, phases.Warning{Text: fmt.Sprintf("only the newest %d runs and decisions are on this page", newest), Hint: "infra log lists all of them"})
	}
	var err error
	if p.Runs, p.Older, err = s.runs(); err != nil {
		return nil, err
	}
	for _, ph := range v.Phases {
		one, err := s.phase(ph)
		if err != nil {
			return nil, err
		}
		p.Phases = append(p.Phases, one)
		if p.Next == nil && (ph.State == phases.Waiting || ph.State == phases.Ready) {
			p.Next = one
		}
	}
	p.Tally = tallyOf(v.Phases)
	p.Decisions, p.Overrides, p.Others = s.decisions(), s.overrides(), s.others()
	if ledger != nil {
		p.Head, p.Records, err = ledger.Head()
	}
	return p, err
}

// read reads the record as far as the page needs it.
func (s *storyteller) read() error {
	now := s.view.Now.Wall
	if s.ledger == nil {
		s.axis = newAxis(time.Time{}, now, now)
		return nil
	}
	runs, err := s.ledger.Runs(newest)
	if err != nil {
		return err
	}
	slices.Reverse(runs)
	s.acts = runs
	first, last := now, now
	for _, r := range runs {
		s.byPlan[r.Plan] = append(s.byPlan[r.Plan], r)
		if r.Started.Before(first) {
			first = r.Started
		}
	}
	for _, ph := range s.view.Phases {
		seen, err := s.observations(ph.Plan.Name)
		if err != nil {
			return err
		}
		s.seen[ph.Plan.Name] = seen
		if len(seen) > 0 && seen[0].At.Wall.Before(first) {
			first = seen[0].At.Wall
		}
		last = laterOf(last, ph.Earliest)
		for _, g := range ph.Gates {
			last = laterOf(last, g.From)
		}
	}
	if most := now.Add(max(now.Sub(first), 7*day)); last.After(most) {
		last = most // what was is not to be small beside what may be
	}
	s.axis = newAxis(first, last, now)
	return s.troubles()
}

func laterOf(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// observations are those of a plan, the oldest first.
func (s *storyteller) observations(plan string) (seen []journal.Observation, err error) {
	err = s.ledger.Observations(plan, func(o journal.Observation) bool {
		seen = append(seen, o)
		return true
	})
	slices.Reverse(seen)
	return seen, err
}

func (s *storyteller) troubles() error {
	ills, err := s.ledger.Troubles(s.axis.From, s.axis.slot())
	for _, t := range ills {
		s.ills[t.Plan] = append(s.ills[t.Plan], t)
	}
	return err
}

// waits are the gates that wait for a plan to be stable, the shortest first.
func (s *storyteller) waits(plan string) []wait {
	var waits []wait
	for _, ph := range s.view.Phases {
		for _, g := range ph.Gates {
			if g.Gate.Kind == runtime.GateStable && g.Gate.Of == plan {
				waits = append(waits, wait{ph.Plan.Name, g})
			}
		}
	}
	slices.SortStableFunc(waits, func(a, b wait) int { return cmp.Compare(a.gate.Gate.For, b.gate.Gate.For) })
	return waits
}

// actsOf are the runs of a plan and the rollbacks of hosts that it changed, the oldest
// first, without decisions.
func (s *storyteller) actsOf(plan string) ([]journal.Run, error) {
	var acts []journal.Run
	for _, r := range s.byPlan[plan] {
		if r.Call().Kind == "" {
			acts = append(acts, r)
		}
	}
	if len(acts) == 0 || !slices.ContainsFunc(s.acts, func(r journal.Run) bool { return r.RolledBack() != "" }) {
		return acts, nil
	}
	hosts, err := s.ledger.ChangedHosts(plan)
	for _, r := range s.acts {
		if r.Seq > acts[0].Seq && slices.Contains(hosts, r.RolledBack()) {
			acts = append(acts, r)
		}
	}
	slices.SortStableFunc(acts, func(a, b journal.Run) int { return cmp.Compare(a.Seq, b.Seq) })
	return acts, err
}

// A decisionRow is what a person said.
type decisionRow struct {
	ID, Of, Word, Tone, By, At, Because, Evidence string
	Linked                                        bool // the page has the evidence
	Despite                                       []string
}

// decisions are what people decided, the newest first.
func (s *storyteller) decisions() []decisionRow {
	var rows []decisionRow
	for _, r := range slices.Backward(s.acts) {
		d := r.Call().Decision
		if d == nil {
			continue
		}
		row := decisionRow{ID: r.ID, Of: printable(r.Plan), Word: "NO-GO", Tone: "bad", By: printable(d.By), At: minute(r.Started),
			Because: printable(d.Because), Evidence: printable(d.Evidence), Linked: s.shown[d.Evidence]}
		if d.Go {
			row.Word, row.Tone = "GO", "good"
		}
		for _, check := range d.Despite {
			row.Despite = append(row.Despite, printable(check))
		}
		rows = append(rows, row)
	}
	return rows
}

// An overrideRow is a gate that a person passed although it was closed.
type overrideRow struct {
	Run, Plan, Gate, By, At, Because string
	Linked                           bool
}

func (s *storyteller) overrides() []overrideRow {
	var rows []overrideRow
	for _, r := range slices.Backward(s.acts) {
		for _, o := range r.Call().Overrides {
			rows = append(rows, overrideRow{r.ID, printable(r.Plan), printable(o.Gate), printable(r.User + "@" + r.Host), minute(r.Started),
				printable(o.Because), s.shown[r.ID]})
		}
	}
	return rows
}

// others is the lane of decisions about what is no phase, and of runs of other plans.
func (s *storyteller) others() *phasePage {
	lane := &phasePage{ID: "others", Name: "others", Title: "Other decisions and runs"}
	for _, r := range s.acts {
		if s.view.Phase(r.Plan) == nil && r.RolledBack() == "" {
			lane.Marks = append(lane.Marks, s.markOf(r))
		}
	}
	if len(lane.Marks) == 0 {
		return nil
	}
	return lane
}

// tallyOf says how many phases are in which state.
func tallyOf(all []*phases.Phase) []pill {
	var pills []pill
	times := map[phases.State]int{}
	for _, p := range all {
		times[p.State]++
	}
	for _, state := range []phases.State{phases.Failed, phases.RolledBack, phases.Degraded, phases.Interrupted, phases.Held, phases.Running,
		phases.Soaking, phases.Stable, phases.Done, phases.Ready, phases.Waiting} {
		if n := times[state]; n > 0 {
			pills = append(pills, pill{stateTone(state), fmt.Sprintf("%d %s", n, state)})
		}
	}
	return pills
}

// stateTone is the colour of a state.
func stateTone(s phases.State) string {
	switch s {
	case phases.Failed, phases.RolledBack:
		return "bad"
	case phases.Degraded, phases.Held, phases.Interrupted:
		return "warn"
	case phases.Running, phases.Soaking, phases.Ready:
		return "busy"
	case phases.Stable, phases.Done:
		return "good"
	}
	return "idle"
}

// phaseTone is the colour of where a phase is.
func phaseTone(p *phases.Phase) string {
	if p.State == phases.Degraded && p.Observed != nil && p.Observed.Status != runtime.OK {
		return "bad"
	}
	return stateTone(p.State)
}

// minute prints a time as the page has it; "" for none.
func minute(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return runtime.FormatTime(t)
}

// percent prints a part of 1 without claiming that all of it is what nearly all is.
func percent(part float64) string {
	if part > 0.999 && part < 1 {
		return "99.9 %"
	}
	text := fmt.Sprintf("%.1f", math.Max(0, part)*100)
	return strings.TrimSuffix(text, ".0") + " %"
}

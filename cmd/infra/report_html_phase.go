package main

import (
	"fmt"
	"slices"
	"time"

	"infra/runtime"
	"infra/runtime/journal"
	"infra/runtime/phases"
)

// A phasePage is what a page has of one phase, or of what is none.
type phasePage struct {
	ID, Number, Name, Title, File string
	State, Tone, Why, Hint        string
	Facts                         []fact
	Hosts                         []hostRow
	Gates                         []gateRow
	Bands                         []band
	Marks                         []mark
	Opens                         []opening
	Begins                        *opening   // when it can begin at the earliest; nil: it can now, or nobody knows
	Breaks                        []breakRow // failures and gaps that began a soak anew, the newest first
	MoreBreaks                    int
	Strips                        []strip
}

// A fact is a line about a phase.
type fact struct{ Term, Text, Run string } // Run: the run that it is about, where the page has it

type hostRow struct{ Name, State, Tone, Why string }

type gateRow struct{ Shown, Tone, Word, Why, Hint, Earliest, Overridden string }

// A band is a length of time in a lane.
type band struct {
	X, W      float64
	Kind      string  // soak, partly (long enough for a phase, not for all), stable, done, ill, gap, ahead
	Low, High float64 // of soak and ahead: how far it is on its way where it begins and ends, 0 to 100
	Text      string
}

// A mark is a moment in a lane.
type mark struct {
	X                float64
	Kind             string // ok, same, failed, open, undone, rollback, go, nogo, unlock
	Run              string // that it leads to; "" where the page does not have it
	Override, Decide bool
	Text             string
}

// An opening is when a phase was stable long enough for a later one, or can be.
type opening struct {
	X     float64
	Past  bool
	Left  bool   // its words are on its left
	Words string // "" where there is no room
	Minor bool   // there is none for its words on a narrow page
	Text  string
}

// A breakRow is what began a soak anew.
type breakRow struct{ At, Why, Run, Checks string }

// phase makes a phase's part of the page.
func (s *storyteller) phase(ph *phases.Phase) (*phasePage, error) {
	name := ph.Plan.Name
	p := &phasePage{ID: name, Name: name, Title: printable(ph.Plan.Title), File: printable(ph.File), State: string(ph.State), Tone: phaseTone(ph),
		Why: printable(ph.Why), Hint: printable(ph.Hint)}
	if ph.Plan.Phase >= 0 {
		p.Number = fmt.Sprint(ph.Plan.Phase)
	}
	acts, err := s.actsOf(name)
	if err != nil {
		return nil, err
	}
	for _, r := range acts {
		p.Marks = append(p.Marks, s.markOf(r))
	}
	for _, r := range s.byPlan[name] {
		if r.Call().Decision != nil {
			p.Marks = append(p.Marks, s.markOf(r))
		}
	}
	waits := s.waits(name)
	spells := spellsOf(sightingsOf(acts, s.seen[name]), ruleOf(waits), s.axis.Now)
	p.Bands, p.Opens = s.bands(spells, waits)
	p.Begins = s.begins(ph)
	if len(waits) > 0 {
		if p.Breaks, p.MoreBreaks, err = s.breaks(spells); err != nil {
			return nil, err
		}
	}
	for _, g := range ph.Gates {
		p.Gates = append(p.Gates, gateRowOf(g))
	}
	for _, h := range ph.Hosts {
		p.Hosts = append(p.Hosts, hostRow{printable(h.Name), string(h.State), stateTone(h.State), printable(h.Why)})
	}
	p.Facts = s.facts(ph, waits)
	p.Strips, err = s.strips(name, min(ruleOf(waits).gap, 7*day))
	return p, err
}

func (s *storyteller) facts(ph *phases.Phase, waits []wait) []fact {
	var facts []fact
	add := func(term, run, format string, args ...any) {
		if !s.shown[run] {
			run = ""
		}
		facts = append(facts, fact{term, printable(fmt.Sprintf(format, args...)), run})
	}
	if r := ph.Last; r != nil {
		add("Last run", r.ID, "%s %s, by %s@%s", minute(r.Started), r.Status, r.User, r.Host)
	}
	if r := ph.Done; r != nil && (ph.Last == nil || r.ID != ph.Last.ID) {
		add("Done since", r.ID, "%s", minute(r.Ended))
	}
	if r := ph.Undone; r != nil {
		add("Taken back", r.ID, "%s by %s@%s", minute(r.Started), r.User, r.Host)
	}
	if o := ph.Observed; o != nil {
		text := minute(o.At.Wall)
		if o.Verdict != "" {
			text += ", " + o.Verdict
		}
		add("Last looked at", o.Run, "%s%s", text, listed(": ", o.Failed))
	}
	if ph.Soak != nil {
		add("Soaked", "", "%s, for %s", ph.Soak, ph.Soak.Waiter)
	}
	if n := len(s.seen[ph.Plan.Name]); n > 0 {
		add("Observations", "", "%d, %s apart on average", n, s.apart(ph.Plan.Name))
	}
	return facts
}

// listed is a list behind a word; "" where there is nothing in it.
func listed(word string, list []string) string {
	text := ""
	for i, x := range list {
		if i == 0 {
			text = word + x
			continue
		}
		text += ", " + x
	}
	return text
}

// apart is how far the observations of a plan are apart.
func (s *storyteller) apart(plan string) string {
	seen := s.seen[plan]
	if len(seen) < 2 {
		return "-"
	}
	return runtime.FormatDuration(seen[len(seen)-1].At.Wall.Sub(seen[0].At.Wall) / time.Duration(len(seen)-1))
}

func gateRowOf(g runtime.GateState) gateRow {
	row := gateRow{Shown: printable(g.Gate.String()), Tone: "warn", Word: "closed", Why: printable(g.Why), Hint: printable(g.Hint), Overridden: printable(g.Overridden)}
	if g.Open {
		row.Tone, row.Word = "good", "open"
	} else if g.Overridden != "" {
		row.Tone, row.Word = "bad", "overridden"
	}
	if !g.Open {
		row.Earliest = minute(g.From)
	}
	return row
}

// manyBreaks is how many of the failures and gaps of a phase are listed.
const manyBreaks = 12

// breaks lists what began a soak anew, with the checks that failed.
func (s *storyteller) breaks(spells []spell) (rows []breakRow, more int, err error) {
	for _, sp := range slices.Backward(spells) {
		if sp.Why == "" || sp.Kind != soakSpell {
			continue
		}
		if len(rows) == manyBreaks {
			more++
			continue
		}
		row := breakRow{At: minute(sp.To), Why: printable(sp.Why)}
		if sp.Run != "" {
			run, err := s.ledger.Run(sp.Run)
			if err != nil {
				return rows, more, err
			}
			row.Run, row.Checks = run.ID, failedIn(run)
		}
		rows = append(rows, row)
	}
	return rows, more, nil
}

// failedIn are the checks and steps that failed in a run, and why.
func failedIn(run journal.Run) string {
	var list []string
	for _, st := range run.Steps {
		if st.Status == runtime.Failed {
			list = append(list, clipped(instance{st.Name, st.Host, st.Check}.title()+because(st.Err)))
		}
	}
	if len(list) > 4 {
		list = append(list[:4], fmt.Sprintf("and %d more", len(list)-4))
	}
	return listed("", list)
}

// clipped is text of bounded length.
func clipped(text string) string {
	const most = 300
	text = printable(text)
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}

package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"infra/runtime"
	"infra/runtime/journal"
)

// A wait is that a later phase waits for a phase to be stable.
type wait struct {
	plan string
	gate runtime.GateState
}

// A sighting is that somebody looked at a phase, or did something to it.
type sighting struct {
	seq  int64
	at   time.Time
	run  string
	kind sightKind
}

type sightKind int

const (
	sawWell sightKind = iota
	sawIll
	wasDone  // a run changed it, and ended well
	wasTaken // a run failed with changes, or it was taken back
)

// A spell is a time in which a phase was one thing.
type spell struct {
	Kind     spellKind
	From, To time.Time
	Run      string // whose failure ended it; "" for none
	Why      string // it ended
}

type spellKind string

const (
	soakSpell spellKind = "soak" // done, and seen to be well
	illSpell  spellKind = "ill"  // a required check failed
	gapSpell  spellKind = "gap"  // done, and nobody looked
)

// A rule is how often a phase has to be looked at, and how many failures it may have.
type rule struct {
	gap    time.Duration
	atMost int
}

// ruleOf is the rule of the gate that opens first. Where none waits nobody has to look.
func ruleOf(waits []wait) rule {
	if len(waits) == 0 {
		return rule{gap: runtime.Rate{}.Gap()}
	}
	g := waits[0].gate.Gate
	return rule{g.AtLeast.Gap(), g.AtMost}
}

// sightingsOf are the acts of a plan and what was observed of it, the oldest first.
// Acts are those by which gates decide: rollbacks of the plan's hosts are among them.
func sightingsOf(acts []journal.Run, observed []journal.Observation) []sighting {
	all := make([]sighting, 0, len(acts)+len(observed))
	isDone := false
	for _, r := range acts {
		kind, counts := sightOf(&r, isDone)
		if !counts {
			continue
		}
		isDone = kind != wasTaken && (isDone || kind == wasDone)
		all = append(all, sighting{r.Seq, cmp.Or(r.Ended, r.Started), r.ID, kind})
	}
	for _, o := range observed {
		kind := sawWell
		if o.Status != runtime.OK {
			kind = sawIll
		}
		all = append(all, sighting{o.Seq, o.At.Wall, o.Run, kind})
	}
	slices.SortStableFunc(all, func(a, b sighting) int { return cmp.Compare(a.seq, b.seq) })
	return all
}

// sightOf is what a run says of its plan; isDone: it was done before.
func sightOf(r *journal.Run, isDone bool) (kind sightKind, counts bool) {
	touched := r.Changed > 0 || r.InFlight > 0
	switch {
	case r.RolledBack() != "":
		return wasTaken, touched
	case r.Call().Undoes != "":
		return wasTaken, touched || r.Status == runtime.OK
	case r.Status == runtime.OK && (touched && isDone || !isDone && r.Whole()):
		return wasDone, true
	case r.Status == runtime.OK:
		return sawWell, isDone && r.Whole()
	case touched:
		return wasTaken, true
	}
	return sawIll, r.FailedChecks > 0
}

// spellsOf draws what gates decide by, from the first run on. It goes by the machines'
// clocks and by one rule: what a gate says now is said beside it, in words.
func spellsOf(seen []sighting, r rule, now time.Time) []spell {
	w := speller{rule: r}
	for _, s := range seen {
		w.see(s)
	}
	w.until(now)
	return w.spells
}

// A speller goes through sightings, the oldest first.
type speller struct {
	rule     rule
	spells   []spell
	kind     spellKind // that goes on; "" where the phase is not done
	from     time.Time
	last     time.Time // when somebody looked
	failures int
}

func (w *speller) see(s sighting) {
	switch s.kind {
	case wasDone:
		w.until(s.at)
		w.begin(soakSpell, s.at)
		return
	case wasTaken:
		w.until(s.at)
		w.end(s, "a run changed it and did not end well, or took it back")
		w.kind = ""
		return
	}
	if w.kind == "" || s.at.Before(w.from) {
		return
	}
	w.until(s.at)
	switch {
	case s.kind == sawWell && w.kind != soakSpell:
		w.begin(soakSpell, s.at)
	case s.kind == sawIll && w.kind == gapSpell:
		w.begin(illSpell, s.at)
	case s.kind == sawIll && w.kind == soakSpell:
		w.fail(s)
	}
	w.last = s.at
}

func (w *speller) fail(s sighting) {
	if w.failures++; w.failures <= w.rule.atMost {
		return
	}
	w.end(s, "a required check failed")
	w.begin(illSpell, s.at)
}

// end says why the newest spell came to its end.
func (w *speller) end(s sighting, why string) {
	if n := len(w.spells); n > 0 && w.kind == soakSpell {
		w.spells[n-1].Run, w.spells[n-1].Why = s.run, why
	}
}

func (w *speller) begin(kind spellKind, at time.Time) {
	w.kind, w.from, w.last, w.failures = kind, at, at, 0
}

// until lets what goes on go on up to a moment, but for the time in which nobody
// looked for too long.
func (w *speller) until(at time.Time) {
	if w.kind == "" {
		return
	}
	if w.kind != gapSpell && at.Sub(w.last) > w.rule.gap {
		w.add(w.last)
		if n := len(w.spells); n > 0 {
			w.spells[n-1].Why = fmt.Sprintf("nobody looked for %s", runtime.FormatDuration(at.Sub(w.last)))
		}
		w.begin(gapSpell, w.last)
	}
	w.add(at)
}

// add keeps the spell that goes on, up to a moment.
func (w *speller) add(to time.Time) {
	if n := len(w.spells); n > 0 && w.spells[n-1].Kind == w.kind && w.spells[n-1].From.Equal(w.from) {
		w.spells[n-1].To = to
		return
	}
	w.spells = append(w.spells, spell{Kind: w.kind, From: w.from, To: to})
}

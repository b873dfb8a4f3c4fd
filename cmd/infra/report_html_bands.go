package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"infra/runtime"
	"infra/runtime/phases"
)

// bands are the spells as they are drawn, and when a soak was long enough.
func (s *storyteller) bands(spells []spell, waits []wait) ([]band, []opening) {
	var bands []band
	var opens []opening
	for i, sp := range spells {
		switch {
		case sp.Kind != soakSpell:
			bands = s.draw(bands, sp.From, sp.To, band{Kind: string(sp.Kind), Low: 100, High: 100, Text: textOf(sp)})
			continue
		case len(waits) == 0:
			bands = s.draw(bands, sp.From, sp.To, band{Kind: "done", Low: 100, High: 100, Text: textOf(sp)})
			continue
		}
		bands = s.soak(bands, sp, waits)
		last := i == len(spells)-1 && !sp.To.Before(s.axis.Now)
		for j, w := range waits {
			if j == 0 || w.gate.Gate.For != waits[j-1].gate.Gate.For {
				opens = s.open(opens, sp, w, last)
			}
		}
		if last {
			bands = s.ahead(bands, sp, waits[len(waits)-1].gate)
		}
	}
	return bands, roomy(opens)
}

// soak draws a soak: how it fills until it is long enough for the first that waits, and
// for the last, and from where on it was full.
func (s *storyteller) soak(bands []band, sp spell, waits []wait) []band {
	all := waits[len(waits)-1].gate.Gate.For
	from := sp.From
	for _, part := range []struct {
		kind  string
		wants time.Duration
	}{{"soak", waits[0].gate.Gate.For}, {"partly", all}, {"stable", sp.To.Sub(sp.From)}} {
		to := sp.From.Add(part.wants)
		if to.After(sp.To) {
			to = sp.To
		}
		if !to.After(from) {
			continue
		}
		bands = s.draw(bands, from, to, band{Kind: part.kind, Low: filled(from.Sub(sp.From), all), High: filled(to.Sub(sp.From), all), Text: textOf(sp)})
		from = to
	}
	return bands
}

// ahead draws what is left of a soak that goes on, as the gate has it.
func (s *storyteller) ahead(bands []band, sp spell, g runtime.GateState) []band {
	if g.Open || g.Since.IsZero() || !g.From.After(s.axis.Now) {
		return bands
	}
	return s.draw(bands, s.axis.Now, g.From, band{Kind: "ahead", Low: filled(sp.To.Sub(sp.From), g.Gate.For), High: 100, Text: "still to soak, until " + minute(g.From)})
}

// filled is a part of a length of time, in percent.
func filled(part, of time.Duration) float64 {
	return math.Round(min(1, float64(part)/float64(of))*1000) / 10
}

func textOf(sp spell) string {
	what := map[spellKind]string{soakSpell: "well", illSpell: "a required check failed", gapSpell: "nobody looked"}[sp.Kind]
	text := fmt.Sprintf("%s for %s, %s to %s", what, runtime.FormatDuration(sp.To.Sub(sp.From)), minute(sp.From), minute(sp.To))
	if sp.Why != "" {
		text += "; then " + sp.Why
	}
	return text
}

// draw adds a band, unless it is so narrow, and like the one before it, that nobody
// could tell them apart: a page has no more than so many.
func (s *storyteller) draw(bands []band, from, to time.Time, b band) []band {
	b.X = s.axis.x(from)
	b.W = max(s.axis.x(to)-b.X, 0.15)
	if len(bands) >= 2*slots {
		last := &bands[len(bands)-1]
		last.W = max(last.W, b.X+b.W-last.X)
		return bands
	}
	return append(bands, b)
}

// open says when a soak was long enough for a later phase, or can be.
func (s *storyteller) open(opens []opening, sp spell, w wait, last bool) []opening {
	g := w.gate
	at := sp.From.Add(g.Gate.For)
	past := !at.After(sp.To)
	switch { // of now the gate knows better
	case last && g.Open:
		past = true
		if at.After(sp.To) {
			at = s.axis.Now
		}
	case last:
		past, at = false, g.From
	}
	if !past && !last || at.IsZero() || len(opens) >= slots {
		return opens
	}
	if past {
		return append(opens, s.opening(at, true, "opened", fmt.Sprintf("%s: long enough for %s since %s", g.Gate, w.plan, minute(at))))
	}
	return append(opens, s.opening(at, false, "earliest", fmt.Sprintf("%s: can be long enough for %s at %s at the earliest", g.Gate, w.plan, minute(at))))
}

func (s *storyteller) opening(at time.Time, past bool, word, text string) opening {
	x := s.axis.x(at)
	return opening{X: x, Past: past, Left: x > 72, Words: word + " " + at.UTC().Format("2 Jan"), Text: text}
}

// begins is when a phase can begin at the earliest.
func (s *storyteller) begins(ph *phases.Phase) *opening {
	if ph.Earliest.IsZero() {
		return nil
	}
	o := s.opening(ph.Earliest, false, "can begin", fmt.Sprintf("%s can begin at %s at the earliest", ph.Plan.Name, minute(ph.Earliest)))
	if ph.Earliest.After(s.axis.To) {
		o.Words += ph.Earliest.UTC().Format(" 2006")
	}
	return &o
}

// roomy takes the words from what stands too near to the next.
func roomy(opens []opening) []opening {
	slices.SortStableFunc(opens, func(a, b opening) int { return cmp.Compare(a.X, b.X) })
	for i := range opens {
		if i+1 < len(opens) && (opens[i+1].X-opens[i].X < 11 || opens[i+1].Left && opens[i+1].X-opens[i].X < 20 && !opens[i].Left) {
			opens[i].Words = ""
		}
		opens[i].Minor = i+1 < len(opens)
	}
	return opens
}

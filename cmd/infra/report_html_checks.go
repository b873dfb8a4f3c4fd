package main

import (
	"fmt"
	"slices"
	"time"

	"infra/runtime"
	"infra/runtime/journal"
)

// A strip is how a check went over time.
type strip struct {
	Name, Host string
	Cells      []cell
	Tone, Now  string // how it was when it was looked at last
	Words      string
}

// A cell is a time in which a check was one thing.
type cell struct {
	X, W float64
	Kind string // ok, warned, flapping, down; no cell: nobody looked
	Text string
}

// A look is what was observed of a plan in one slot.
type look struct {
	slot   int
	times  int
	first  time.Time
	last   time.Time
	checks []journal.CheckName // that its last observation had
	ills   map[journal.CheckName]*illness
}

// An illness is what did not hold of a check in a slot.
type illness struct {
	kind  string
	times int
}

// badness orders what a check can be.
var badness = []string{"ok", "warned", "flapping", "down"}

// manyStrips is how many checks of a phase are shown.
const manyStrips = 40

// strips are the checks of a plan over time, those with the most trouble first.
func (s *storyteller) strips(plan string, gap time.Duration) ([]strip, error) {
	looks, err := s.looks(plan)
	if err != nil || len(looks) == 0 {
		return nil, err
	}
	var names []journal.CheckName
	there := map[journal.CheckName]bool{}
	for _, l := range slices.Backward(looks) {
		for _, n := range l.checks {
			if !there[n] {
				there[n] = true
				names = append(names, n)
			}
		}
	}
	var strips []strip
	for _, n := range names[:min(len(names), manyStrips)] {
		strips = append(strips, s.strip(n, looks, gap))
	}
	return strips, nil
}

// looks gathers the observations of a plan by slots, the oldest first.
func (s *storyteller) looks(plan string) ([]look, error) {
	var looks []look
	slot := s.axis.slot()
	var runs []string
	for _, o := range s.seen[plan] {
		at := int(o.At.Wall.Sub(s.axis.From) / slot)
		if n := len(looks); n == 0 || looks[n-1].slot != at {
			looks = append(looks, look{slot: at, first: o.At.Wall, ills: map[journal.CheckName]*illness{}})
			runs = append(runs, "")
		}
		l := &looks[len(looks)-1]
		l.times++
		l.last, runs[len(runs)-1] = o.At.Wall, o.Run
	}
	for _, t := range s.ills[plan] {
		at := slices.IndexFunc(looks, func(l look) bool { return l.slot == t.Slot })
		if at >= 0 {
			looks[at].take(t)
		}
	}
	for i := range looks {
		var err error
		if looks[i].checks, err = s.ledger.ChecksIn(runs[i]); err != nil {
			return nil, err
		}
	}
	return looks, nil
}

func (l *look) take(t journal.Trouble) {
	kind := "down"
	switch {
	case t.Flapping:
		kind = "flapping"
	case t.Status == runtime.Warned:
		kind = "warned"
	}
	name := journal.CheckName{Check: t.Check, Host: t.Host}
	ill := l.ills[name]
	if ill == nil {
		ill = &illness{kind: kind}
		l.ills[name] = ill
	}
	ill.times += t.Times
	if slices.Index(badness, kind) > slices.Index(badness, ill.kind) {
		ill.kind = kind
	}
}

func (s *storyteller) strip(n journal.CheckName, looks []look, gap time.Duration) strip {
	st := strip{Name: printable(n.Check), Host: printable(n.Host)}
	looked, ill := 0, 0
	for i, l := range looks {
		if !slices.Contains(l.checks, n) && l.ills[n] == nil {
			continue
		}
		to := l.last.Add(s.axis.slot())
		if i+1 < len(looks) && looks[i+1].first.Sub(l.last) <= gap {
			to = looks[i+1].first
		} else if i+1 == len(looks) && s.axis.Now.Sub(l.last) <= gap {
			to = s.axis.Now
		}
		kind, times := "ok", 0
		if x := l.ills[n]; x != nil {
			kind, times = x.kind, x.times
		}
		looked += l.times
		ill += times
		st.Now = kind
		st.add(cell{X: s.axis.x(l.first), W: s.axis.x(to), Kind: kind, Text: fmt.Sprintf("%s: %s, %s", minute(l.first), kind, count(l.times, "observation"))})
	}
	for i := range st.Cells {
		st.Cells[i].W = max(st.Cells[i].W-st.Cells[i].X, 0.2)
	}
	st.Tone = map[string]string{"ok": "good", "warned": "warn", "flapping": "warn", "down": "bad"}[st.Now]
	st.Words = fmt.Sprintf("held in %s of %s", percent(1-float64(ill)/float64(max(looked, 1))), count(looked, "look"))
	return st
}

// add makes the newest cell longer where the next is like it and follows at once. W is
// where a cell ends, for now.
func (st *strip) add(c cell) {
	if n := len(st.Cells); n > 0 && st.Cells[n-1].Kind == c.Kind && st.Cells[n-1].W >= c.X {
		st.Cells[n-1].W = c.W
		return
	}
	st.Cells = append(st.Cells, c)
}

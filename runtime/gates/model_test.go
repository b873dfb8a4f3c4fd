package gates

import (
	"slices"
	"time"

	"infra/runtime"
)

// A truth is what happened, by the time that a perfect clock would have shown. It says
// when a gate may be open, as the documentation of stable has it, and knows nothing of
// how the journal keeps that.
type truth struct {
	acts []*act
	seen []look
}

// An act is a run, an undo or a rollback.
type act struct {
	began, ended time.Duration // ended is 0 while it goes on
	change       bool
	part         bool
	back         bool // an undo
	host         bool // a rollback
	ok, failing  bool
}

// A look is that the plan was observed.
type look struct {
	at, ended time.Duration
	ok        bool
}

// done is since when the plan is done, and how runs saw it since then.
func (t *truth) done(now time.Duration) (since time.Duration, is bool, seen []look) {
	var ended, open []*act
	changes := slices.ContainsFunc(t.acts, func(a *act) bool { return a.change && !a.host })
	for _, a := range t.acts {
		if a.ended != 0 && a.ended <= now {
			ended = append(ended, a)
		} else {
			open = append(open, a)
		}
	}
	slices.SortFunc(ended, func(a, b *act) int { return sign(int64(a.ended - b.ended)) })
	for _, o := range open { // it may have done what it does after all that began before it
		at := len(ended)
		for at > 0 && ended[at-1].began > o.began {
			at--
		}
		ended = slices.Insert(ended, at, o)
	}
	for _, a := range ended {
		finished := a.ended != 0 && a.ended <= now
		switch {
		case a.host && (!a.change || !changes) || !finished && !a.change:
		case a.host || a.back && (a.change || a.ok) || !finished || !a.ok && a.change:
			is = false
		case a.back:
		case a.ok && (is && a.change || !is && !a.part):
			since, is, seen = a.ended, true, nil
		case is && (a.ok && !a.part || a.failing && !a.ok):
			seen = append(seen, look{a.ended, a.ended, a.ok})
		}
	}
	return since, is, seen
}

// stable says whether a gate may be open.
func (t *truth) stable(g *runtime.Gate, now time.Duration) bool {
	since, is, seen := t.done(now)
	if !is {
		return false
	}
	for _, l := range t.seen {
		if l.at > since && l.ended <= now {
			seen = append(seen, l)
		}
	}
	slices.SortFunc(seen, func(a, b look) int { return sign(int64(a.at - b.at)) })
	if len(seen) > 0 && !seen[len(seen)-1].ok {
		return false
	}
	seen = slices.Insert(seen, 0, look{since, since, true})
	for i, first := range seen {
		if first.ok && now-first.at >= g.For && wellSince(g, seen[i:], now) {
			return true
		}
	}
	return false
}

func wellSince(g *runtime.Gate, seen []look, now time.Duration) bool {
	failures := 0
	for i, l := range seen {
		next := now
		if i+1 < len(seen) {
			next = seen[i+1].at
		}
		if !l.ok {
			failures++
		}
		if next-l.at > g.AtLeast.Gap() {
			return false
		}
	}
	return failures <= g.AtMost
}

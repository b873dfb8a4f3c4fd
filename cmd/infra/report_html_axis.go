package main

import (
	"time"
)

// An axis is the time that a page shows, from its left to its right.
type axis struct {
	From, To, Now time.Time
	Ticks         []tick
}

// A tick is a moment that an axis names.
type tick struct {
	X     float64
	Text  string
	Major bool // it is named also where there is little room
}

// newAxis shows the time from first up to last, with now in it and some room at its ends.
func newAxis(first, last, now time.Time) axis {
	if first.IsZero() || first.After(now) {
		first = now.Add(-day)
	}
	if last.Before(now) {
		last = now
	}
	room := max(last.Sub(first)/40, time.Minute)
	a := axis{From: first.Add(-room).UTC(), To: last.Add(room).UTC(), Now: now.UTC()}
	a.Ticks = a.ticks()
	return a
}

const day = 24 * time.Hour

// x is where a moment is, in percent of the width.
func (a axis) x(t time.Time) float64 {
	part := float64(t.Sub(a.From)) / float64(a.To.Sub(a.From))
	return float64(int(min(1, max(0, part))*100000+0.5)) / 1000
}

// ticks names at most some sixteen moments, on round times.
func (a axis) ticks() []tick {
	step := tickEvery(a.To.Sub(a.From) / 16)
	var ticks []tick
	for t := roundUp(a.From, step); t.Before(a.To); t = t.Add(step) {
		text := t.Format("2 Jan")
		switch {
		case step < day && t.Truncate(day).Before(t):
			text = t.Format("15:04")
		case step >= 28*day:
			text = t.Format("2 Jan 2006")
		}
		ticks = append(ticks, tick{X: a.x(t), Text: text})
	}
	for i := range ticks {
		ticks[i].Major = i%((len(ticks)+3)/4) == 0
	}
	return ticks
}

// tickEvery is the smallest round time that is no less than d.
func tickEvery(d time.Duration) time.Duration {
	for _, step := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, day, 2 * day, 7 * day, 14 * day, 28 * day} {
		if d <= step {
			return step
		}
	}
	return (d + 28*day - 1).Truncate(28 * day)
}

// roundUp is the first moment from t on that is a whole step; weeks begin on Mondays,
// as the zero time did.
func roundUp(t time.Time, step time.Duration) time.Time {
	if r := t.Truncate(step); r.Before(t) {
		return r.Add(step)
	}
	return t
}

// A slot is a part of an axis so small that what happened in it is shown as one.
func (a axis) slot() time.Duration { return max(a.To.Sub(a.From)/slots, time.Second) }

// slots is how many there are. What a page has of observations is bounded by it.
const slots = 320

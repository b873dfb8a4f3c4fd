package gates

import (
	"fmt"
	"iter"
	"time"

	"infra/runtime"
)

// A sight is that a plan was looked at, and how it was.
type sight struct {
	run  string
	at   moment
	well bool
}

// A soak is how long a plan has been seen to be well without a gap, up to now.
type soak struct {
	since   time.Time     // by the clock that now is by; the zero time: it is not well, or nobody looked
	time    time.Duration // since then
	counted time.Duration // time, as far as the clocks are sure of it; of long: what it can be
	any     bool          // there is a time
	failing bool          // at last
	unknown bool          // a clock keeps counted from being known
	broken  string        // what ended the time before since, or keeps it from beginning
	hint    string
}

// soaking goes back from now over what was seen of a plan, the newest first, to where
// it began to be well: not before done, its last run, and after each gap in which
// nobody looked, and after each failure but those that the gate allows. It stops once
// that is as long as the gate wants.
func soaking(g *runtime.Gate, now moment, to lean, seen iter.Seq[sight], done sight) soak {
	w := window{gate: g, now: now, to: to, later: now}
	for s := range seen {
		if over := w.include(s); over {
			return w.soak()
		}
	}
	w.include(done)
	return w.soak()
}

// A window is the time that is looked at, from later up to now.
type window struct {
	gate  *runtime.Gate
	now   moment
	to    lean
	later moment // the earliest that was included, or now

	counted  time.Duration // how long good is ago
	good     sight         // the earliest at which it was well
	any      bool          // good is one
	unknown  bool          // how long it is ago is not known
	looked   bool          // something was included
	failing  bool          // the first that was
	failures int
	broken   string
	hint     string
}

// include goes back to s, and says whether the window cannot or need not be longer.
func (w *window) include(s sight) (over bool) {
	ago, known := between(w.now, s.at, w.to)
	if w.to == short && !known && s.well { // whoever saw it well, nobody knows when
		w.broken = fmt.Sprintf("nobody knows when run %s was: the clock of its machine was %s behind what had been recorded before", s.run, runtime.FormatDuration(s.at.behind))
		w.hint = "set that clock right, and let infra verify look"
		return false
	}
	if w.gap(s) {
		return true
	}
	if about(w.later, s.at) > 0 {
		w.later = s.at
	}
	w.failing = w.failing || !w.looked && !s.well
	w.looked = true
	if !s.well {
		return w.fail(s)
	}
	if !w.any || !known || ago > w.counted {
		w.good, w.counted, w.any, w.unknown = s, ago, true, !known
	}
	return known && ago >= w.gate.For
}

// gap says whether nobody looked for too long after s, or nobody knows for how long.
func (w *window) gap(s sight) bool {
	most := w.gate.AtLeast.Gap()
	gap, known := between(w.later, s.at, -w.to)
	after := about(w.later, s.at)
	switch {
	case w.to == long: // what is not known may be no gap
		return known && gap > most
	case !known && most < never:
		w.broken = fmt.Sprintf("nobody knows for how long nobody looked after %s: the clock of this machine was %s behind what had been recorded before", stamp(s.at), runtime.FormatDuration(w.later.behind))
		w.hint = "set the clock right, and let infra verify look"
	case after < -doubt && !w.later.SameBoot(s.at.Instant):
		w.broken = fmt.Sprintf("a clock went back by %s after %s, so nobody knows for how long nobody looked", runtime.FormatDuration(-after), stamp(s.at))
		w.hint = "set the clocks of the machines right; the time begins anew when infra verify looks"
	case gap > most && !w.looked:
		w.broken = fmt.Sprintf("nobody has looked for %s, since %s, and it has to be observed %s", runtime.FormatDuration(after), stamp(s.at), w.gate.AtLeast)
		w.hint = lookHint
	case gap > most:
		w.broken = fmt.Sprintf("nobody looked for %s after %s, and it has to be observed %s", runtime.FormatDuration(after), stamp(s.at), w.gate.AtLeast)
		w.hint = lookHint
	default:
		return false
	}
	return true
}

const (
	lookHint = "infra verify looks now; infra verify --every 1h goes on looking"
	never    = time.Duration(1<<63 - 1) // the gap of a gate that wants no observations
)

// fail counts a failure, and says whether it is one too many.
func (w *window) fail(s sight) (over bool) {
	w.failures++
	if w.failures == 1 && !w.any {
		w.broken = fmt.Sprintf("a required check fails, at %s at last (infra log %s)", stamp(s.at), s.run)
		w.hint = "mend it; infra verify then looks again"
	}
	if w.failures <= w.gate.AtMost {
		return false
	}
	if w.any {
		w.broken = fmt.Sprintf("a required check failed at %s (infra log %s)", stamp(s.at), s.run)
		if w.gate.AtMost > 0 {
			w.broken += fmt.Sprintf(", and at most %d may", w.gate.AtMost)
		}
	}
	return true
}

func (w *window) soak() soak {
	k := soak{any: w.any, counted: w.counted, failing: w.failing, unknown: w.unknown, broken: w.broken, hint: w.hint}
	if w.any && !w.failing {
		k.time = max(0, about(w.now, w.good.at))
		k.since = w.now.Wall.Add(-k.time)
	}
	return k
}

func stamp(m moment) string { return at(m.Wall) }

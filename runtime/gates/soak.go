package gates

import (
	"fmt"
	"iter"
	"time"

	"infra/runtime"
	"infra/runtime/clock"
)

// A sight is that a plan was looked at, and how it was.
type sight struct {
	run  string
	at   clock.Instant
	well bool
}

// turnedBack is by how much the clocks of two machines may differ, or of one before
// and after a boot, until a time that went backwards is taken for no time at all.
const turnedBack = 5 * time.Minute

// A soak is how long a plan has been seen to be well without a gap, up to now.
type soak struct {
	since  time.Time     // the zero time: it is not well, or nobody looked
	time   time.Duration // since then
	broken string        // what ended the time before since, or keeps it from beginning
	hint   string
}

// soaking goes back from now over what was seen of a plan, the newest first, to where
// it began to be well: not before done, its last run, and after each gap in which
// nobody looked, and after each failure but those that the gate allows. It stops once
// that is as long as the gate wants.
func soaking(g *runtime.Gate, done sight, seen iter.Seq[sight], now clock.Instant) soak {
	w := window{gate: g, later: now, now: now}
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
	gate     *runtime.Gate
	now      clock.Instant
	later    clock.Instant // the earliest that was included, or now
	ago      time.Duration // how long later is ago
	good     sight         // the earliest at which it was well
	goodAgo  time.Duration
	any      bool // good is one
	failures int
	broken   string
	hint     string
}

// include goes back to s, and says whether the window cannot or need not be longer.
func (w *window) include(s sight) (over bool) {
	gap := w.later.Sub(s.at)
	if gap < -turnedBack && !w.later.SameBoot(s.at) {
		w.broken = fmt.Sprintf("a clock went back by %s after %s, so nobody knows how long it was unobserved", runtime.FormatDuration(-gap), stamp(s.at))
		return true
	}
	if gap > w.gate.AtLeast.Gap() {
		w.broken = fmt.Sprintf("nobody looked for %s after %s, and it has to be observed %s", runtime.FormatDuration(gap), stamp(s.at), w.gate.AtLeast)
		w.hint = "infra verify looks now; infra verify --every 1h goes on looking"
		return true
	}
	w.ago += gap
	w.later = s.at
	if !s.well {
		return w.fail(s)
	}
	w.good, w.goodAgo, w.any = s, w.ago, true
	return w.goodAgo >= w.gate.For
}

// fail counts a failure, and says whether it is one too many.
func (w *window) fail(s sight) (over bool) {
	w.failures++
	if w.any && w.failures <= w.gate.AtMost {
		return false
	}
	w.broken = fmt.Sprintf("a required check failed at %s (infra log %s)", stamp(s.at), s.run)
	if !w.any {
		w.broken = fmt.Sprintf("a required check fails, at %s at last (infra log %s)", stamp(s.at), s.run)
		w.hint = "mend it; infra verify then looks again"
	}
	return true
}

func (w *window) soak() soak {
	if !w.any {
		return soak{broken: w.broken, hint: w.hint}
	}
	return soak{since: w.now.Wall.Add(-w.goodAgo), time: max(0, w.goodAgo), broken: w.broken}
}

func stamp(i clock.Instant) string { return at(i.Wall) }

package gates

import (
	"math"
	"time"

	"infra/runtime/clock"
	"infra/runtime/journal"
)

// A timeline puts what the journal has onto one line of time.
type timeline struct {
	ledger *journal.Ledger
	clock  clock.Instant     // now
	boots  map[string]moment // when the first was that was recorded in each
}

// A moment is when something was, as far as the clocks tell.
type moment struct {
	clock.Instant
	from   time.Time     // not before this, as a clock would show it that nobody has set
	behind time.Duration // by how much its own clock was behind that; nobody knows then how long after from it was
}

const (
	// doubt is by how much right clocks differ. It is counted against whoever wants a
	// gate open, wherever a time is from one boot or machine to another.
	doubt = 5 * time.Minute

	// These are how many boots, and how many moments in a row of clocks that were behind,
	// are looked back over for a clock that went back.
	eldestBoot   = 50
	eldestMoment = 1000
)

func newTimeline(now clock.Instant, ledger *journal.Ledger) *timeline {
	return &timeline{ledger: ledger, clock: now, boots: map[string]moment{}}
}

// present is now.
func (t *timeline) present() (moment, error) { return t.moment(t.clock, math.MaxInt64, 0) }

// moment is when the run with that [journal.Run.Seq] was, which a clock says it was.
// Of a boot the clock counts as it was at what was recorded first: nobody had set it
// since, or it had been set right.
func (t *timeline) moment(i clock.Instant, seq int64, depth int) (moment, error) {
	if i.Boot == "" {
		floor, err := t.floor(seq, depth)
		return notBefore(i, floor), err
	}
	first, known := t.boots[i.Boot]
	if !known {
		began, err := t.ledger.FirstOfBoot(i.Boot)
		if err != nil {
			return moment{}, err
		}
		if began.Seq == 0 || began.Seq > seq { // this is the first
			began = journal.Moment{Seq: seq, At: i}
		}
		floor, err := t.floor(began.Seq, depth+1)
		if err != nil {
			return moment{}, err
		}
		first = notBefore(began.At, floor)
		t.boots[i.Boot] = first
	}
	return moment{i, first.from.Add(i.Up - first.Up), first.behind}, nil
}

// floor is when that was what had been recorded before a run: it began later. What was
// recorded by a clock that was behind says little of that, and what came before it more.
func (t *timeline) floor(seq int64, depth int) (floor time.Time, err error) {
	for range eldestMoment {
		before, err := t.ledger.MomentBefore(seq)
		if err != nil || before.Seq == 0 || depth > eldestBoot {
			return floor, err
		}
		m := notBefore(before.At, time.Time{})
		if before.At.Boot != "" {
			if m, err = t.moment(before.At, before.Seq, depth); err != nil {
				return floor, err
			}
		}
		if m.from.After(floor) {
			floor = m.from
		}
		if m.behind == 0 {
			break
		}
		seq = before.Seq
	}
	return floor, nil
}

// notBefore is a moment by the machine's own clock, unless that is behind.
func notBefore(i clock.Instant, floor time.Time) moment {
	m := moment{Instant: i, from: i.Wall.Round(0)}
	if behind := floor.Sub(m.from); behind > doubt {
		m.from, m.behind = floor, behind
	}
	return m
}

// over is when a run ended, and the run that had begun last then. Of one that another
// process went on with only the wall clock tells, and what had been recorded before.
func (t *timeline) over(r *journal.Run, turn journal.Turn) (m moment, after int64, err error) {
	after = r.Seq
	if turn.Ended != 0 {
		if after, err = t.ledger.StartedBefore(turn.Ended); err != nil {
			return moment{}, 0, err
		}
	}
	if r.Resumed.IsZero() {
		m, err = t.moment(r.Over(), r.Seq, 0)
		return m, after, err
	}
	last, err := t.ledger.MomentBefore(after + 1)
	if err != nil {
		return moment{}, 0, err
	}
	before, err := t.moment(last.At, last.Seq, 0)
	return notBefore(r.Over(), before.from), after, err
}

// A lean is to which side a time is wrong where it is not known.
type lean int

const (
	short lean = -1 // no gate opens early by it
	long  lean = +1 // none opens earlier than it says
)

// between is how long after earlier something was. It is not known at all where a
// clock was behind on the wrong side.
func between(later, earlier moment, to lean) (d time.Duration, known bool) {
	if later.SameBoot(earlier.Instant) {
		return later.Up - earlier.Up, true
	}
	unsure := earlier.behind
	if to == long {
		unsure = later.behind
	}
	return later.from.Sub(earlier.from) + time.Duration(to)*differ(later, earlier), unsure == 0
}

// differ is by how much the clocks of two moments may. Machines that tell no boot are
// taken for one machine.
func differ(a, b moment) time.Duration {
	if a.SameBoot(b.Instant) || a.Boot == "" && b.Boot == "" {
		return 0
	}
	return doubt
}

// about is how long after earlier something was, to be shown.
func about(later, earlier moment) time.Duration {
	if later.SameBoot(earlier.Instant) {
		return later.Up - earlier.Up
	}
	return later.from.Sub(earlier.from)
}

package gates

import (
	"iter"
	"math"
	"time"

	"infra/runtime"
	"infra/runtime/journal"
)

// A trail goes back over how a plan was seen since it was done, the newest first. What
// was seen while that run went on is none. Where the plan was seen far more often than
// has to be, it leaves out what makes no difference.
type trail struct {
	record *Record
	plan   string
	after  int64 // of what began after this run was seen
	most   time.Duration
	runs   []placed // that changed nothing, the oldest first

	before  int64 // observations before this one are left
	failing int64 // the newest of them that failed
	last    *journal.Observation
	stride  int64 // how many are left out, where they can be
	err     error
}

// A placed sight is that of a run, which saw the plan when it ended.
type placed struct {
	sight
	after int64 // the run that had begun last then
}

// chunk is how many observations are read at once.
const chunk = 32

func newTrail(r *Record, s *Standing, most time.Duration) *trail {
	return &trail{record: r, plan: s.Plan, after: s.done.after, most: most, runs: s.seen, before: math.MaxInt64}
}

// sights are what is to be seen. t.err is why they ended early.
func (t *trail) sights() iter.Seq[sight] {
	return func(yield func(sight) bool) {
		t.failing, t.err = t.record.ledger.FailingBefore(t.plan, t.before)
		for t.err == nil {
			var list []journal.Observation
			if list, t.err = t.next(); len(list) == 0 || t.err != nil {
				break
			}
			for _, o := range list {
				if !t.observed(o, yield) {
					return
				}
			}
		}
		for t.err == nil && len(t.runs) > 0 && t.pop(yield) {
		}
	}
}

// next is what was observed next since the plan was done. It leaves out as many
// observations as it can.
func (t *trail) next() ([]journal.Observation, error) {
	for t.last != nil && t.stride >= chunk {
		list, err := t.record.ledger.ObservedBefore(t.plan, t.before-t.stride, 1)
		if err != nil {
			return nil, err
		}
		if len(list) == 1 && t.joins(list[0]) {
			t.stride += t.stride / 2
			return list, nil
		}
		t.stride /= 2
	}
	list, err := t.record.ledger.ObservedBefore(t.plan, t.before, chunk)
	if len(list) == chunk && t.crowded(list[0], list[chunk-1]) {
		t.stride = chunk
	}
	for i, o := range list {
		if o.Seq <= t.after {
			return list[:i], err
		}
	}
	return list, err
}

// crowded says whether far more was observed than has to be.
func (t *trail) crowded(newest, oldest journal.Observation) bool {
	d := newest.At.Sub(oldest.At)
	return newest.At.SameBoot(oldest.At) && d >= 0 && d < t.most/4
}

// joins says whether nothing between what was observed last and o makes a difference:
// both were well, no gap is between them by one clock, and nothing failed.
func (t *trail) joins(o journal.Observation) bool {
	d := t.last.At.Sub(o.At)
	return o.Seq > max(t.failing, t.after) && o.At.SameBoot(t.last.At) && d >= 0 && d <= t.most &&
		(len(t.runs) == 0 || t.runs[len(t.runs)-1].after < o.Seq)
}

// observed hands out an observation, after the runs that ended later.
func (t *trail) observed(o journal.Observation, yield func(sight) bool) bool {
	var m moment
	if m, t.err = t.record.line.moment(o.At, o.Seq, 0); t.err != nil {
		return false
	}
	for len(t.runs) > 0 && t.runs[len(t.runs)-1].after >= o.Seq {
		if !t.pop(yield) {
			return false
		}
	}
	s := sight{o.Run, m, o.Status == runtime.OK}
	t.before, t.last = o.Seq, nil
	if s.well {
		t.last = &o
	}
	if o.Seq == t.failing {
		if t.failing, t.err = t.record.ledger.FailingBefore(t.plan, o.Seq); t.err != nil {
			return false
		}
	}
	return yield(s)
}

// pop hands out the newest of the runs.
func (t *trail) pop(yield func(sight) bool) bool {
	run := t.runs[len(t.runs)-1]
	t.runs = t.runs[:len(t.runs)-1]
	return yield(run.sight)
}

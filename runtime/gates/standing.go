package gates

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"infra/runtime"
	"infra/runtime/journal"
)

// A Standing is where a plan is by its runs.
type Standing struct {
	Plan string
	Last *journal.Run // the latest run of it, or undo; nil: none

	// Done is the run since which it is as the plan wants it: the last that changed
	// something, or else the first that ended well. nil: it is not.
	Done *journal.Run
	Why  string // it is not
	Hint string // what a person does about that

	Undone     *journal.Run // that took it back: an undo, or a rollback of one of its hosts; nil where Done
	unchanging []journal.Run
}

// Standing says where a plan is.
func (r *Record) Standing(plan string) (*Standing, error) {
	if s := r.plans[plan]; s != nil {
		return s, nil
	}
	s := &Standing{Plan: plan, Why: "it was never run", Hint: "infra run plans/" + plan + ".star"}
	r.plans[plan] = s
	if r.ledger == nil {
		return s, nil
	}
	acts, err := r.acts(plan)
	if err != nil {
		return nil, err
	}
	for i := range acts {
		s.take(&acts[i])
	}
	return s, nil
}

// acts are the runs of a plan, and what took back one of its hosts, in the order of
// their last part.
func (r *Record) acts(plan string) ([]journal.Run, error) {
	acts, err := r.ledger.Acts(plan)
	if err != nil || len(acts) == 0 {
		return nil, err
	}
	if !r.looked {
		if r.rollbacks, err = r.ledger.Rollbacks(); err != nil {
			return nil, err
		}
		r.looked = true
	}
	if len(r.rollbacks) > 0 {
		hosts, err := r.ledger.ChangedHosts(plan)
		if err != nil {
			return nil, err
		}
		for _, b := range r.rollbacks {
			if slices.Contains(hosts, b.RolledBack()) {
				acts = append(acts, b)
			}
		}
	}
	slices.SortFunc(acts, func(a, b journal.Run) int { return int(a.Seq - b.Seq) })
	return inOrderOfParts(acts), nil
}

// inOrderOfParts moves each run that another process went on with behind those that
// began before that. The journal numbers runs by their begin: here, and only here, the
// wall clocks tell which was first.
func inOrderOfParts(acts []journal.Run) []journal.Run {
	var order []journal.Run
	began := func(r journal.Run) time.Time {
		if r.Resumed.After(r.Started) {
			return r.Resumed
		}
		return r.Started
	}
	for _, r := range acts {
		at := len(order)
		for at > 0 && !order[at-1].Resumed.IsZero() && began(order[at-1]).After(began(r)) {
			at--
		}
		order = slices.Insert(order, at, r)
	}
	return order
}

// take goes on by one run.
func (s *Standing) take(r *journal.Run) {
	touched := r.Changed > 0 || r.InFlight > 0
	call := r.Call()
	if host := r.RolledBack(); host != "" {
		if touched {
			s.undo(r, fmt.Sprintf("%s was taken back to an earlier generation by run %s", host, r.ID))
		}
		return
	}
	s.Last = r
	switch {
	case call.Undoes != "":
		if touched || r.Status == runtime.OK {
			s.undo(r, fmt.Sprintf("run %s was taken back by run %s", call.Undoes, r.ID))
		}
	case r.Status == runtime.OK:
		s.well(r, touched)
	case touched && r.Status == journal.Unfinished:
		s.unwell(fmt.Sprintf("run %s goes on, or was cut off", r.ID), "infra resume "+r.ID+" goes on with one that was cut off")
	case touched:
		s.unwell(fmt.Sprintf("run %s ended as %s, with changes", r.ID, r.Status), "infra resume "+r.ID)
	case s.Done == nil && r.Status == journal.Unfinished:
		s.Why, s.Hint = fmt.Sprintf("run %s goes on, or was cut off", r.ID), "infra resume "+r.ID+" goes on with one that was cut off"
	case s.Done == nil:
		s.Why, s.Hint = fmt.Sprintf("run %s ended as %s", r.ID, r.Status), "infra resume "+r.ID
	case r.FailedChecks > 0:
		s.unchanging = append(s.unchanging, *r)
	}
}

// well goes on by a run that ended well. A run of a part of the plan says nothing of
// the rest.
func (s *Standing) well(r *journal.Run, touched bool) {
	switch {
	case s.Done == nil && !r.Whole():
		s.Why, s.Hint = s.Why+", and run "+r.ID+" was of a part of it", "infra run "+r.File
	case s.Done == nil, touched:
		*s = Standing{Plan: s.Plan, Last: s.Last, Done: r}
	case r.Whole():
		s.unchanging = append(s.unchanging, *r)
	}
}

func (s *Standing) undo(r *journal.Run, why string) {
	if s.Done != nil || s.Undone != nil || s.Last != nil {
		s.unwell(why, "infra run plans/"+s.Plan+".star")
		s.Undone = r
	}
}

func (s *Standing) unwell(why, hint string) {
	*s = Standing{Plan: s.Plan, Last: s.Last, Why: why, Hint: hint}
}

// sights are how the plan was seen since it was done, the newest first. What was seen
// while that run went on is none. done gives the error that ended them early.
func (r *Record) sights(s *Standing) (seen iter.Seq[sight], done func() error) {
	var failed error
	began, over := s.Done.Began(), s.Done.Over()
	seen = func(yield func(sight) bool) {
		runs := s.unchanging            // the oldest first
		older := func(seq int64) bool { // hands out the runs after seq
			for len(runs) > 0 && runs[len(runs)-1].Seq > seq {
				last := runs[len(runs)-1]
				runs = runs[:len(runs)-1]
				if !yield(sight{last.ID, last.Over(), last.Status == runtime.OK}) {
					return false
				}
			}
			return true
		}
		stopped := false
		failed = r.ledger.Observations(s.Plan, func(o journal.Observation) bool {
			if o.Seq < s.Done.Seq {
				return false
			}
			during := o.At.Sub(began) >= 0 && over.Sub(o.At) > 0
			stopped = !older(o.Seq) || !during && !yield(sight{o.Run, o.At, o.Status == runtime.OK})
			return !stopped
		})
		if !stopped {
			older(0)
		}
	}
	return seen, func() error { return failed }
}

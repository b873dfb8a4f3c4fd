package gates

import (
	"fmt"
	"math"
	"slices"

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

	Undone *journal.Run // that took it back: an undo, or a rollback of one of its hosts; nil where Done

	// Acts are its runs, what took one of them back, and what took back one of its hosts,
	// in the order in which they ended.
	Acts []journal.Run

	done    placed       // of Done
	seen    []placed     // how runs saw it since then that changed nothing
	touched *journal.Run // the last act that changed something, or may have; nil: none did
	after   int64        // the run that had begun last when touched ended
	checked *journal.Run // the last run whose checks all ran, since then or it; nil: none
	until   int64        // the run that had begun last when checked ended
}

// Standing says where a plan is.
func (r *Record) Standing(plan string) (*Standing, error) {
	if s := r.plans[plan]; s != nil {
		return s, nil
	}
	s := &Standing{Plan: plan}
	if err := r.place(s); err != nil {
		return nil, err
	}
	r.plans[plan] = s
	return s, nil
}

func (r *Record) place(s *Standing) error {
	var turns map[int64]journal.Turn
	var err error
	if r.ledger != nil {
		if s.Acts, turns, err = r.acts(s.Plan); err != nil {
			return err
		}
	}
	if len(s.Acts) == 0 {
		s.Why, s.Hint, err = r.neverRun(s.Plan)
		return err
	}
	for i := range s.Acts {
		act := &s.Acts[i]
		at, after, err := r.line.over(act, turns[act.Seq])
		if err != nil {
			return err
		}
		s.take(act, placed{sight{act.ID, at, act.Status == runtime.OK}, after})
	}
	return nil
}

// neverRun is what there is to say of a plan that was never run: perhaps its name is
// that of none.
func (r *Record) neverRun(plan string) (why, hint string, err error) {
	why, hint = "it was never run", "infra run plans/"+plan+".star"
	if r.Known == nil || slices.Contains(r.Known, plan) {
		return why, hint, nil
	}
	why = "it was never run, and there is no plans/" + plan + ".star"
	hint = "write that plan, or name another one in the gate"
	names := slices.Clone(r.Known)
	if r.ledger != nil {
		recorded, err := r.ledger.Plans()
		if err != nil {
			return "", "", err
		}
		names = append(names, recorded...)
	}
	if r.Nearest != nil {
		if near := r.Nearest(plan, names); near != "" && near != plan {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
	}
	return why, hint, nil
}

// acts are the runs of a plan, and what took back one of its hosts, in the order in
// which they ended.
func (r *Record) acts(plan string) ([]journal.Run, map[int64]journal.Turn, error) {
	acts, err := r.ledger.Acts(plan)
	if err != nil || len(acts) == 0 {
		return nil, nil, err
	}
	if !r.looked {
		if r.rollbacks, err = r.ledger.Rollbacks(); err != nil {
			return nil, nil, err
		}
		r.looked = true
	}
	var hosts []string
	if len(r.rollbacks) > 0 {
		if hosts, err = r.ledger.ChangedHosts(plan); err != nil {
			return nil, nil, err
		}
	}
	for _, b := range r.rollbacks {
		if slices.Contains(hosts, b.RolledBack()) {
			acts = append(acts, b)
		}
	}
	var seqs []int64
	for _, a := range acts {
		seqs = append(seqs, a.Seq)
	}
	turns, err := r.ledger.Turns(seqs...)
	return inOrder(acts, turns), turns, err
}

// inOrder sorts runs by when they ended, and one that has not behind those that it
// may have come after.
func inOrder(acts []journal.Run, turns map[int64]journal.Turn) []journal.Run {
	turn := func(r journal.Run) journal.Turn {
		if t, ok := turns[r.Seq]; ok {
			return t
		}
		old := r.Seq - math.MaxInt64/2 // before all whose order was recorded
		return journal.Turn{Run: r.Seq, Began: old, Ended: old}
	}
	var order, open []journal.Run
	for _, a := range acts {
		if a.Status == journal.Unfinished {
			open = append(open, a)
			continue
		}
		order = append(order, a)
	}
	slices.SortStableFunc(order, func(a, b journal.Run) int { return sign(turn(a).Ended - turn(b).Ended) })
	slices.SortStableFunc(open, func(a, b journal.Run) int { return sign(turn(a).Began - turn(b).Began) })
	for _, a := range open {
		at := len(order)
		for at > 0 && turn(order[at-1]).Began > turn(a).Began {
			at--
		}
		order = slices.Insert(order, at, a)
	}
	return order
}

func sign(d int64) int { return int(max(-1, min(1, d))) }

// take goes on by one run, which ended at a place.
func (s *Standing) take(r *journal.Run, at placed) {
	touched := r.Changed > 0 || r.InFlight > 0
	s.witness(r, at, touched)
	call := r.Call()
	if host := r.RolledBack(); host != "" {
		if touched && s.Last != nil {
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
		s.well(r, at, touched)
	case touched || s.Done == nil:
		s.unwell(unfinished(r, touched))
	case r.FailedChecks > 0:
		s.seen = append(s.seen, at)
	}
}

// witness notes what a run says about older evidence, and whether it is evidence.
func (s *Standing) witness(r *journal.Run, at placed, touched bool) {
	if touched {
		s.touched, s.after, s.checked = r, at.after, nil
		if r.Status == journal.Unfinished { // what is seen meanwhile says nothing of what it comes to
			s.after = math.MaxInt64
		}
	}
	ran := r.Status == runtime.OK || r.Status == runtime.Failed && r.FailedChecks > 0
	if ran && r.Whole() && r.Call().Undoes == "" && r.RolledBack() == "" {
		s.checked, s.until = r, at.after
	}
}

// unfinished is why a plan is not done after a run that did not end well.
func unfinished(r *journal.Run, touched bool) (why, hint string) {
	switch {
	case r.Status == journal.Unfinished:
		return fmt.Sprintf("run %s goes on since %s, or was cut off", r.ID, at(r.Began().Wall)), "infra resume " + r.ID + " goes on with one that was cut off"
	case touched:
		return fmt.Sprintf("run %s ended as %s at %s, with changes", r.ID, r.Status, at(r.Ended)), "infra resume " + r.ID
	}
	return fmt.Sprintf("run %s ended as %s at %s", r.ID, r.Status, at(r.Ended)), "infra resume " + r.ID
}

// well goes on by a run that ended well. A run of a part of the plan says nothing of
// the rest.
func (s *Standing) well(r *journal.Run, at placed, touched bool) {
	switch {
	case s.Done == nil && !r.Whole():
		s.Why, s.Hint = s.Why+", and run "+r.ID+" was of a part of it", "infra run "+r.File
	case s.Done == nil, touched:
		s.Done, s.done, s.seen, s.Undone, s.Why, s.Hint = r, at, nil, nil, "", ""
	case r.Whole():
		s.seen = append(s.seen, at)
	}
}

func (s *Standing) undo(r *journal.Run, why string) {
	s.unwell(why, "infra run plans/"+s.Plan+".star")
	s.Undone = r
}

func (s *Standing) unwell(why, hint string) {
	s.Done, s.seen, s.Undone, s.Why, s.Hint = nil, nil, nil, why, hint
}

package main

import (
	"slices"
	"time"

	"github.com/charmbracelet/x/ansi"

	"infra/runtime"
)

// treeState is what a live tree shows: the steps and checks of a run and how
// far each of them is.
type treeState struct {
	rows    []*treeRow // in the plan's order
	byName  map[instance]*treeRow
	label   int // the width of the widest name
	began   time.Time
	now     time.Time
	ended   bool
	ops     int
	changed int
	waits   string // for a lock, before it begins; in one line
}

// A treeRow is a step, with all its hosts, or a check.
type treeRow struct {
	name    string
	total   int // hosts of a fan-out; 0: it has none
	running []*treeInstance
	notOK   []*treeInstance // that ended otherwise, to be listed in the end
	counts  map[runtime.Status]int
	began   time.Time // zero: it waits
	took    time.Duration
	status  runtime.Status // "" until it ended
	why     string         // in one line
}

// A treeInstance is a step on one host.
type treeInstance struct {
	host   string
	began  time.Time
	took   time.Duration
	status runtime.Status
	why    string
	ops    []*treeOp // running, the newest last
	waits  string    // for a lock, before its next operation; in one line
}

// A treeOp is an operation that runs.
type treeOp struct {
	id   int
	op   runtime.Op
	last string // the line it printed last, as it came

	parts []treePart // that are worked on, in the order in which they began, and those that just ended
	nth   int        // how many have ended
	of    int        // of how many; 0: nobody counts
	sum   string     // how far they are together; "": nobody adds up
}

// A treePart is a part of an operation that has begun. Over says that it has ended.
type treePart struct {
	runtime.Part
	began time.Time
	ended time.Time
}

// partStays is how long a part that has ended keeps its line: the next one is not told
// of at once, and the lines below should not jump meanwhile.
const partStays = 2500 * time.Millisecond

// past says whether a part has had its line for long enough.
func (p *treePart) past(now time.Time) bool { return p.Over && now.Sub(p.ended) >= partStays }

func newTreeState() *treeState { return &treeState{byName: map[instance]*treeRow{}} }

// apply takes an event in.
func (s *treeState) apply(e runtime.Event) {
	s.now = e.Time
	switch e.Kind {
	case runtime.RunStarted, runtime.RunResumed:
		s.begin(e)
		return
	case runtime.RunEnded:
		s.end()
		return
	}
	if e.Step == "" {
		if e.Kind == runtime.Waiting {
			s.waits = oneLine(e.Text)
		}
		return
	}
	row := s.row(e)
	switch e.Kind {
	case runtime.StepStarted:
		row.start(e)
	case runtime.OpAsked, runtime.OpResumed:
		in := row.start(e)
		in.waits = ""
		in.ops = append(in.ops, &treeOp{id: e.Op.ID, op: e.Op.Op})
	case runtime.Waiting:
		row.start(e).waits = oneLine(e.Text)
	case runtime.OpOutput:
		if in := row.find(e.Host); in != nil {
			in.output(e)
		}
	case runtime.OpProgress:
		if in := row.find(e.Host); in != nil && e.Part != nil {
			in.progress(e)
		}
	case runtime.OpEnded:
		s.opEnded(row, e)
	case runtime.StepEnded, runtime.StepRestored:
		row.end(e)
	}
}

func (s *treeState) begin(e runtime.Event) {
	s.began, s.waits = e.Time, ""
	if e.Start == nil {
		return
	}
	for _, step := range e.Start.Steps {
		s.add(instance{step: step.Name}, len(step.Each))
		for _, h := range step.Each {
			s.label = max(s.label, ansi.StringWidth(h.Name)+2)
		}
	}
	for _, c := range e.Start.Checks {
		who := instance{step: c.Name, check: true}
		if c.Host != nil {
			who.host = c.Host.Name
		}
		s.add(who, 0)
	}
}

// end takes what still runs for interrupted.
func (s *treeState) end() {
	s.ended = true
	for _, r := range s.rows {
		if r.phase() != active {
			continue
		}
		last := runtime.OK // the other hosts were not chosen
		if len(r.running) > 0 {
			last = runtime.Interrupted
		}
		r.status, r.took, r.running = r.worst(last), s.now.Sub(r.began), nil
	}
}

func (s *treeState) add(who instance, total int) *treeRow {
	row := &treeRow{name: who.title(), total: total, counts: map[runtime.Status]int{}}
	s.rows = append(s.rows, row)
	s.byName[who] = row
	s.label = max(s.label, ansi.StringWidth(row.name))
	return row
}

// row is where e belongs; what the plan did not announce gets a row of its own.
func (s *treeState) row(e runtime.Event) *treeRow {
	who := instanceOf(e)
	if !who.check {
		who.host = ""
	}
	if row := s.byName[who]; row != nil {
		return row
	}
	return s.add(who, 0)
}

// at is the operation that an instance is at, and how many were sent ahead behind it.
// Of operations within one another it is the innermost.
func (in *treeInstance) at() (o *treeOp, behind int) {
	n := len(in.ops) - 1
	for n > 0 && in.ops[n].op.Statement != nil && in.ops[n-1].op.Statement != nil {
		n--
	}
	return in.ops[n], len(in.ops) - 1 - n
}

func (s *treeState) opEnded(row *treeRow, e runtime.Event) {
	s.ops++
	if e.Op.Changed {
		s.changed++
	}
	if in := row.find(e.Host); in != nil {
		in.ops = slices.DeleteFunc(in.ops, func(o *treeOp) bool { return o.id == e.Op.ID })
	}
}

func (r *treeRow) find(host string) *treeInstance {
	for _, in := range r.running {
		if in.host == host {
			return in
		}
	}
	return nil
}

// start is the running instance that e is of, made when it is not there yet.
func (r *treeRow) start(e runtime.Event) *treeInstance {
	if r.began.IsZero() {
		r.began = e.Time
	}
	if in := r.find(e.Host); in != nil {
		return in
	}
	in := &treeInstance{host: e.Host, began: e.Time}
	r.running = append(r.running, in)
	return in
}

func (in *treeInstance) output(e runtime.Event) {
	if o := in.op(e); o != nil {
		o.last = lastDrawn(e.Text)
	}
}

// op is the running operation that e is about.
func (in *treeInstance) op(e runtime.Event) *treeOp {
	for _, o := range in.ops {
		if e.Op != nil && o.id == e.Op.ID {
			return o
		}
	}
	return nil
}

// progress notes that a part of an operation began, came further, or ended.
func (in *treeInstance) progress(e runtime.Event) {
	o := in.op(e)
	if o == nil {
		return
	}
	o.nth, o.of, o.sum = max(o.nth, e.Part.Nth), max(o.of, e.Part.Of), e.Part.Sum
	if e.Part.Name == "" {
		return
	}
	p := treePart{Part: *e.Part, began: e.Time.Add(-e.Part.Took), ended: e.Time}
	o.parts = slices.DeleteFunc(o.parts, func(q treePart) bool { return q.past(e.Time) })
	if at := slices.IndexFunc(o.parts, func(q treePart) bool { return q.Name == p.Name }); at >= 0 {
		if !p.Over && !o.parts[at].Over {
			p.began = o.parts[at].began
		}
		o.parts[at] = p
		return
	}
	if p.Over {
		return
	}
	if free := slices.IndexFunc(o.parts, func(q treePart) bool { return q.Over }); free >= 0 {
		o.parts[free] = p
		return
	}
	o.parts = append(o.parts, p)
}

// end notes how an instance ended, and the row with its last one. An end
// without a host ends a fan-out as a whole.
func (r *treeRow) end(e runtime.Event) {
	in := r.find(e.Host)
	if in == nil {
		in = &treeInstance{host: e.Host}
	}
	r.running = slices.DeleteFunc(r.running, func(x *treeInstance) bool { return x == in })
	in.status, in.took, in.why, in.ops = e.Status, e.Took, reasonOf(e), nil
	whole := r.total == 0 || e.Host == ""
	if !whole {
		r.counts[e.Status]++
		if e.Status != runtime.OK {
			r.notOK = append(r.notOK, in)
		}
		whole = r.endedHosts() >= r.total
	}
	if !whole {
		return
	}
	r.status, r.took = e.Status, e.Took
	if r.total == 0 {
		r.why = in.why
		return
	}
	r.status = r.worst(e.Status)
	if !r.began.IsZero() {
		r.took = e.Time.Sub(r.began)
	}
}

func (r *treeRow) endedHosts() int {
	n := 0
	for _, c := range r.counts {
		n += c
	}
	return n
}

// worst is the status that a fan-out as a whole has.
func (r *treeRow) worst(last runtime.Status) runtime.Status {
	for _, st := range []runtime.Status{runtime.Failed, runtime.Interrupted, runtime.Held, runtime.Stopped, runtime.Skipped} {
		if r.counts[st] > 0 || last == st {
			return st
		}
	}
	return runtime.OK
}

func reasonOf(e runtime.Event) string {
	if e.Err != nil {
		return oneLine(detailsOf(e.Err).msg)
	}
	return oneLine(e.Text)
}

package journal

import (
	"database/sql"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"infra/runtime"
	"infra/runtime/clock"
)

// A Call is how a run was called, as far as gates and what people see of it need
// that. It is a part of [Run.Options].
type Call struct {
	Kind      Kind       `json:"kind,omitempty"`
	Steps     []string   `json:"steps,omitempty"`  // it was of these alone
	Hosts     []string   `json:"hosts,omitempty"`  // it was of these alone
	Undoes    string     `json:"undoes,omitempty"` // the run that it takes back
	Clock     clock.Mark `json:"clock,omitzero"`   // when it began
	Overrides []Override `json:"overrides,omitempty"`
	Decision  *Decision  `json:"decision,omitempty"`
}

// Kind is what is kept as a run. The zero Kind carries out a plan, takes a run back,
// or a host.
type Kind string

const (
	Observed Kind = "verify" // the checks of a plan, without its steps
	Decided  Kind = "decide" // a person's word about a plan, or about anything that has a name
)

// An Override is a gate that a person passed although it was closed.
type Override struct {
	Gate    string `json:"gate"` // such as "stable:cinnabar"
	Because string `json:"because"`
}

// A Decision is what a person said.
type Decision struct {
	Go       bool     `json:"go"`
	Because  string   `json:"because"`
	By       string   `json:"by"`                 // "Ann <ann@example.org>", as git has it
	Evidence string   `json:"evidence,omitempty"` // the run or observation that they saw
	Despite  []string `json:"despite,omitempty"`  // the checks that failed in it
}

// Call is how the run was called; the zero Call where that is not known.
func (r *Run) Call() Call {
	var c Call
	_ = json.Unmarshal(r.Options, &c) // an older infra, or none of ours, wrote it
	return c
}

// Began is when the run began.
func (r *Run) Began() clock.Instant { return clock.Instant{Wall: r.Started, Mark: r.Call().Clock} }

// Over is when it ended. One that another process went on with has no mark there.
func (r *Run) Over() clock.Instant {
	if !r.Resumed.IsZero() {
		return clock.Instant{Wall: r.Ended}
	}
	return r.Began().Add(r.Took)
}

// Whole says whether the run was of the whole plan.
func (r *Run) Whole() bool {
	c := r.Call()
	return len(c.Steps) == 0 && len(c.Hosts) == 0
}

// asked asks what gates ask, which is the same again and again: each question is
// prepared once.
func (l *Ledger) asked() querier { return &l.statements }

type statements struct {
	db   *sql.DB
	mu   sync.Mutex
	made map[string]*sql.Stmt // closing db ends them
}

func (s *statements) Query(text string, args ...any) (*sql.Rows, error) {
	stmt, err := s.prepare(text)
	if err != nil {
		return nil, err
	}
	return stmt.Query(args...)
}

func (s *statements) prepare(text string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stmt := s.made[text]; stmt != nil {
		return stmt, nil
	}
	stmt, err := s.db.Prepare(text)
	if err == nil {
		s.made[text] = stmt
	}
	return stmt, err
}

// Acts returns what was run of a plan, the oldest first, without steps: its runs, and
// those that took one of them back. Observations and decisions are none.
func (l *Ledger) Acts(plan string) ([]Run, error) {
	runs, err := query(l.asked(), scanRun, actsOf, plan)
	return runs, l.explain("list the runs of "+plan, err)
}

// Rollbacks returns the runs of infra rollback, the oldest first, without steps.
func (l *Ledger) Rollbacks() ([]Run, error) {
	runs, err := query(l.asked(), scanRun, rollbacks)
	return runs, l.explain("list the rollbacks", err)
}

// Decisions returns what people decided about a plan, or about what else has that
// name, the oldest first.
func (l *Ledger) Decisions(of string) ([]Run, error) {
	runs, err := query(l.asked(), scanRun, decisionsOf, of)
	return runs, l.explain("list the decisions about "+of, err)
}

// ChangedHosts returns the hosts that runs of a plan changed.
func (l *Ledger) ChangedHosts(plan string) ([]string, error) {
	hosts, err := query(l.asked(), func(row scanner) (h string, err error) { return h, row.Scan(&h) }, changedHosts, plan)
	return hosts, l.explain("list the hosts of "+plan, err)
}

// Plans returns the names of the plans that were run or observed.
func (l *Ledger) Plans() ([]string, error) {
	names, err := query(l.asked(), func(row scanner) (p string, err error) { return p, row.Scan(&p) }, plansThere)
	return names, l.explain("list the plans", err)
}

// An Observation is that the checks of a plan were run.
type Observation struct {
	Seq    int64
	Run    string
	At     clock.Instant // when it began, for which it stands
	Took   time.Duration
	Status runtime.Status // OK: no required check failed
}

// Observations calls visit with each time that the checks of a plan were run by
// themselves and came to an end, the newest first, until that returns false. It asks
// for no more than that.
func (l *Ledger) Observations(plan string, visit func(Observation) bool) error {
	rows, err := l.asked().Query(observationsOf, plan)
	if err != nil {
		return l.explain("read the observations of "+plan, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		o, err := scanObservation(rows)
		if err != nil {
			return l.explain("read the observations of "+plan, err)
		}
		if !visit(o) {
			break
		}
	}
	return l.explain("read the observations of "+plan, rows.Err())
}

// ObservedBefore returns so many of the plan's observations that began before the run
// with that [Run.Seq], the newest first.
func (l *Ledger) ObservedBefore(plan string, seq int64, limit int) ([]Observation, error) {
	list, err := query(l.asked(), scanObservation, observedBefore, plan, seq, limit)
	return list, l.explain("read the observations of "+plan, err)
}

// FailingBefore is the [Run.Seq] of the newest of the plan's observations before another
// in which a required check failed; 0: there is none.
func (l *Ledger) FailingBefore(plan string, seq int64) (int64, error) {
	list, err := query(l.asked(), scanNumber, failingOf, plan, seq, 1)
	if err != nil || len(list) == 0 {
		return 0, l.explain("read the failures of "+plan, err)
	}
	return list[0], nil
}

func scanObservation(row scanner) (o Observation, err error) {
	var started, up, took sql.NullInt64
	var boot sql.NullString
	err = row.Scan(&o.Seq, &o.Run, &started, &took, &o.Status, &boot, &up)
	o.At, o.Took = instantOf(started, boot, up), time.Duration(took.Int64)
	return o, err
}

func scanNumber(row scanner) (n int64, err error) { return n, row.Scan(&n) }

func instantOf(started sql.NullInt64, boot sql.NullString, up sql.NullInt64) clock.Instant {
	return clock.Instant{Wall: timeOf(started), Mark: clock.Mark{Boot: boot.String, Up: time.Duration(up.Int64)}}
}

// A Moment is when a run, an observation or a decision began.
type Moment struct {
	Seq int64
	At  clock.Instant
}

// FirstOfBoot is the first that the journal has of one boot of a machine; the zero
// Moment: nothing.
func (l *Ledger) FirstOfBoot(boot string) (Moment, error) { return l.moment(firstOfBoot, boot) }

// MomentBefore is what began last before the run with that [Run.Seq]; the zero Moment:
// nothing did.
func (l *Ledger) MomentBefore(seq int64) (Moment, error) { return l.moment(momentBefore, seq) }

func (l *Ledger) moment(text string, of any) (Moment, error) {
	list, err := query(l.asked(), scanMoment, text, of)
	if err != nil || len(list) == 0 {
		return Moment{}, l.explain("read when runs began", err)
	}
	return list[0], nil
}

func scanMoment(row scanner) (m Moment, err error) {
	var started, up sql.NullInt64
	var boot sql.NullString
	err = row.Scan(&m.Seq, &started, &boot, &up)
	m.At = instantOf(started, boot, up)
	return m, err
}

// A Turn is where a run began, or was gone on with last, and where it ended, in the
// order of all that was recorded. No clock has a say in it.
type Turn struct {
	Run          int64 // its [Run.Seq]
	Began, Ended int64 // Ended is 0 of a run that has not ended
}

// Turns returns those of runs, by their [Run.Seq]. A journal of version 1 has none.
func (l *Ledger) Turns(runs ...int64) (map[int64]Turn, error) {
	list, err := json.Marshal(runs)
	if err != nil {
		return nil, err
	}
	all, err := query(l.asked(), scanTurn, turnsOf, string(list))
	turns := map[int64]Turn{}
	for _, t := range all { // in the order of what was recorded
		if t.Ended != 0 {
			t.Began = turns[t.Run].Began
		}
		turns[t.Run] = t
	}
	return turns, l.explain("read when runs began and ended", err)
}

func scanTurn(row scanner) (t Turn, err error) {
	var kind runtime.EventKind
	err = row.Scan(&t.Run, &t.Began, &kind)
	if kind == runtime.RunEnded {
		t.Began, t.Ended = 0, t.Began
	}
	return t, err
}

// StartedBefore is the [Run.Seq] of what began last before a run ended, by its [Turn];
// 0: nothing did.
func (l *Ledger) StartedBefore(ended int64) (int64, error) {
	list, err := query(l.asked(), scanNumber, startedBefore, ended)
	if err != nil || len(list) == 0 {
		return 0, l.explain("read what began before", err)
	}
	return list[0], nil
}

// Checks returns the checks that a run ran, as they were in its last part.
func (l *Ledger) Checks(run string) ([]Step, error) {
	steps, err := query(l.asked(), scanStep, checksOfRun, run)
	var r Run
	r.attach(steps, nil, nil)
	return r.Steps, l.explain("read the checks of run "+run, err)
}

// RolledBack is the host that a run of infra rollback took back; "" of other runs.
func (r *Run) RolledBack() string {
	host, is := strings.CutPrefix(r.File, "infra rollback ")
	if !is {
		return ""
	}
	return host
}

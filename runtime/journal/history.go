package journal

import (
	"database/sql"
	"encoding/json"
	"strings"
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

// Acts returns what was run of a plan, the oldest first, without steps: its runs, and
// those that took one of them back. Observations and decisions are none.
func (l *Ledger) Acts(plan string) ([]Run, error) {
	runs, err := query(l.db, scanRun, actsOf, plan)
	return runs, l.explain("list the runs of "+plan, err)
}

// Rollbacks returns the runs of infra rollback, the oldest first, without steps.
func (l *Ledger) Rollbacks() ([]Run, error) {
	runs, err := query(l.db, scanRun, rollbacks)
	return runs, l.explain("list the rollbacks", err)
}

// Decisions returns what people decided about a plan, or about what else has that
// name, the oldest first.
func (l *Ledger) Decisions(of string) ([]Run, error) {
	runs, err := query(l.db, scanRun, decisionsOf, of)
	return runs, l.explain("list the decisions about "+of, err)
}

// ChangedHosts returns the hosts that runs of a plan changed.
func (l *Ledger) ChangedHosts(plan string) ([]string, error) {
	hosts, err := query(l.db, func(row scanner) (h string, err error) { return h, row.Scan(&h) }, changedHosts, plan)
	return hosts, l.explain("list the hosts of "+plan, err)
}

// Plans returns the names of the plans that were run or observed.
func (l *Ledger) Plans() ([]string, error) {
	names, err := query(l.db, func(row scanner) (p string, err error) { return p, row.Scan(&p) }, plansThere)
	return names, l.explain("list the plans", err)
}

// An Observation is that the checks of a plan were run.
type Observation struct {
	Seq    int64
	Run    string
	At     clock.Instant // when it began
	Took   time.Duration
	Status runtime.Status // OK: no required check failed
}

// Observations calls visit with each time that the checks of a plan were run by
// themselves and came to an end, the newest first, until that returns false. It asks
// for no more than that.
func (l *Ledger) Observations(plan string, visit func(Observation) bool) error {
	rows, err := l.db.Query(observationsOf, plan)
	if err != nil {
		return l.explain("read the observations of "+plan, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var o Observation
		var started, up, took sql.NullInt64
		var boot sql.NullString
		if err := rows.Scan(&o.Seq, &o.Run, &started, &took, &o.Status, &boot, &up); err != nil {
			return l.explain("read the observations of "+plan, err)
		}
		o.At = clock.Instant{Wall: timeOf(started), Mark: clock.Mark{Boot: boot.String, Up: time.Duration(up.Int64)}}
		o.Took = time.Duration(took.Int64)
		if !visit(o) {
			break
		}
	}
	return l.explain("read the observations of "+plan, rows.Err())
}

// RolledBack is the host that a run of infra rollback took back; "" of other runs.
func (r *Run) RolledBack() string {
	host, is := strings.CutPrefix(r.File, "infra rollback ")
	if !is {
		return ""
	}
	return host
}

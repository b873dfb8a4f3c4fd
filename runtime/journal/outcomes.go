package journal

import (
	"time"

	"infra/runtime"
)

// An Outcome is how one check of a plan was in one observation.
type Outcome struct {
	Run         string
	At          time.Time // when the observation began
	Check, Host string
	Status      runtime.Status
	Err         string
	Text        string // the check's detail
}

// Outcomes calls visit with each outcome of a plan's checks in its observations, those
// of the newest first, until that returns false. It asks for no more than that.
func (l *Ledger) Outcomes(plan string, visit func(Outcome) bool) error {
	rows, err := l.db.Query(outcomesOf, plan)
	if err != nil {
		return l.explain("read the checks of "+plan, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var o Outcome
		var at int64
		if err := rows.Scan(&o.Run, &at, &o.Check, &o.Host, &o.Status, &o.Err, &o.Text); err != nil {
			return l.explain("read the checks of "+plan, err)
		}
		o.At = time.Unix(0, at).UTC()
		if !visit(o) {
			break
		}
	}
	return l.explain("read the checks of "+plan, rows.Err())
}

const outcomesOf = `
	SELECT runs.id, runs.started, steps.name, steps.host, steps.status, steps.err, steps.detail
	FROM runs CROSS JOIN steps ON steps.run = runs.id AND is_check AND steps.status <> 'skipped'
	WHERE ` + kind + ` IS 'verify' AND plan = ? AND runs.status IN ('ok', 'failed') ORDER BY runs.seq DESC`

package journal

import (
	"database/sql"
	"encoding/hex"
	"errors"
	"time"

	"infra/runtime"
)

// A Trouble is how often a check did not hold when it was observed in one slot of time.
type Trouble struct {
	Plan, Check, Host string
	Slot              int // counted from 0
	Status            runtime.Status
	Flapping          bool // it failed, and held when it was tried again
	Times             int
}

// Troubles counts by slots of time what did not hold when plans were observed: many
// observations come to a few numbers. Slot 0 begins with from.
func (l *Ledger) Troubles(from time.Time, slot time.Duration) ([]Trouble, error) {
	found, err := query(l.db, func(row scanner) (t Trouble, err error) {
		return t, row.Scan(&t.Plan, &t.Check, &t.Host, &t.Slot, &t.Status, &t.Flapping, &t.Times)
	}, troubles, from.UnixNano(), int64(slot))
	return found, l.explain("count what did not hold", err)
}

// A CheckName tells the checks of a plan apart.
type CheckName struct{ Check, Host string }

// ChecksIn returns the checks that a run came to, or an observation.
func (l *Ledger) ChecksIn(run string) ([]CheckName, error) {
	names, err := query(l.db, func(row scanner) (n CheckName, err error) {
		return n, row.Scan(&n.Check, &n.Host)
	}, checksIn, run)
	return names, l.explain("list the checks of run "+run, err)
}

// Head is the end of the chain, in hex, and how many records it is made of. It is what
// [Ledger.Verify] finds where the journal is whole; nothing is verified here. It is ""
// where there is none yet, or an older infra wrote the journal.
func (l *Ledger) Head() (head string, records int, err error) {
	if l.version < schemaVersion {
		return "", 0, nil
	}
	var chain []byte
	err = l.db.QueryRow(newestEntry).Scan(&records, &chain)
	if errors.Is(err, sql.ErrNoRows) {
		return "", 0, nil
	}
	return hex.EncodeToString(chain), records, l.explain("read the end of the chain", err)
}

const (
	troubles = `
		SELECT plan, name, steps.host, (runs.started - ?1) / ?2 AS slot, steps.status, instr(steps.err, 'flapping: ') > 0 AS flaps, count(*)
		FROM steps CROSS JOIN runs ON runs.id = steps.run
		WHERE is_check AND steps.status NOT IN ('ok', 'skipped') AND ` + kind + ` IS 'verify' AND runs.status IN ('ok', 'failed')
		GROUP BY plan, name, steps.host, slot, steps.status, flaps`
	checksIn = `SELECT DISTINCT name, host FROM steps WHERE run = ? AND is_check AND status <> 'skipped' ORDER BY seq`
)

package gates

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"infra/runtime"
	"infra/runtime/clock"
	"infra/runtime/journal"
)

// crowd makes a journal in which plans were done at the start of its week, and observed
// that often in it. All of it is written by one statement: through Record it would take
// minutes.
func crowd(b *testing.B, plans, each int) (*journal.Ledger, clock.Instant) {
	b.Helper()
	root := b.TempDir()
	j, err := journal.Open(root)
	if err != nil {
		b.Fatal(err)
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(root, ".infra", "journal.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	week := 7 * 24 * time.Hour
	insert := `WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 - 1)
		INSERT INTO runs (id, plan, file, title, options, user, host, version, started, ended, took, status)
		SELECT ?2 || i, ?3 || (i % ?4), 'plans/p.star', '', json_object('kind', ?5, 'clock', json_object('boot', 'b', 'up', ?6 + i * ?7)),
			'', '', '', ?8 + i * ?7, ?8 + i * ?7 + 1, 1, 'ok' FROM n`
	began := noon.Add(-week - time.Hour)
	for _, rows := range []struct {
		count int
		id    string
		kind  any
		from  time.Time
		step  time.Duration
	}{{plans, "done", nil, began, time.Second}, {plans * each, "seen", "verify", noon.Add(-week), week / time.Duration(plans*each)}} {
		if _, err := db.Exec(insert, rows.count, rows.id, "p", plans, rows.kind, int64(rows.from.Sub(began)+time.Hour), int64(rows.step), rows.from.UnixNano()); err != nil {
			b.Fatal(err)
		}
	}
	ledger, err := journal.Read(root)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ledger.Close() })
	return ledger, clock.Instant{Wall: noon, Mark: clock.Mark{Boot: "b", Up: week + 2*time.Hour}}
}

// BenchmarkCrowd evaluates all gates of seven plans by a journal of 100,000 observations.
func BenchmarkCrowd(b *testing.B) {
	for _, crowded := range []struct{ plans, each int }{{5, 20_000}, {1, 100_000}} {
		b.Run(fmt.Sprintf("%dx%d", crowded.plans, crowded.each), func(b *testing.B) {
			ledger, now := crowd(b, crowded.plans, crowded.each)
			var plans []*runtime.Plan
			for i := range 7 {
				of := fmt.Sprint("p", i%crowded.plans)
				plans = append(plans, &runtime.Plan{Name: fmt.Sprint("q", i), After: []*runtime.Gate{
					{Kind: runtime.GateDone, Of: of}, {Kind: runtime.GateGo, Of: of}, {Kind: runtime.GateApproved, Of: of},
					{Kind: runtime.GateStable, Of: of, For: 7 * 24 * time.Hour, AtLeast: runtime.Rate{Times: 1, Per: 24 * time.Hour}}}})
			}
			for b.Loop() {
				record := At(now, ledger)
				for _, p := range plans {
					states, err := record.States(p)
					if err != nil || !states[0].Open || !states[3].Open {
						b.Fatal(states, err)
					}
				}
			}
		})
	}
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

package journal

import (
	"strings"
	"testing"
)

// TestGatesFindByIndex: none of what a gate asks for reads all runs, of which there may be
// a hundred thousand.
func TestGatesFindByIndex(t *testing.T) {
	root := t.TempDir()
	open(t, root)
	l := read(t, root)
	for _, tt := range []struct {
		query, index string
		args         []any
	}{
		{actsOf, "USING INDEX acts", []any{"p"}},
		{decisionsOf, "USING INDEX acts", []any{"p"}},
		{rollbacks, "USING INDEX acts", nil},
		{changedHosts, "INDEX acts", []any{"p"}},
		{plansThere, "SEARCH runs USING COVERING INDEX observed (plan>?)", nil},
		{observationsOf, "SEARCH runs USING COVERING INDEX observed (plan=?)", []any{"p"}},
		{observedBefore, "SEARCH runs USING COVERING INDEX observed (plan=? AND seq<?)", []any{"p", 1, 1}},
		{failingOf, "runs_by_plan (plan=? AND status=? AND seq<?)", []any{"p", 1, 1}},
		{firstOfBoot, "INDEX boots", []any{"b"}},
		{momentBefore, "USING INTEGER PRIMARY KEY (rowid<?)", []any{1}},
		{turnsOf, "USING COVERING INDEX turns", []any{"[1]"}},
	} {
		steps, err := query(l.db, func(row scanner) (s string, err error) {
			var a, b, c int
			return s, row.Scan(&a, &b, &c, &s)
		}, "EXPLAIN QUERY PLAN "+tt.query, tt.args...)
		plan := strings.Join(steps, "\n")
		if err != nil || !strings.Contains(plan, tt.index) {
			t.Errorf("%s\n%s\n%v", tt.query, plan, err)
		}
	}
}

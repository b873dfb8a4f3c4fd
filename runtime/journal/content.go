package journal

import (
	"database/sql"
	"strings"

	"infra/runtime"
)

// contentOf reads back what an entry's event put into the tables, as it was
// digested. part is the newest part of the run. The error is [sql.ErrNoRows]
// where the row is gone.
func contentOf(db querier, e *entry, part int64) ([]any, error) {
	s := slots[e.kind]
	var key []any
	switch {
	case e.kind == runtime.RunEnded && e.item < part: // the resume moved it
		s.table, s.key, key = "resumes", "run = ? AND part = ?", []any{e.runID, e.item + 1}
	case e.kind == runPruned:
		key = []any{e.run}
	case s.table == "runs":
		key = []any{e.runID}
	default:
		key = []any{e.runID, e.item}
	}
	rows, err := query(db, func(row scanner) ([]any, error) {
		values := make([]any, 1+strings.Count(s.columns, ","))
		into := make([]any, len(values))
		for i := range values {
			into[i] = &values[i]
		}
		return values, row.Scan(into...)
	}, "SELECT "+s.columns+" FROM "+s.table+" WHERE "+s.key, key...)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 {
		return nil, sql.ErrNoRows
	}
	return rows[0], nil
}

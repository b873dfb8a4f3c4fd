package journal

import (
	"fmt"

	"infra/runtime"
)

// strangers finds what is in the tables and in no entry: all entries are in
// order, so that there is nothing to find where the numbers agree.
func (v *verifier) strangers() (*Break, error) {
	for seq, run := range v.runs {
		if run.pruned && run.entries != 0 {
			return &Break{What: fmt.Sprintf("records of pruned run number %d were altered: %d are missing", seq, run.entries)}, nil
		}
	}
	if b, err := v.lost(); b != nil || err != nil {
		return b, err
	}
	for _, s := range begun {
		var n int
		if err := v.tx.QueryRow("SELECT count(*) FROM " + s.from).Scan(&n); err != nil {
			return nil, err
		}
		recorded := 0
		for _, kind := range s.kinds {
			recorded += v.counts[kind]
		}
		if n == recorded {
			continue
		}
		if b, err := v.stranger(s); b != nil || err != nil {
			return b, err
		}
		return &Break{What: fmt.Sprintf("%d rows of %s are in %d records", n, s.from, recorded), Kind: s.kinds[0]}, nil
	}
	return v.unended()
}

// lost says how many records are missing at the end of the chain, or runs at
// the end of theirs.
func (v *verifier) lost() (*Break, error) {
	var runs int64
	for seq := range v.runs {
		runs = max(runs, seq)
	}
	for _, s := range []struct {
		table string
		last  int64
	}{{"entries", v.head.seq}, {"runs", runs}} {
		there, err := query(v, func(row scanner) (n int64, err error) { return n, row.Scan(&n) },
			"SELECT seq FROM sqlite_sequence WHERE name = ?", s.table)
		if err != nil {
			return nil, err
		}
		if len(there) == 0 {
			there = []int64{0}
		}
		if there[0] != s.last {
			return &Break{What: fmt.Sprintf("rows of %s were removed or added at the end: the last one is number %d, and %d were made",
				s.table, s.last, there[0]), Entry: v.head.seq}, nil
		}
	}
	return nil, nil
}

// begun are the rows that must have an entry of one of these kinds.
var begun = []struct {
	kinds []runtime.EventKind
	from  string // the rows
	place string // what they are: run, step, host, is_check, item, time
}{
	{[]runtime.EventKind{runtime.RunStarted}, "runs", "id, '', '', 0, 0, started"},
	{[]runtime.EventKind{runtime.RunResumed}, "resumes", "run, '', '', 0, part, time"},
	{[]runtime.EventKind{runtime.RunEnded},
		"(SELECT id, ended, (SELECT count(*) FROM resumes WHERE run = id) AS part FROM runs WHERE status IS NOT NULL" +
			" UNION ALL SELECT run, ended, part - 1 FROM resumes WHERE status IS NOT NULL)", "id, '', '', 0, part, ended"},
	{[]runtime.EventKind{runtime.StepStarted}, "steps WHERE started IS NOT NULL", "run, name, host, is_check, seq, started"},
	{[]runtime.EventKind{runtime.StepEnded}, "steps WHERE status IS NOT NULL", "run, name, host, is_check, seq, started + took"},
	{[]runtime.EventKind{runtime.StepRetried, runtime.Logged}, "logs", "run, step, host, is_check, seq, time"},
	{[]runtime.EventKind{runtime.OpAsked}, "ops", "run, step, step_host, is_check, id, started"},
	{[]runtime.EventKind{runtime.OpEnded}, "ops WHERE status IS NOT NULL", "run, step, step_host, is_check, id, started + took"},
	{[]runtime.EventKind{runPruned}, "prunes", "run, '', '', 0, 0, time"},
}

// stranger finds the first row that has no entry.
func (v *verifier) stranger(s struct {
	kinds []runtime.EventKind
	from  string
	place string
}) (*Break, error) {
	type rowID struct {
		run  string
		item int64
	}
	known := map[rowID]bool{}
	for seq, run := range v.runs {
		for _, kind := range s.kinds {
			entries, err := query(v, scanEntry, selectEntry+"WHERE run = ? AND kind = ?", seq, string(kind))
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				known[rowID{run.id, e.item}] = true
			}
		}
	}
	found, err := query(v, func(row scanner) (*entry, error) {
		e := &entry{kind: s.kinds[0]}
		return e, row.Scan(&e.runID, &e.step, &e.host, &e.check, &e.item, &e.time)
	}, "SELECT "+s.place+" FROM "+s.from)
	for _, e := range found {
		if !known[rowID{e.runID, e.item}] {
			return breakAt(e, "this was added: there is no record of it"), nil
		}
	}
	return nil, err
}

// unended finds rows that have no end, and words about it.
func (v *verifier) unended() (*Break, error) {
	const words = `WHERE status IS NULL AND (took IS NOT NULL OR err || hint <> '' OR %s)`
	for _, s := range []struct {
		kind        runtime.EventKind
		text, extra string
	}{
		{runtime.RunEnded, "SELECT id, '', '', 0, 0, started FROM runs ", "ended IS NOT NULL"},
		{runtime.RunEnded, "SELECT run, '', '', 0, part - 1, time FROM resumes ", "ended IS NOT NULL"},
		{runtime.StepEnded, "SELECT run, name, host, is_check, seq, started FROM steps ", "detail <> '' OR result IS NOT NULL"},
		{runtime.OpEnded, "SELECT run, step, step_host, is_check, id, started FROM ops ",
			"changed OR verdict || detail || output <> '' OR result IS NOT NULL"},
	} {
		found, err := query(v, func(row scanner) (*entry, error) {
			e := &entry{kind: s.kind}
			return e, row.Scan(&e.runID, &e.step, &e.host, &e.check, &e.item, &e.time)
		}, s.text+fmt.Sprintf(words, s.extra)+" LIMIT 1")
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			return breakAt(found[0], "this was added: it has not ended, and there are words about its end"), nil
		}
	}
	return nil, nil
}

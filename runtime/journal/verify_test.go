package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"infra/runtime"
)

// chained is a closed journal with a run of every kind of event, one that was
// resumed and one that goes on. It returns the journal's file.
func chained(t *testing.T, root string) string {
	t.Helper()
	j := open(t, root)
	record(t, j, wholeRun()...)
	record(t, j, resumedRun("r2")...)
	record(t, j, started("r3", at(100)), runtime.Event{Kind: runtime.StepStarted, Run: "r3", Step: "switch", Host: "blackphos", Time: at(101)},
		asked("r3", "switch", 1))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, ".infra", "journal.db")
}

// verified is the break that verifying finds, as text; "" where it is whole.
func verified(t *testing.T, root string) string {
	t.Helper()
	l := read(t, root)
	defer func() { _ = l.Close() }()
	p, err := l.Verify()
	if err != nil {
		t.Fatalf("%v (%s)", err, runtime.HintOf(err))
	}
	if p.Broken == nil {
		return ""
	}
	return p.Broken.String()
}

func TestWholeChain(t *testing.T) {
	root := t.TempDir()
	chained(t, root)
	p, err := read(t, root).Verify()
	if err != nil || p.Broken != nil || p.Entries != 28 || len(p.Head) != 64 {
		t.Errorf("%+v, %v, %v", p, p.Broken, err)
	}
}

// TestEveryColumnIsChained alters each column of each table, row by row.
func TestEveryColumnIsChained(t *testing.T) {
	root := t.TempDir()
	path := chained(t, root)
	whole := content(t, path)
	columns, rows := 0, 0
	for _, table := range []string{"runs", "resumes", "steps", "ops", "logs", "entries"} {
		names := ask(t, path, "SELECT name FROM pragma_table_info('"+table+"')")
		ids := ask(t, path, "SELECT rowid FROM "+table)
		if table == "entries" { // the first, the last and some between
			ids = ask(t, path, "SELECT rowid FROM entries WHERE rowid % 9 = 1")
		}
		if len(names) == 0 || len(ids) == 0 {
			t.Errorf("%s has %d columns and %d rows", table, len(names), len(ids))
		}
		for _, name := range names {
			columns++
			for _, id := range ids {
				rows++
				alter(t, path, fmt.Sprintf(`PRAGMA foreign_keys = 0; UPDATE %s SET %s = CASE typeof(%[2]s)
					WHEN 'integer' THEN %[2]s + 1000 WHEN 'text' THEN %[2]s || '7' WHEN 'blob' THEN zeroblob(32)
					ELSE 7 END WHERE rowid = %s`, table, name, id))
				if got := verified(t, root); got == "" {
					t.Errorf("%s.%s of row %s was altered, and nobody noticed", table, name, id)
				}
				restore(t, path, whole)
			}
		}
	}
	t.Logf("%d columns, %d values", columns, rows)
}

// restore puts the content of a closed journal back.
func restore(t *testing.T, path, content string) {
	t.Helper()
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ask returns the first column of an answer.
func ask(t *testing.T, path, text string) []string {
	t.Helper()
	db, _, err := connect(path, "mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	values, err := query(db, func(row scanner) (v string, err error) { return v, row.Scan(&v) }, text)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// TestBrokenChainNamesTheFirstRecord does what a person with a database tool
// would do.
func TestBrokenChainNamesTheFirstRecord(t *testing.T) {
	const newOp = `INSERT INTO ops (run, id, step, step_host, is_check, attempt, name, host, effect, args, show, pos, started, planned)
		SELECT run, 9, step, step_host, is_check, attempt, name, host, effect, args, show, pos, started, planned FROM ops WHERE run = 'r1' AND id = 1`
	for _, c := range []struct{ name, do, want string }{
		{"nothing", "SELECT 1", ""},
		{"an altered argument", `UPDATE ops SET args = '{}' WHERE run = 'r1' AND id = 1`,
			"what this record is about was altered: record 5, op_asked, run r1, step switch blackphos, operation 1, 2026-03-01T12:00:01Z"},
		{"an altered result", `UPDATE ops SET changed = 0 WHERE run = 'r1' AND id = 1`,
			"what this record is about was altered: record 6, op_ended, run r1, step switch blackphos, operation 1, 2026-03-01T12:00:01Z"},
		{"a removed operation", `DELETE FROM ops WHERE run = 'r1' AND id = 2`,
			"what this record is about was removed: record 10, op_asked, run r1, check reachable blackphos, operation 2, 2026-03-01T12:00:02Z"},
		{"an operation removed with its records", `DELETE FROM ops WHERE run = 'r1' AND id = 2; DELETE FROM entries WHERE run = 1 AND item = 2 AND kind LIKE 'op%'`,
			"a record before this one was removed: record 12, step_ended, run r1"},
		{"an added operation", newOp, "this was added: there is no record of it: op_asked, run r1, step switch blackphos, operation 9"},
		{"an operation that is said to have ended", `UPDATE ops SET status = 'ok', took = 1 WHERE run = 'r3'`,
			"this was added: there is no record of it: op_ended, run r3, step switch blackphos, operation 1"},
		{"an error of what has not ended", `UPDATE ops SET err = 'x' WHERE run = 'r3'`,
			"this was added: it has not ended, and there are words about its end: op_ended, run r3"},
		{"a removed run", `PRAGMA foreign_keys = 1; DELETE FROM runs WHERE id = 'r1'`,
			"the run of this record was removed, and not by pruning: record 1, run_started"},
		{"a run removed with its records", `PRAGMA foreign_keys = 1; DELETE FROM runs WHERE id = 'r3'; DELETE FROM entries WHERE run = 3`,
			"rows of entries were removed or added at the end: the last one is number 25, and 28 were made"},
		{"the last operation removed with its record", `DELETE FROM ops WHERE run = 'r3'; DELETE FROM entries WHERE seq = 28`,
			"rows of entries were removed or added at the end: the last one is number 27, and 28 were made"},
		{"two records that changed places", `UPDATE entries SET seq = -seq WHERE seq IN (5, 6); UPDATE entries SET seq = 11 + seq WHERE seq < 0`,
			"this record was altered, or is not where it was recorded: record 5, op_ended"},
		{"a run that is said to be pruned", `UPDATE entries SET kind = '', step = '', host = '', is_check = 0, item = 0, time = NULL WHERE run = 1`,
			"this record was altered: it says that it was pruned: record 1"},
		{"a new head", `UPDATE entries SET chain = zeroblob(32) WHERE seq = 28`, "this record was altered, or is not where it was recorded: record 28"},
		{"a new kind", `UPDATE entries SET kind = 'op_undone' WHERE seq = 6`, "there is no such kind: record 6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			alter(t, chained(t, root), c.do)
			if got := verified(t, root); !strings.Contains(got, c.want) || c.want == "" && got != "" {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestAlteredEndIsNotRecordedOn: who opens it for recording looks at the newest
// records only, and changes nothing.
func TestAlteredEndIsNotRecordedOn(t *testing.T) {
	root := t.TempDir()
	path := chained(t, root)
	alter(t, path, `UPDATE ops SET show = 'rm -rf /' WHERE run = 'r3'`)
	before := content(t, path)
	_, err := Open(root)
	if err == nil || !strings.Contains(err.Error(), "altered: record 28, op_asked, run r3") || !strings.Contains(runtime.HintOf(err), "backup") {
		t.Errorf("got %v (%s)", err, runtime.HintOf(err))
	}
	if content(t, path) != before {
		t.Error("the file was changed")
	}
}

// TestOddTextIsVerified: what a tool prints need not be text.
func TestOddTextIsVerified(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	odd := "a\x00b\xff\xfe\u2028\"'" + strings.Repeat("é", 5000)
	ask, done := asked("r1", odd, 1), answered("r1", odd, 1)
	ask.Op.Op.Show, done.Err, done.Op.Result = odd, errors.New(odd), []byte(odd)
	record(t, j, started("r1", noon), ask, done, runtime.Event{Kind: runtime.Logged, Run: "r1", Time: noon, Text: odd})
	if got := verified(t, root); got != "" {
		t.Error(got)
	}
	if run, err := read(t, root).Run("r1"); err != nil || run.Logs[0].Text != odd || run.Steps[0].Ops[0].Err != odd {
		t.Errorf("%v, %+v", err, run.Logs)
	}
}

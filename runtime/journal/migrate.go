package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/gofrs/flock"
)

// migrate brings the journal at path from version 1 to 2, in one transaction
// and with nobody else at it: a process of the older program that went on
// recording would leave the chain out. Those who want the same wait for one
// another before they open the file, which would keep each other out.
func migrate(dir, path string) (err error) {
	turn := flock.New(filepath.Join(dir, fileName+".migrate"), flock.SetPermissions(0o600))
	if err := turn.Lock(); err != nil {
		return fmt.Errorf("wait for others who open the journal: %w", err)
	}
	defer func() { err = errors.Join(err, turn.Close()) }()
	db, version, err := connect(path, recording+"&_pragma=locking_mode(EXCLUSIVE)")
	if err != nil {
		return err
	}
	w := writer{stmts: map[string]*sql.Stmt{}}
	if w.conn, err = db.Conn(context.Background()); err == nil && version < schemaVersion {
		err = w.transact(w.migrate)
	}
	err = errors.Join(err, w.close(), db.Close())
	if err == nil {
		return nil
	}
	return explain(fmt.Errorf("bring the journal %s from schema %d to %d: %w", path, version, schemaVersion, err), path)
}

func (w *writer) migrate() error {
	for _, script := range []string{setAside, schema, takeOver} {
		if _, err := w.conn.ExecContext(context.Background(), script); err != nil {
			return err
		}
	}
	return w.chainAll()
}

// setAside makes room for the tables of version 2.
const setAside = `
	DROP INDEX runs_by_plan;
	DROP INDEX steps_by_name;
	DROP INDEX changes;
	DROP INDEX logs_by_run;
	DROP INDEX retries;
	ALTER TABLE runs RENAME TO old_runs;
	ALTER TABLE steps RENAME TO old_steps;
	ALTER TABLE ops RENAME TO old_ops;
	ALTER TABLE logs RENAME TO old_logs;
`

// takeOver copies what version 1 holds. It had a column for dry runs, which
// nobody ever recorded: one would be no record of anything that was done.
const takeOver = `
	DELETE FROM old_steps WHERE run IN (SELECT id FROM old_runs WHERE dry_run);
	DELETE FROM old_ops WHERE run IN (SELECT id FROM old_runs WHERE dry_run);
	DELETE FROM old_logs WHERE run IN (SELECT id FROM old_runs WHERE dry_run);
	DELETE FROM old_runs WHERE dry_run;
	INSERT INTO runs (seq, id, plan, file, title, user, host, version, started, ended, took, status, err, hint)
		SELECT seq, id, plan, file, title, user, host, version, started, ended, took, status, err, hint FROM old_runs ORDER BY seq;
	INSERT INTO steps (seq, run, name, host, is_check, part, started, took, status, err, hint, detail, result)
		SELECT seq, run, name, host, is_check, 0, started, took, status, err, hint, detail, result FROM old_steps ORDER BY seq;
	INSERT INTO ops (run, id, step, step_host, is_check, attempt, name, host, effect, args, show, pos, started, planned,
			took, status, err, hint, changed, verdict, detail, output, result)
		SELECT run, id, step, step_host, is_check, attempt, name, host, effect, args, show, pos, started, '',
			took, status, err, hint, changed, verdict, detail, output, result FROM old_ops ORDER BY rowid;
	INSERT INTO logs (seq, run, step, host, is_check, kind, time, text, pos, last_op)
		SELECT seq, run, step, host, is_check, kind, time, text, pos,
			(SELECT coalesce(max(id), 0) FROM ops WHERE run = old_logs.run AND started <= old_logs.time) FROM old_logs ORDER BY seq;
	DROP TABLE old_logs;
	DROP TABLE old_ops;
	DROP TABLE old_steps;
	DROP TABLE old_runs;
	PRAGMA user_version = 2;
`

// rowsOfRun selects what a run's entries are made of, but for the content: in
// the order of the times, and what is said of one moment in the order in which
// an engine says it.
const rowsOfRun = `
	SELECT 0 AS phase, 0 AS rank, 'run_started', '', '', 0, 0, started AS time FROM runs WHERE id = ?1
	UNION ALL SELECT 1, 0, 'step_started', name, host, is_check, seq, started FROM steps WHERE run = ?1 AND started IS NOT NULL
	UNION ALL SELECT 1, 1, 'op_asked', step, step_host, is_check, id, started FROM ops WHERE run = ?1
	UNION ALL SELECT 1, 2, 'op_ended', step, step_host, is_check, id, started + took FROM ops WHERE run = ?1 AND status IS NOT NULL
	UNION ALL SELECT 1, 3, kind, step, host, is_check, seq, time FROM logs WHERE run = ?1
	UNION ALL SELECT 1, 4, 'step_ended', name, host, is_check, seq, started + took FROM steps WHERE run = ?1 AND status IS NOT NULL
	UNION ALL SELECT 2, 0, 'run_ended', '', '', 0, 0, ended FROM runs WHERE id = ?1 AND status IS NOT NULL
	ORDER BY phase, time, rank`

// chainAll makes an entry for everything in the tables, run by run.
func (w *writer) chainAll() error {
	runs, err := query(held{w.conn}, func(row scanner) (e entry, err error) {
		return e, row.Scan(&e.run, &e.runID)
	}, `SELECT seq, id FROM runs ORDER BY seq`)
	for _, r := range runs {
		if err == nil {
			err = w.chainRun(r.run, r.runID)
		}
	}
	return err
}

func (w *writer) chainRun(run int64, id string) error {
	entries, err := query(held{w.conn}, func(row scanner) (*entry, error) {
		e := &entry{run: run, runID: id}
		var phase, rank int
		return e, row.Scan(&phase, &rank, &e.kind, &e.step, &e.host, &e.check, &e.item, &e.time)
	}, rowsOfRun, id)
	if err != nil {
		return err
	}
	for _, e := range entries {
		content, err := contentOf(held{w.conn}, e, 0)
		if err == nil {
			e.digest, err = digestOf(e, content)
		}
		if err != nil {
			return fmt.Errorf("chain %s of run %s: %w", e.kind, e.runID, err)
		}
	}
	return w.append(entries)
}

// held lets a connection be asked as a database is.
type held struct{ *sql.Conn }

func (h held) Query(text string, args ...any) (*sql.Rows, error) {
	return h.QueryContext(context.Background(), text, args...)
}

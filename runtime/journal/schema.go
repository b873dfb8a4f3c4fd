package journal

import "infra/runtime"

// applicationID is how file(1) and we tell a journal from any other SQLite
// file: "infr".
const applicationID = 0x696e6672

// schemaVersion is the newest schema this program knows. Version 1 is schema;
// a later one is made from the one before it, in one transaction, by Open.
const schemaVersion = 1

// schema makes an empty journal. Times are nanoseconds since 1970 in UTC,
// lengths of time are nanoseconds, and what has not ended has no status.
const schema = `
CREATE TABLE runs (
	seq     INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of the runs, whatever the clock said
	id      TEXT    NOT NULL UNIQUE,
	plan    TEXT    NOT NULL,
	file    TEXT    NOT NULL,
	title   TEXT    NOT NULL,
	dry_run INTEGER NOT NULL,
	user    TEXT    NOT NULL,
	host    TEXT    NOT NULL,
	version TEXT    NOT NULL,
	started INTEGER NOT NULL,
	ended   INTEGER,
	took    INTEGER,
	status  TEXT,
	err     TEXT    NOT NULL DEFAULT '',
	hint    TEXT    NOT NULL DEFAULT ''
) STRICT;
-- "the last successful run of plan P that was no dry run"
CREATE INDEX runs_by_plan ON runs (plan, dry_run, status, seq);

-- A step on one host, or a check: one row, however many attempts it took.
CREATE TABLE steps (
	seq      INTEGER PRIMARY KEY,
	run      TEXT    NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
	name     TEXT    NOT NULL,
	host     TEXT    NOT NULL,
	is_check INTEGER NOT NULL,
	started  INTEGER, -- none: it was skipped
	took     INTEGER,
	status   TEXT,
	err      TEXT    NOT NULL DEFAULT '',
	hint     TEXT    NOT NULL DEFAULT '',
	detail   TEXT    NOT NULL DEFAULT '',
	result   TEXT,
	UNIQUE (run, is_check, name, host)
) STRICT;
-- "how has this check, or this step, gone over time"
CREATE INDEX steps_by_name ON steps (name, host, is_check, started);

CREATE TABLE ops (
	run       TEXT    NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
	id        INTEGER NOT NULL,
	step      TEXT    NOT NULL,
	step_host TEXT    NOT NULL,
	is_check  INTEGER NOT NULL,
	attempt   INTEGER NOT NULL, -- of the step, from 1
	name      TEXT    NOT NULL,
	host      TEXT    NOT NULL,
	effect    TEXT    NOT NULL,
	args      TEXT    NOT NULL,
	show      TEXT    NOT NULL,
	pos       TEXT    NOT NULL,
	started   INTEGER NOT NULL,
	took      INTEGER,
	status    TEXT,
	err       TEXT    NOT NULL DEFAULT '',
	hint      TEXT    NOT NULL DEFAULT '',
	changed   INTEGER NOT NULL DEFAULT 0,
	verdict   TEXT    NOT NULL DEFAULT '',
	detail    TEXT    NOT NULL DEFAULT '',
	output    TEXT    NOT NULL DEFAULT '',
	result    TEXT,
	PRIMARY KEY (run, id)
) STRICT;
CREATE INDEX changes ON ops (run) WHERE changed;

-- What a plan said, and why an attempt of a step failed.
CREATE TABLE logs (
	seq      INTEGER PRIMARY KEY,
	run      TEXT    NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
	step     TEXT    NOT NULL,
	host     TEXT    NOT NULL,
	is_check INTEGER NOT NULL,
	kind     TEXT    NOT NULL, -- logged, step_retried
	time     INTEGER NOT NULL,
	text     TEXT    NOT NULL,
	pos      TEXT    NOT NULL
) STRICT;
CREATE INDEX logs_by_run ON logs (run, seq);
CREATE INDEX retries ON logs (run, step, host, is_check) WHERE kind = 'step_retried';
`

// identify reads what a file says it is.
const identify = `SELECT application_id, user_version FROM pragma_application_id, pragma_user_version`

// writes has one statement for each kind of event that is kept. One statement
// is one transaction: there is no moment at which half an event is on disk.
var writes = map[runtime.EventKind]string{
	runtime.RunStarted: `
		INSERT INTO runs (id, plan, file, title, dry_run, user, host, version, started)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
	runtime.RunEnded: `
		UPDATE runs SET ended = ?2, took = ?3, status = ?4, err = ?5, hint = ?6
		WHERE id = ?1 AND status IS NULL`,
	runtime.StepStarted: `
		INSERT INTO steps (run, name, host, is_check, started) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (run, is_check, name, host) DO UPDATE SET started = coalesce(started, excluded.started)
		WHERE status IS NULL`, // an engine may say it again for a further attempt
	runtime.StepEnded: `
		INSERT INTO steps (run, name, host, is_check, took, status, err, hint, detail, result)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (run, is_check, name, host) DO UPDATE
		SET took = excluded.took, status = excluded.status, err = excluded.err, hint = excluded.hint,
			detail = excluded.detail, result = excluded.result
		WHERE steps.status IS NULL`,
	runtime.StepRetried: insertLog,
	runtime.Logged:      insertLog,
	runtime.OpAsked: `
		INSERT INTO ops (run, id, step, step_host, is_check, name, host, effect, args, show, pos, started, attempt)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,
			1 + (SELECT count(*) FROM logs
				WHERE run = ?1 AND step = ?3 AND host = ?4 AND is_check = ?5 AND kind = 'step_retried'))`,
	runtime.OpEnded: `
		UPDATE ops SET took = ?3, status = ?4, err = ?5, hint = ?6, changed = ?7, verdict = ?8, detail = ?9, output = ?10, result = ?11
		WHERE run = ?1 AND id = ?2 AND status IS NULL`,
}

const insertLog = `
	INSERT INTO logs (run, step, host, is_check, kind, time, text, pos) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`

const (
	selectRun = `
		SELECT id, plan, file, title, dry_run, user, host, version, started, ended, took, coalesce(status, ''), err, hint,
			(SELECT count(*) FROM ops WHERE run = runs.id),
			(SELECT count(*) FROM ops WHERE run = runs.id AND changed)
		FROM runs `
	newestRuns = selectRun + `ORDER BY seq DESC LIMIT ?`
	runByID    = selectRun + `WHERE id = ?`
	newestID   = `SELECT id FROM runs ORDER BY seq DESC LIMIT 1`
	// matchingIDs puts the whole id before ids that hold it as a part.
	matchingIDs = `SELECT id FROM runs WHERE instr(id, ?1) > 0 ORDER BY id = ?1 DESC, seq DESC LIMIT 6`

	stepsOfRun = `
		SELECT name, host, is_check, started, took, coalesce(status, ''), err, hint, detail, result
		FROM steps WHERE run = ? ORDER BY is_check, seq`
	opsOfRun = `
		SELECT step, step_host, is_check, id, attempt, name, host, effect, args, show, pos, started, took,
			coalesce(status, ''), err, hint, changed, verdict, detail, output, result
		FROM ops WHERE run = ? ORDER BY id`
	logsOfRun = `
		SELECT step, host, is_check, kind, time, text, pos FROM logs WHERE run = ? ORDER BY seq`
)

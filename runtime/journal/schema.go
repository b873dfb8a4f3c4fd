package journal

import "infra/runtime"

// applicationID is how file(1) and we tell a journal from any other SQLite
// file: "infr".
const applicationID = 0x696e6672

// schemaVersion is the newest schema this program knows, which is schema. One
// of version 1 is made into it, in one transaction, by Open.
const schemaVersion = 2

// schema makes an empty journal. Times are nanoseconds since 1970 in UTC,
// lengths of time are nanoseconds, and what has not ended has no status.
const schema = `
CREATE TABLE runs (
	seq     INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of the runs, whatever the clock said
	id      TEXT    NOT NULL UNIQUE,
	plan    TEXT    NOT NULL,
	file    TEXT    NOT NULL,
	title   TEXT    NOT NULL,
	options TEXT,             -- JSON: how it was called
	sources TEXT,             -- JSON: what the plan was read from
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
-- "the last successful run of plan P"
CREATE INDEX runs_by_plan ON runs (plan, status, seq);

-- Another process went on with a run. Part 0 of a run is the process that
-- began it; how the part before this one had ended is kept here.
CREATE TABLE resumes (
	run     TEXT    NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
	part    INTEGER NOT NULL, -- from 1
	time    INTEGER NOT NULL,
	user    TEXT    NOT NULL,
	host    TEXT    NOT NULL,
	version TEXT    NOT NULL,
	ended   INTEGER,
	took    INTEGER,
	status  TEXT,
	err     TEXT    NOT NULL DEFAULT '',
	hint    TEXT    NOT NULL DEFAULT '',
	PRIMARY KEY (run, part)
) STRICT;

-- A step on one host, or a check: one row for each part of the run that worked
-- on it, however many attempts it took.
CREATE TABLE steps (
	seq      INTEGER PRIMARY KEY,
	run      TEXT    NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
	name     TEXT    NOT NULL,
	host     TEXT    NOT NULL,
	is_check INTEGER NOT NULL,
	part     INTEGER NOT NULL,
	started  INTEGER, -- none: it was skipped
	took     INTEGER,
	status   TEXT,
	err      TEXT    NOT NULL DEFAULT '',
	hint     TEXT    NOT NULL DEFAULT '',
	detail   TEXT    NOT NULL DEFAULT '',
	result   TEXT,
	UNIQUE (run, is_check, name, host, part)
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
	planned   TEXT    NOT NULL, -- the file that output would go to
	took      INTEGER,
	status    TEXT,
	err       TEXT    NOT NULL DEFAULT '',
	hint      TEXT    NOT NULL DEFAULT '',
	changed   INTEGER NOT NULL DEFAULT 0,
	verdict   TEXT    NOT NULL DEFAULT '',
	detail    TEXT    NOT NULL DEFAULT '',
	output    TEXT    NOT NULL DEFAULT '', -- the file that it went to
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
	pos      TEXT    NOT NULL,
	last_op  INTEGER NOT NULL -- the run's newest operation then; 0: none
) STRICT;
CREATE INDEX logs_by_run ON logs (run, seq);
CREATE INDEX retries ON logs (run, step, host, is_check) WHERE kind = 'step_retried';

-- A run that was removed because of its age. Its entries stay, without words.
CREATE TABLE prunes (
	run     INTEGER PRIMARY KEY, -- runs.seq
	id      TEXT    NOT NULL,
	plan    TEXT    NOT NULL,
	started INTEGER NOT NULL,
	ended   INTEGER NOT NULL,
	status  TEXT    NOT NULL,
	entries INTEGER NOT NULL, -- how many it had
	time    INTEGER NOT NULL,
	user    TEXT    NOT NULL,
	host    TEXT    NOT NULL
) STRICT;

-- Every event that was recorded, in order. The digest is of what the event
-- put into the tables above; the chain binds it to all that came before, and
-- AUTOINCREMENT remembers how many there were.
CREATE TABLE entries (
	seq      INTEGER PRIMARY KEY AUTOINCREMENT,
	run      INTEGER NOT NULL, -- runs.seq
	kind     TEXT    NOT NULL,
	step     TEXT    NOT NULL,
	host     TEXT    NOT NULL,
	is_check INTEGER NOT NULL,
	item     INTEGER NOT NULL, -- an operation's id, a part, or seq of a step or a log
	time     INTEGER,
	digest   BLOB    NOT NULL,
	chain    BLOB    NOT NULL
) STRICT;
`

// indexes find what is asked for often among observations, of which there are many,
// and beside them. They are made where they are not there yet: an older infra keeps
// them up as well. What observed holds is all that a gate needs of an observation.
const indexes = `
CREATE INDEX IF NOT EXISTS acts ON runs (seq, plan) WHERE ` + kind + ` IS NOT 'verify';
CREATE INDEX IF NOT EXISTS observed ON runs (plan, seq, status, started, took, ` + boot + `, ` + up + `, id, ` + kind + `)
	WHERE ` + kind + ` IS 'verify' AND status IN ('ok', 'failed');
CREATE INDEX IF NOT EXISTS boots ON runs (` + boot + `, seq);
CREATE INDEX IF NOT EXISTS turns ON entries (run, seq, kind) WHERE kind IN ('run_started', 'run_resumed', 'run_ended');
`

// kind is the [Kind] of a run, and boot and up when it began by the clock that nobody
// can set, as a query has to write them to use an index.
const (
	kind = `CASE WHEN json_valid(options) THEN json_extract(options, '$.kind') END`
	boot = `CASE WHEN json_valid(options) THEN json_extract(options, '$.clock.boot') END`
	up   = `CASE WHEN json_valid(options) THEN json_extract(options, '$.clock.up') END`
)

// identify reads what a file says it is.
const identify = `SELECT application_id, user_version FROM pragma_application_id, pragma_user_version`

// A slot is where an event is kept: these columns of the row with this key.
type slot struct{ table, key, columns string }

// slots has one for each kind of event that is kept. What is written, what is
// digested and what is verified are these columns, in this order. Two kinds
// that share a table begin a row and end it.
var slots = map[runtime.EventKind]slot{
	runtime.RunStarted:  {"runs", "id = ?", "plan, file, title, options, sources, user, host, version, started"},
	runtime.RunResumed:  {"resumes", "run = ? AND part = ?", "time, user, host, version"},
	runtime.RunEnded:    {"runs", "id = ?", endOfRun},
	runtime.StepStarted: {"steps", "run = ? AND seq = ?", "name, host, is_check, part, started"},
	runtime.StepEnded:   {"steps", "run = ? AND seq = ?", "name, host, is_check, part, took, status, err, hint, detail, result"},
	runtime.StepRetried: {"logs", "run = ? AND seq = ?", "step, host, is_check, kind, time, text, pos, last_op"},
	runtime.Logged:      {"logs", "run = ? AND seq = ?", "step, host, is_check, kind, time, text, pos, last_op"},
	runtime.OpAsked: {"ops", "run = ? AND id = ?",
		"step, step_host, is_check, name, host, effect, args, show, pos, started, planned, attempt"},
	runtime.OpEnded: {"ops", "run = ? AND id = ?", "took, status, err, hint, changed, verdict, detail, output, result"},
	runPruned:       {"prunes", "run = ?", "id, plan, started, ended, status, entries, time, user, host"},
}

// endOfRun is how a run, or a part of it that another process went on with,
// ended.
const endOfRun = "ended, took, status, err, hint"

// runPruned is the entry that a run leaves when it is removed.
const runPruned runtime.EventKind = "run_pruned"

const (
	insertRun = `INSERT INTO runs (plan, file, title, options, sources, user, host, version, started, id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	endRun = `UPDATE runs SET ended = ?, took = ?, status = ?, err = ?, hint = ? WHERE id = ? AND status IS NULL`
	// A run that was ok has nothing left to do.
	insertResume = `INSERT INTO resumes (time, user, host, version, run, part, ended, took, status, err, hint)
		SELECT ?, ?, ?, ?, id, ?, ended, took, status, err, hint FROM runs WHERE id = ? AND status IS NOT 'ok'`
	reopenRun  = `UPDATE runs SET ended = NULL, took = NULL, status = NULL, err = '', hint = '' WHERE id = ?`
	insertStep = `INSERT INTO steps (name, host, is_check, part, started, run) VALUES (?, ?, ?, ?, ?, ?)`
	insertDone = `INSERT INTO steps (name, host, is_check, part, took, status, err, hint, detail, result, run)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	endStep   = `UPDATE steps SET took = ?, status = ?, err = ?, hint = ?, detail = ?, result = ? WHERE seq = ?`
	insertLog = `INSERT INTO logs (step, host, is_check, kind, time, text, pos, last_op, run) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	insertOp  = `INSERT INTO ops (step, step_host, is_check, name, host, effect, args, show, pos, started, planned, attempt, run, id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	endOp = `UPDATE ops SET took = ?, status = ?, err = ?, hint = ?, changed = ?, verdict = ?, detail = ?, output = ?, result = ?
		WHERE run = ? AND id = ? AND status IS NULL`
	insertEntry = `INSERT INTO entries (seq, run, kind, step, host, is_check, item, time, digest, chain)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

	newestEntry = `SELECT seq, chain FROM entries ORDER BY seq DESC LIMIT 1`
	stateOfRun  = `SELECT seq, (SELECT count(*) FROM resumes WHERE run = runs.id) FROM runs WHERE id = ?`
	stateOfStep = `SELECT seq, part, coalesce(status, '') FROM steps
		WHERE run = ? AND is_check = ? AND name = ? AND host = ? ORDER BY part DESC LIMIT 1`
	lastOp = `SELECT coalesce(max(id), 0) FROM ops WHERE run = ?`
	// attemptOf counts a step's starts in each part, and its retries.
	attemptOf = `SELECT
		max(1, (SELECT count(started) FROM steps WHERE run = ?1 AND is_check = ?2 AND name = ?3 AND host = ?4)) +
		(SELECT count(*) FROM logs WHERE run = ?1 AND is_check = ?2 AND step = ?3 AND host = ?4 AND kind = 'step_retried')`
)

const (
	selectRun = `
		SELECT id, plan, file, title, options, sources, user, host, version, started, ended, took, coalesce(status, ''), err, hint,
			(SELECT count(*) FROM ops WHERE run = runs.id),
			(SELECT count(*) FROM ops WHERE run = runs.id AND changed),
			(SELECT coalesce(max(id), 0) FROM ops WHERE run = runs.id), seq, (SELECT max(time) FROM resumes WHERE run = runs.id),
			(SELECT count(*) FROM ops WHERE run = runs.id AND status IS NULL AND effect IN ('change', 'destroy')),
			(SELECT count(*) FROM steps WHERE run = runs.id AND is_check AND status = 'failed')
		FROM runs `
	newestRuns = selectRun + `ORDER BY seq DESC LIMIT ?`
	// newestActs needs no index, of which nobody would notice that it is damaged.
	newestActs = selectRun + `NOT INDEXED WHERE ` + kind + ` IS NOT 'verify' ORDER BY seq DESC LIMIT ?`
	runByID    = selectRun + `WHERE id = ?`
	newestID   = `SELECT id FROM runs NOT INDEXED WHERE file <> '` + UnlockFile + `' AND ` + kind + ` IS NULL ORDER BY seq DESC LIMIT 1`

	// The index on plans would lead through all observations: +plan keeps it out.
	actsOf         = selectRun + `WHERE ` + kind + ` IS NOT 'verify' AND ` + kind + ` IS NULL AND +plan = ? ORDER BY seq`
	decisionsOf    = selectRun + `WHERE ` + kind + ` IS NOT 'verify' AND ` + kind + ` = 'decide' AND +plan = ? ORDER BY seq`
	rollbacks      = selectRun + `WHERE ` + kind + ` IS NOT 'verify' AND plan LIKE 'rollback %' ORDER BY seq`
	selectObserved = `SELECT seq, id, started, took, status, ` + boot + `, ` + up + `
		FROM runs WHERE ` + kind + ` IS 'verify' AND plan = ? AND status IN ('ok', 'failed') `
	observationsOf = selectObserved + `ORDER BY seq DESC`
	observedBefore = selectObserved + `AND seq < ? ORDER BY seq DESC LIMIT ?`
	failingOf      = `SELECT seq FROM runs WHERE ` + kind + ` IS 'verify' AND status = 'failed' AND plan = ? AND seq < ? ORDER BY seq DESC LIMIT ?`

	selectMoment = `SELECT seq, started, ` + boot + `, ` + up + ` FROM runs `
	firstOfBoot  = selectMoment + `WHERE ` + boot + ` = ? ORDER BY seq LIMIT 1`
	momentBefore = selectMoment + `WHERE seq < ? ORDER BY seq DESC LIMIT 1`
	turnsOf      = `SELECT run, seq, kind FROM entries WHERE run IN (SELECT value FROM json_each(?))
		AND kind IN ('run_started', 'run_resumed', 'run_ended') ORDER BY seq`
	// startedBefore is the run that began last before an entry.
	startedBefore = `SELECT run FROM entries WHERE kind = 'run_started' AND seq < ? ORDER BY seq DESC LIMIT 1`

	changedHosts = `
		SELECT DISTINCT ops.host FROM runs CROSS JOIN ops ON ops.run = runs.id AND ops.changed
		WHERE ` + kind + ` IS NOT 'verify' AND +plan = ? AND ops.host <> ''`
	// plansThere asks for one observed plan after the other: there are few, and many observations.
	plansThere = `SELECT DISTINCT +plan FROM runs WHERE ` + kind + ` IS NOT 'verify' AND ` + kind + ` IS NULL AND +plan NOT LIKE '% %'
		UNION SELECT plan FROM (WITH RECURSIVE seen (plan) AS (
			SELECT min(plan) FROM runs WHERE ` + kind + ` IS 'verify' AND status IN ('ok', 'failed')
			UNION ALL SELECT (SELECT min(plan) FROM runs WHERE ` + kind + ` IS 'verify' AND status IN ('ok', 'failed') AND plan > seen.plan)
			FROM seen WHERE seen.plan IS NOT NULL) SELECT plan FROM seen WHERE plan IS NOT NULL)`
	// matchingIDs puts the whole id before ids that hold it as a part.
	matchingIDs = `SELECT id FROM runs WHERE instr(id, ?1) > 0 ORDER BY id = ?1 DESC, seq DESC LIMIT 6`

	resumesOfRun = `
		SELECT time, user, host, version, ended, took, coalesce(status, ''), err, hint FROM resumes WHERE run = ? ORDER BY part`
	selectStep = `
		SELECT name, host, is_check, part, started, took, coalesce(status, ''), err, hint, detail, result FROM steps `
	stepsOfRun  = selectStep + `WHERE run = ? ORDER BY is_check, seq`
	checksOfRun = selectStep + `WHERE run = ? AND is_check ORDER BY seq`
	oneStep     = selectStep + `WHERE run = ? AND seq = ?`
	selectOp    = `
		SELECT step, step_host, is_check, id, attempt, name, host, effect, args, show, pos, started, took,
			coalesce(status, ''), err, hint, changed, verdict, detail, CASE WHEN status IS NULL THEN planned ELSE output END, result
		FROM ops `
	opsOfRun  = selectOp + `WHERE run = ? ORDER BY id`
	oneOp     = selectOp + `WHERE run = ? AND id = ?`
	selectLog = `SELECT step, host, is_check, kind, time, text, pos, last_op FROM logs `
	logsOfRun = selectLog + `WHERE run = ? ORDER BY seq`
	oneLog    = selectLog + `WHERE run = ? AND seq = ?`
)

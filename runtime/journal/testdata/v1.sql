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

-- What the program of version 1 recorded: a run that failed, one that was ok
-- and changed something, and one that did not end.
PRAGMA application_id = 1768842866;
PRAGMA user_version = 1;
INSERT INTO runs VALUES (1, 'r1', 'blackphos', 'plans/blackphos.star', 'Move blackphos', 0, 'hanna', 'laptop', 'v0.1', 1772366400000000500, 1772366409000000500, 9000000000, 'failed', '1 check failed', 'see above');
INSERT INTO runs VALUES (2, 'r2', 'blackphos', 'plans/blackphos.star', 'Move blackphos', 0, 'hanna', 'laptop', 'v0.1', 1772366500000000000, 1772366501000000000, 1000000000, 'ok', '', '');
INSERT INTO runs VALUES (3, 'dry', 'blackphos', 'plans/blackphos.star', '', 1, 'hanna', 'laptop', 'v0.1', 1772366600000000000, NULL, NULL, NULL, '', '');
INSERT INTO runs VALUES (4, 'r3', 'fleet', 'plans/fleet.star', '', 0, 'hanna', 'laptop', 'v0.1', 1772366700000000000, NULL, NULL, NULL, '', '');
INSERT INTO steps VALUES (1, 'r1', 'switch', 'blackphos', 0, 1772366402000000500, 4000000000, 'ok', '', '', '', '"done"');
INSERT INTO steps VALUES (2, 'r1', 'cleanup', 'blackphos', 0, NULL, 0, 'skipped', 'a check failed', 'mend it', '', NULL);
INSERT INTO steps VALUES (3, 'r1', 'reachable', 'blackphos', 1, 1772366406000000500, 0, 'failed', '', '', 'no answer', NULL);
INSERT INTO steps VALUES (4, 'r2', 'switch', 'blackphos', 0, 1772366500000000000, 1000000, 'ok', '', '', '', NULL);
INSERT INTO steps VALUES (5, 'r3', 'update', '', 0, 1772366700000000000, NULL, NULL, '', '', '', NULL);
INSERT INTO ops VALUES ('r1', 1, 'switch', 'blackphos', 0, 2, 'nix.build', '', 'build', '{"a":["<x>"]}', '.#blackphos', 'plans/blackphos.star:31:5', 1772366402000000600, 3000000000, 'ok', '', '', 1, '', '', '0001-nix-build.log', '{"code":0}');
INSERT INTO ops VALUES ('r1', 2, 'reachable', 'blackphos', 1, 1, 'ssh.run', 'blackphos', 'read', '{}', 'true', '', 1772366406000000600, 0, 'failed', 'exit code 1', 'look', 0, '', '', '', NULL);
INSERT INTO ops VALUES ('r2', 1, 'switch', 'blackphos', 0, 1, 'ssh.run', 'blackphos', 'change', '{}', 'true', '', 1772366500000000000, 1000, 'ok', '', '', 1, '', '', '', NULL);
INSERT INTO ops VALUES ('r3', 1, 'update', '', 0, 1, 'local.run', '', 'change', '{}', 'true', '', 1772366700000000000, NULL, NULL, '', '', 0, '', '', '', NULL);
INSERT INTO logs VALUES (1, 'r1', '', '', 0, 'logged', 1772366401000000500, 'reading', 'plans/blackphos.star:3:5');
INSERT INTO logs VALUES (2, 'r1', 'switch', 'blackphos', 0, 'step_retried', 1772366403000000500, 'connection lost', '');

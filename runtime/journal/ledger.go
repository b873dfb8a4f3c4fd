package journal

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.starlark.net/syntax"

	"infra/runtime"
)

// What is shown as the status of what has no end in the journal. Whether it
// still goes on or died there, the journal alone cannot tell.
const (
	Unfinished runtime.Status = "unfinished" // a run or a step
	InFlight   runtime.Status = "in flight"  // an operation: it may or may not have happened
)

// A Run is one run of a plan. Ended and Took are zero while Status is
// [Unfinished].
type Run struct {
	ID      string
	Plan    string
	File    string
	Title   string
	Options json.RawMessage  // how it was called; nil where that is not known
	Sources []runtime.Source // what the plan was read from; nil where that is not known
	User    string           // who ran it
	Host    string           // on which machine
	Version string
	Started time.Time
	Ended   time.Time
	Took    time.Duration
	Status  runtime.Status
	Err     string
	Hint    string    // what to do about Err
	Asked   int       // how many
	Changed int       // how many of them changed something
	LastOp  int       // the highest id of an operation
	Seq     int64     // orders the runs, whatever the clock said
	Resumed time.Time // when another process went on with it last; zero: none did

	FailedChecks int // required ones
	InFlight     int // changes that were asked for and of which nothing tells whether they happened
	Resumes      []Resume
	Steps        []Step
	Logs         []Log // outside of any step
}

// UnlockFile is the [Run.File] of what is kept as a run and is none of a plan: that
// the lock of a host was broken. A plan's file ends in .star.
const UnlockFile = "infra unlock"

// A Resume is when another process went on with a run. Part n of the run began
// with the resume n, counted from 1.
type Resume struct {
	Time    time.Time
	User    string
	Host    string
	Version string
	Before  Ending // how the part before it had ended
}

// An Ending is how a part of a run ended. Ended and Took are zero where it did
// not: the process died.
type Ending struct {
	Ended  time.Time
	Took   time.Duration
	Status runtime.Status
	Err    string
	Hint   string
}

// A Step is a step on one host, or a check. Started is zero for one that was
// skipped.
type Step struct {
	Name     string
	Host     string
	Check    bool
	Part     int // of the run, in which it was worked on last
	Status   runtime.Status
	Started  time.Time
	Took     time.Duration
	Attempts int
	Err      string
	Hint     string // what to do about Err
	Text     string // a check's detail
	Result   json.RawMessage
	Ops      []Op
	Logs     []Log
	Earlier  []Step // how it went in earlier parts, without Ops and Logs
}

// An Op is one operation that was asked for.
type Op struct {
	ID      int
	Attempt int // of its step
	Name    string
	Host    string
	Effect  string
	Args    json.RawMessage
	Show    string
	Pos     syntax.Position
	Started time.Time
	Took    time.Duration
	Status  runtime.Status
	Err     string
	Hint    string // what to do about Err
	Changed bool
	Verdict string // a dry run's
	Detail  string // a dry run's
	Output  string // a file in the run's folder
	Result  json.RawMessage
}

// A Log is what a plan said, or, where Kind is StepRetried, why an attempt
// failed.
type Log struct {
	Kind runtime.EventKind
	Time time.Time
	Text string
	Pos  syntax.Position

	After int // the run's newest operation then; 0: none
}

// A Ledger reads a journal. It never delays a run that is being recorded.
type Ledger struct {
	db      *sql.DB
	dir     string
	version int // of the file's schema

	statements statements
}

// Read opens the journal of the project at root for reading. The error is
// [fs.ErrNotExist] where nothing has been recorded yet.
func Read(root string) (*Ledger, error) {
	dir, err := dirOf(root)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, fileName)
	db, version, err := connect(path, readOptions(dir, path))
	if err != nil {
		return nil, err
	}
	l := &Ledger{db: db, dir: dir, version: version, statements: statements{db: db, made: map[string]*sql.Stmt{}}}
	if version == 1 {
		_, err = db.Exec(asVersion2)
	}
	if err != nil {
		return nil, errors.Join(l.explain("read a journal of version 1", err), db.Close())
	}
	return l, nil
}

// asVersion2 lets a journal of version 1 be read as one of version 2. The views
// are the connection's own: nothing is written to the file.
const asVersion2 = `
	CREATE TEMP VIEW runs AS SELECT *, NULL AS options, NULL AS sources FROM main.runs WHERE NOT dry_run;
	CREATE TEMP VIEW steps AS SELECT *, 0 AS part FROM main.steps;
	CREATE TEMP VIEW ops AS SELECT *, '' AS planned FROM main.ops;
	CREATE TEMP VIEW logs AS SELECT *, (SELECT coalesce(max(id), 0) FROM main.ops
		WHERE run = logs.run AND started <= logs.time) AS last_op FROM main.logs;
	CREATE TEMP TABLE resumes (run, part, time, user, host, version, ended, took, status, err, hint);
	CREATE TEMP TABLE entries (seq, run, kind, step, host, is_check, item, time, digest, chain);
	CREATE TEMP TABLE prunes (run, id);
`

// readOptions allows for a journal on a disk that cannot be written to: even
// a reader writes its locks beside the file, unless it may trust that no one
// writes.
func readOptions(dir, path string) string {
	_, err := os.Stat(path + "-wal")
	if err != nil && syscall.Access(dir, writeAccess) != nil {
		return "mode=ro&immutable=1"
	}
	return "mode=ro"
}

// ReadIfAny is Read, but where nothing has been recorded yet the ledger is nil.
func ReadIfAny(root string) (*Ledger, error) {
	l, err := Read(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return l, err
}

// Close ends reading. A nil ledger has nothing to end.
func (l *Ledger) Close() error {
	if l == nil {
		return nil
	}
	return l.db.Close()
}

// Folder is where the outputs of a run's operations are kept.
func (l *Ledger) Folder(run string) string { return runDir(l.dir, run) }

// Runs returns the latest runs and decisions, the newest first, without their steps.
func (l *Ledger) Runs(limit int) ([]Run, error) {
	runs, err := query(l.db, scanRun, newestActs, limit)
	return runs, l.explain("list the runs", err)
}

// All is Runs with the observations among them.
func (l *Ledger) All(limit int) ([]Run, error) {
	runs, err := query(l.db, scanRun, newestRuns, limit)
	return runs, l.explain("list the runs and observations", err)
}

// Run returns one run with its steps and operations. It is named by its id, by
// a part of it that no other id has, or by "last", which is that of a plan.
func (l *Ledger) Run(id string) (Run, error) {
	tx, err := l.db.Begin() // one state of the journal, while it is being written to
	if err != nil {
		return Run{}, l.explain("read run "+id, err)
	}
	defer func() { _ = tx.Rollback() }()
	id, err = resolve(tx, id)
	if err != nil {
		return Run{}, err
	}
	run, err := load(tx, id)
	return run, l.explain("read run "+id, err)
}

func (l *Ledger) explain(what string, err error) error {
	if err == nil {
		return nil
	}
	return explain(fmt.Errorf("%s: %w", what, err), filepath.Join(l.dir, fileName))
}

// resolve returns the id that a person meant.
func resolve(tx *sql.Tx, id string) (string, error) {
	text, args := matchingIDs, []any{id}
	if id == "last" {
		text, args = newestID, nil
	}
	ids, err := query(tx, func(row scanner) (id string, err error) { return id, row.Scan(&id) }, text, args...)
	switch {
	case err != nil:
		return "", fmt.Errorf("find run %s: %w", id, err)
	case len(ids) == 0 || id == "":
		return "", runtime.WithHint(fmt.Errorf("there is no run %q", id), "`infra log` lists the runs")
	case len(ids) > 1 && ids[0] != id:
		return "", runtime.WithHint(fmt.Errorf("%q is a part of several runs' ids", id), "write more of one of them: %s", strings.Join(ids, ", "))
	}
	return ids[0], nil
}

func load(tx *sql.Tx, id string) (Run, error) {
	runs, err := query(tx, scanRun, runByID, id)
	resumes, err1 := query(tx, scanResume, resumesOfRun, id)
	steps, err2 := query(tx, scanStep, stepsOfRun, id)
	ops, err3 := query(tx, scanOp, opsOfRun, id)
	logs, err4 := query(tx, scanLog, logsOfRun, id)
	if err := errors.Join(err, err1, err2, err3, err4); err != nil {
		return Run{}, err
	}
	run := runs[0]
	run.Resumes = resumes
	run.attach(steps, ops, logs)
	return run, nil
}

// attach puts what happened where it belongs.
func (r *Run) attach(steps []Step, ops []placed[Op], logs []placed[Log]) {
	index := make(map[place]int, len(steps))
	for _, s := range steps {
		at := place{s.Name, s.Host, s.Check}
		i, again := index[at]
		if !again {
			index[at] = len(r.Steps)
			r.Steps = append(r.Steps, s)
			continue
		}
		r.Steps[i] = s.after(r.Steps[i])
	}
	step := func(at place) *Step {
		i, ok := index[at]
		if !ok { // nothing that was recorded is left out, whatever is missing around it
			i = len(r.Steps)
			index[at] = i
			r.Steps = append(r.Steps, Step{Name: at.step, Host: at.host, Check: at.check, Status: Unfinished, Attempts: 1})
		}
		return &r.Steps[i]
	}
	for _, op := range ops {
		s := step(op.at)
		s.Ops = append(s.Ops, op.it)
	}
	for _, log := range logs {
		if log.at.step == "" {
			r.Logs = append(r.Logs, log.it)
			continue
		}
		s := step(log.at)
		s.Logs = append(s.Logs, log.it)
		if log.it.Kind == runtime.StepRetried {
			s.Attempts++
		}
	}
}

// after is the step as a later part of the run left it.
func (s Step) after(before Step) Step {
	s.Earlier = append(before.Earlier, before)
	s.Earlier[len(s.Earlier)-1].Earlier = nil
	s.Attempts = before.Attempts
	if !before.Started.IsZero() && !s.Started.IsZero() {
		s.Attempts++
	}
	return s
}

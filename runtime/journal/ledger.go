package journal

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
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
	DryRun  bool
	User    string // who ran it
	Host    string // on which machine
	Version string
	Started time.Time
	Ended   time.Time
	Took    time.Duration
	Status  runtime.Status
	Err     string
	Hint    string // what to do about Err
	Asked   int    // how many
	Changed int    // how many of them changed something
	Steps   []Step
	Logs    []Log // outside of any step
}

// A Step is a step on one host, or a check. Started is zero for one that was
// skipped.
type Step struct {
	Name     string
	Host     string
	Check    bool
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
}

// A Ledger reads a journal. It never delays a run that is being recorded.
type Ledger struct {
	db  *sql.DB
	dir string
}

// Read opens the journal of the project at root for reading. The error is
// [fs.ErrNotExist] where nothing has been recorded yet.
func Read(root string) (*Ledger, error) {
	dir, err := dirOf(root)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, fileName)
	db, err := connect(path, readOptions(dir, path))
	if err != nil {
		return nil, err
	}
	return &Ledger{db, dir}, nil
}

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

// Close ends reading.
func (l *Ledger) Close() error { return l.db.Close() }

// Folder is where the outputs of a run's operations are kept.
func (l *Ledger) Folder(run string) string { return runDir(l.dir, run) }

// Runs returns the latest runs, the newest first, without their steps.
func (l *Ledger) Runs(limit int) ([]Run, error) {
	runs, err := query(l.db, scanRun, newestRuns, limit)
	return runs, l.explain("list the runs", err)
}

// Run returns one run with its steps and operations. It is named by its id, by
// a part of it that no other id has, or by "last".
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
	steps, err2 := query(tx, scanStep, stepsOfRun, id)
	ops, err3 := query(tx, scanOp, opsOfRun, id)
	logs, err4 := query(tx, scanLog, logsOfRun, id)
	if err := errors.Join(err, err2, err3, err4); err != nil {
		return Run{}, err
	}
	run := runs[0]
	run.Steps = steps
	run.attach(ops, logs)
	return run, nil
}

// attach puts operations and logs where they belong.
func (r *Run) attach(ops []placed[Op], logs []placed[Log]) {
	index := make(map[place]int, len(r.Steps))
	for i, s := range r.Steps {
		index[place{s.Name, s.Host, s.Check}] = i
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

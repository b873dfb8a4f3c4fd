package journal

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"infra/runtime"
)

// A Proof is what verifying a journal found. A whole one says nothing of who
// can write the file and makes the whole chain anew: who needs that keeps Head
// elsewhere, and compares.
type Proof struct {
	Entries int    // how many were verified
	Pruned  int    // how many of them belong to runs that were removed
	Head    string // the end of the chain, in hex
	Broken  *Break // nil: it is whole
}

// A Break is the first place where a journal is not what was recorded. Fields
// that are not known are zero.
type Break struct {
	What  string // what is wrong there
	Entry int64  // its number
	Kind  runtime.EventKind
	Run   string
	Step  string
	Host  string
	Check bool
	Op    int // the operation's id
	Time  time.Time
}

// String says it in one line.
func (b *Break) String() string {
	var at []string
	add := func(format string, v any, known bool) {
		if known {
			at = append(at, fmt.Sprintf(format, v))
		}
	}
	add("record %d", b.Entry, b.Entry > 0)
	add("%s", b.Kind, b.Kind != "")
	add("run %s", b.Run, b.Run != "")
	what := "step %s"
	if b.Check {
		what = "check %s"
	}
	add(what, strings.TrimSpace(b.Step+" "+b.Host), b.Step != "")
	add("operation %d", b.Op, b.Op > 0)
	add("%s", b.Time.UTC().Format(time.RFC3339), !b.Time.IsZero())
	return b.What + ": " + strings.Join(at, ", ")
}

// Verify walks the chain from its beginning and compares it with the tables.
// The error says that they cannot be read.
func (l *Ledger) Verify() (Proof, error) {
	if l.version < schemaVersion {
		return Proof{}, runtime.WithHint(fmt.Errorf("verify the journal: an older infra wrote it, without a chain"),
			"the next infra run brings it up to date and chains what is there")
	}
	tx, err := l.db.Begin()
	if err != nil {
		return Proof{}, l.explain("verify the journal", err)
	}
	defer func() { _ = tx.Rollback() }()
	var sound string
	if err := tx.QueryRow("PRAGMA integrity_check(1)").Scan(&sound); err != nil || sound != "ok" {
		err = errors.Join(err, errors.New(sound))
		return Proof{}, damaged(fmt.Errorf("verify the journal: %w", err), l.dir)
	}
	v := verifier{asker: asker{tx, map[string]*sql.Stmt{}}, counts: map[runtime.EventKind]int{}, runs: map[int64]keptRun{}}
	err = v.all()
	return v.proof, l.explain("verify the journal", err)
}

// An asker asks a transaction, and prepares each question once.
type asker struct {
	tx    *sql.Tx
	stmts map[string]*sql.Stmt
}

// Query implements querier.
func (a asker) Query(text string, args ...any) (*sql.Rows, error) {
	stmt, ok := a.stmts[text]
	if !ok {
		var err error
		if stmt, err = a.tx.Prepare(text); err != nil {
			return nil, err
		}
		a.stmts[text] = stmt
	}
	return stmt.Query(args...)
}

// A verifier walks the chain.
type verifier struct {
	asker
	proof  Proof
	head   head
	runs   map[int64]keptRun
	counts map[runtime.EventKind]int // of the entries of runs that are there
}

// A keptRun is a run that is there, or was pruned.
type keptRun struct {
	id      string
	part    int64 // the newest
	pruned  bool
	entries int64 // that a pruned one had
}

const (
	everyRun = `SELECT seq, id, (SELECT count(*) FROM resumes WHERE run = runs.id) AS part, 0, 0 FROM runs
		UNION ALL SELECT run AS seq, '', 0, 1, entries FROM prunes`
	oneRun       = `SELECT * FROM (` + everyRun + `) WHERE seq = ?`
	selectEntry  = `SELECT seq, run, kind, step, host, is_check, item, time, digest, chain FROM entries `
	entriesAfter = selectEntry + `WHERE seq > ? ORDER BY seq LIMIT 1000`
)

func scanEntry(row scanner) (*entry, error) {
	e := &entry{}
	var check int64
	err := row.Scan(&e.seq, &e.run, &e.kind, &e.step, &e.host, &check, &e.item, &e.time, &e.digest, &e.chain)
	if e.check = check == 1; check != 0 && check != 1 {
		e.item = math.MinInt64 // nothing was ever recorded so, and no digest fits it
	}
	return e, err
}

func (v *verifier) all() error {
	if err := v.learnRuns(everyRun); err != nil {
		return err
	}
	for {
		entries, err := query(v, scanEntry, entriesAfter, v.head.seq)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			if v.proof.Broken, err = v.entry(e); err != nil || v.proof.Broken != nil {
				return err
			}
			v.proof.Entries++
			v.head = head{e.seq, e.chain}
		}
	}
	v.proof.Head = fmt.Sprintf("%x", v.head.chain)
	var err error
	v.proof.Broken, err = v.strangers()
	return err
}

// learnRuns finds all runs, or the one of that number.
func (v *verifier) learnRuns(text string, args ...any) error {
	_, err := query(v, func(row scanner) (k keptRun, err error) {
		var seq int64
		err = row.Scan(&seq, &k.id, &k.part, &k.pruned, &k.entries)
		if other, twice := v.runs[seq]; twice { // it is said to be pruned and is there
			k.id, k.part = other.id+k.id, max(other.part, k.part)
		}
		v.runs[seq] = k
		return k, err
	}, text, args...)
	return err
}

// entry verifies one entry, and says what is wrong with it.
func (v *verifier) entry(e *entry) (*Break, error) {
	run, known := v.runs[e.run]
	e.runID = run.id
	if e.seq != v.head.seq+1 {
		b := breakAt(e, "a record before this one was removed")
		return b, nil
	}
	blank := e.kind == ""
	switch {
	case !known:
		return breakAt(e, "the run of this record was removed, and not by pruning"), nil
	case blank:
		v.proof.Pruned++
		run.entries--
		v.runs[e.run] = run
		if !run.pruned || e.step+e.host != "" || e.check || e.item != 0 || e.time != nil {
			return breakAt(e, "this record was altered: it says that it was pruned"), nil
		}
	case run.pruned && e.kind != runPruned:
		return breakAt(e, "this record was altered: its run was pruned"), nil
	default:
		if b, err := v.compare(e, run.part); b != nil || err != nil {
			return b, err
		}
	}
	if !bytes.Equal(e.chain, linked(v.head.chain, e.digest)) {
		return breakAt(e, "this record was altered, or is not where it was recorded"), nil
	}
	return nil, nil
}

// compare compares an entry with the row that it is about.
func (v *verifier) compare(e *entry, part int64) (*Break, error) {
	if _, known := slots[e.kind]; !known {
		return breakAt(e, "this record was altered: there is no such kind"), nil
	}
	v.counts[e.kind]++
	content, err := contentOf(v, e, part)
	if errors.Is(err, sql.ErrNoRows) {
		return breakAt(e, "what this record is about was removed"), nil
	}
	if err != nil {
		return nil, err
	}
	digest, err := digestOf(e, content)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(digest, e.digest) {
		return breakAt(e, "what this record is about was altered"), nil
	}
	return nil, nil
}

func breakAt(e *entry, what string) *Break {
	b := &Break{What: what, Entry: e.seq, Kind: e.kind, Run: e.runID, Step: e.step, Host: e.host, Check: e.check}
	if slots[e.kind].table == "ops" {
		b.Op = int(e.item)
	}
	if ns, ok := e.time.(int64); ok {
		b.Time = time.Unix(0, ns).UTC()
	}
	return b
}

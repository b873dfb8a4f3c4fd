package journal

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"infra/runtime"
)

// pollEvery is how often a follower looks whether something was recorded. That
// nothing was costs one look at shared memory.
const pollEvery = 100 * time.Millisecond

// Follow hands over what is recorded of a run, first what was recorded before,
// as the events that it came from, until the run has ended or ctx ends. What
// the journal does not keep is not in them: lines of output, and the steps and
// checks that a run was going to do. The run is named as for Run.
func (l *Ledger) Follow(ctx context.Context, id string, show func(runtime.Event)) error {
	if l.version < schemaVersion {
		return runtime.WithHint(errors.New("an older infra wrote this journal, without the order of events"),
			"infra log RUN shows the run; the next infra run brings the journal up to date")
	}
	f := follower{ledger: l, show: show}
	ticks := time.NewTicker(pollEvery)
	defer ticks.Stop()
	for seen := int64(-1); ; {
		var version int64
		if err := l.db.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version); err != nil {
			return l.followed(ctx, id, err)
		}
		if version != seen {
			seen = version
			if over, err := f.look(ctx, id); err != nil || over {
				return l.followed(ctx, id, err)
			}
			id = f.run.ID
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticks.C:
		}
	}
}

func (l *Ledger) followed(ctx context.Context, id string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return l.explain("follow run "+id, err)
}

// A follower knows how far a run has been shown.
type follower struct {
	ledger *Ledger
	show   func(runtime.Event)
	run    Run
	seq    int64 // of the last entry that was shown
	totals runtime.Totals
}

const entriesOfRun = selectEntry + `WHERE run = ? AND seq > ? ORDER BY seq LIMIT 1000`

// look shows what is new, and says whether the run has ended.
func (f *follower) look(ctx context.Context, id string) (over bool, err error) {
	tx, err := f.ledger.db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }()
	if id, err = resolve(tx, id); err != nil {
		return false, err
	}
	runs, err := query(tx, scanRun, runByID, id)
	if err != nil {
		return false, err
	}
	f.run = runs[0]
	if f.run.Resumes, err = query(tx, scanResume, resumesOfRun, id); err != nil {
		return false, err
	}
	var number int64
	if err := tx.QueryRow(stateOfRun, id).Scan(&number, new(int64)); err != nil {
		return false, err
	}
	for {
		entries, err := query(tx, scanEntry, entriesOfRun, number, f.seq)
		if err != nil || len(entries) == 0 {
			return f.run.Status != Unfinished, err
		}
		for _, e := range entries {
			e.runID = id
			event, err := f.event(tx, e)
			if err != nil {
				return false, fmt.Errorf("record %d, %s: %w", e.seq, e.kind, err)
			}
			f.show(event)
			f.seq = e.seq
		}
	}
}

// event is what was recorded, as the engine told it.
func (f *follower) event(tx *sql.Tx, e *entry) (runtime.Event, error) {
	out := runtime.Event{Kind: e.kind, Run: e.runID, Step: e.step, Host: e.host, Check: e.check}
	if ns, ok := e.time.(int64); ok {
		out.Time = time.Unix(0, ns).UTC()
	}
	var err error
	switch slots[e.kind].table {
	case "steps":
		err = f.step(tx, e, &out)
	case "ops":
		err = f.op(tx, e, &out)
	case "logs":
		err = f.log(tx, e, &out)
	default:
		f.ofRun(e, &out)
	}
	f.count(out)
	return out, err
}

func (f *follower) ofRun(e *entry, out *runtime.Event) {
	r := f.run
	switch e.kind {
	case runtime.RunStarted:
		out.Text = r.Version
		out.Start = &runtime.RunStart{Plan: &runtime.Plan{Name: r.Plan, Title: r.Title}, File: r.File, Options: r.Options, Sources: r.Sources}
	case runtime.RunResumed:
		f.totals = runtime.Totals{} // each part has its own
		if i := int(e.item) - 1; i >= 0 && i < len(r.Resumes) {
			out.Text = r.Resumes[i].Version
		}
	case runtime.RunEnded:
		end := Ending{r.Ended, r.Took, r.Status, r.Err, r.Hint}
		if i := int(e.item); i >= 0 && i < len(r.Resumes) {
			end = r.Resumes[i].Before
		}
		out.Status, out.Took, out.Err = end.Status, end.Took, failure(end.Err, end.Hint)
		totals := f.totals
		out.Totals = &totals
	}
}

func (f *follower) step(tx *sql.Tx, e *entry, out *runtime.Event) error {
	s, err := single(query(tx, scanStep, oneStep, e.runID, e.item))
	if e.kind == runtime.StepEnded {
		out.Status, out.Took, out.Err, out.Text, out.Result = s.Status, s.Took, failure(s.Err, s.Hint), s.Text, s.Result
	}
	return err
}

func (f *follower) log(tx *sql.Tx, e *entry, out *runtime.Event) error {
	placed, err := single(query(tx, scanLog, oneLog, e.runID, e.item))
	out.Pos = placed.it.Pos
	if e.kind == runtime.StepRetried {
		out.Err = failure(placed.it.Text, "")
		return err
	}
	out.Text = placed.it.Text
	return err
}

func (f *follower) op(tx *sql.Tx, e *entry, out *runtime.Event) error {
	placed, err := single(query(tx, scanOp, oneOp, e.runID, e.item))
	if err != nil {
		return err
	}
	o := placed.it
	out.Op = &runtime.OpEvent{ID: o.ID, Op: runtime.Op{Name: o.Name, Host: o.Host, Show: o.Show, Pos: o.Pos}}
	out.Pos = o.Pos
	for effect := runtime.Read; effect <= runtime.Destroy; effect++ {
		if effect.String() == o.Effect {
			out.Op.Op.Effect = effect
		}
	}
	args := json.NewDecoder(bytes.NewReader(o.Args))
	args.UseNumber()
	if err := args.Decode(&out.Op.Op.Args); err != nil {
		return fmt.Errorf("read its arguments: %w", err)
	}
	if e.kind == runtime.OpEnded {
		out.Status, out.Took, out.Err = o.Status, o.Took, failure(o.Err, o.Hint)
		out.Op.Changed, out.Op.Output, out.Op.Result = o.Changed, o.Output, o.Result
	}
	return nil
}

// count keeps the totals that a run ends with.
func (f *follower) count(e runtime.Event) {
	t := &f.totals
	if t.Steps == nil {
		*t = runtime.Totals{Steps: map[runtime.Status]int{}, Checks: map[runtime.Status]int{}}
	}
	switch {
	case e.Kind == runtime.StepEnded && e.Check:
		t.Checks[e.Status]++
	case e.Kind == runtime.StepEnded:
		t.Steps[e.Status]++
	case e.Kind == runtime.OpEnded:
		t.Ops++
		if e.Op != nil && e.Op.Changed {
			t.Changed++
		}
	}
}

// failure is an error that says what was recorded.
func failure(msg, hint string) error {
	if msg == "" {
		return nil
	}
	if hint == "" {
		return errors.New(msg)
	}
	return runtime.WithHint(errors.New(msg), "%s", hint)
}

// single is the one row of an answer.
func single[T any](rows []T, err error) (one T, _ error) {
	if err == nil && len(rows) == 0 {
		err = errors.New("what it is about is gone")
	}
	if err != nil {
		return one, err
	}
	return rows[0], nil
}

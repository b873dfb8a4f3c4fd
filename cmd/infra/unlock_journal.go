package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/journal"
	"infra/runtime/remote"
)

// A breaking of a lock is kept as a run is, so that the journal lists it among
// the runs, chains it and prunes it like one. It is no run of a plan: last is
// never it.
type breaking struct {
	root    string
	host    *runtime.Host
	holder  remote.Holder
	because string
	pool    *remote.Pool
}

// journaled breaks the lock, and says under which id that is kept. What cannot
// be journaled is not done.
func (b breaking) journaled(ctx context.Context) (run string, err error) {
	j, err := journal.Open(b.root)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	began := time.Now()
	run = engine.NewID(began)
	step := runtime.Event{Run: run, Step: "unlock", Host: b.host.Name}
	op := &runtime.OpEvent{ID: 1, Op: b.op()}
	for _, e := range []runtime.Event{
		{Run: run, Kind: runtime.RunStarted, Start: b.start(), Text: version()},
		kind(step, runtime.StepStarted, nil), kind(step, runtime.OpAsked, op),
	} {
		if err := record(j, e); err != nil {
			return run, fmt.Errorf("the lock is not broken, since that cannot be journaled: %w", err)
		}
	}
	failure := b.pool.BreakLock(ctx, b.host, b.holder)
	op.Changed = failure == nil
	err = failure
	for _, e := range []runtime.Event{
		kind(step, runtime.OpEnded, op), kind(step, runtime.StepEnded, nil), {Run: run, Kind: runtime.RunEnded},
	} {
		e.Status, e.Took, e.Err = runtime.OK, time.Since(began), failure
		if failure != nil {
			e.Status = runtime.Failed
		}
		err = errors.Join(err, record(j, e))
	}
	return run, err
}

func kind(e runtime.Event, k runtime.EventKind, op *runtime.OpEvent) runtime.Event {
	e.Kind, e.Op = k, op
	return e
}

func record(j *journal.Journal, e runtime.Event) error {
	e.Time = time.Now()
	return j.Record(e)
}

// start is what the list of runs shows of it.
func (b breaking) start() *runtime.RunStart {
	return &runtime.RunStart{File: journal.UnlockFile, Plan: &runtime.Plan{
		Name: "unlock " + b.host.Name, Title: fmt.Sprintf("%s, held by %s, because %s", b.host.Name, b.holder, b.because),
	}}
}

func (b breaking) op() runtime.Op {
	held := b.holder
	return runtime.Op{
		Name: "unlock", Host: b.host.Name, Effect: runtime.Destroy, Show: fmt.Sprintf("held by %s, because %s", b.holder, b.because),
		Args: runtime.Args{"because": b.because, "ssh": b.host.SSH, "held_by": map[string]any{
			"run": held.Run, "user": held.User, "machine": held.Machine, "plan": held.Plan, "since": held.Since.UTC().Format(time.RFC3339),
		}},
	}
}

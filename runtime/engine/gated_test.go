package engine

import (
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"infra/runtime"
	"infra/runtime/clock"
	"infra/runtime/journal"
)

const gated = `
def hello(): log("first")
def fails(): fail("not yet")
def mended(): log("mended")
first = plan(hosts = [], steps = [step(hello)])
`

// second is a plan that waits for the first, and has a step.
func second(step string) string {
	return strings.Replace(gated, "first = plan(hosts = [], steps = [step(hello)])",
		`second = plan(after = [done("first")], hosts = [], steps = [step(`+step+`, name = "it", undo = lambda r: log("undone"))])`, 1)
}

// allRuns are the runs that the trial's journal has, the newest first.
func (t *trial) allRuns() []journal.Run {
	t.Helper()
	ledger, err := journal.Read(t.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ledger.Close() }()
	runs, err := ledger.Runs(10)
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

func TestAClosedGate(t *testing.T) {
	t.Parallel()
	trial := newTrial(t)
	_, err := trial.run(second("hello"), Options{})
	var closed *ClosedError
	if !errors.As(err, &closed) || !errors.Is(err, runtime.ErrHeld) || len(closed.Gates) != 1 ||
		!strings.Contains(err.Error(), `second is held back, and nothing was done:`+"\n"+`  done("first"): it was never run, and there is no plans/first.star`) {
		t.Errorf("got %v", err)
	}
	if runs := trial.allRuns(); len(runs) != 0 || len(trial.events) != 0 {
		t.Errorf("%d runs are journaled, and %v was shown", len(runs), trial.events)
	}

	trial.dry = true
	trial.must(runtime.OK, second("hello"), Options{})
	if start := trial.events[0].Start; start == nil || len(start.Gates) != 1 || start.Gates[0].Open || start.Gates[0].Why == "" {
		t.Errorf("a dry run shows %+v", start)
	}
	trial.dry, trial.events = false, nil

	trial.must(runtime.OK, gated, Options{})
	trial.must(runtime.OK, second("hello"), Options{})
	if runs := trial.allRuns(); len(runs) != 2 || runs[0].Plan != "second" {
		t.Errorf("%+v", runs)
	}
}

// TestPassedGates: an override begins all the same, and what a run that passed its gates
// needs later, resume and undo, waits for none.
func TestPassedGates(t *testing.T) {
	t.Parallel()
	trial := newTrial(t)
	for name, plan := range map[string]string{"done:frist": second("hello"), "done:first": gated} {
		_, err := trial.run(plan, Options{Overrides: map[string]string{name: "why"}})
		if !errors.Is(err, ErrSelection) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	passed := Options{Overrides: map[string]string{"done:first": "why"}, Options: []byte("{}")}
	trial.must(runtime.Failed, second("fails"), passed)
	if start := trial.events[0].Start; len(start.Gates) != 1 || start.Gates[0].Open || start.Gates[0].Overridden != "why" {
		t.Errorf("it shows %+v", start)
	}
	past, err := lastRun(trial.root)
	if err != nil {
		t.Fatal(err)
	}
	trial.must(runtime.OK, second("mended"), Options{Past: past, Accept: true})
	if _, err := trial.run(second("mended"), Options{}); !errors.Is(err, runtime.ErrHeld) {
		t.Errorf("another run was not held back: %v", err)
	}
}

// TestRunsKeepWhenTheyBegan by the clock that nobody can set, and how long they took by
// it, although a program's own clock stops while the machine sleeps.
func TestRunsKeepWhenTheyBegan(t *testing.T) {
	t.Parallel()
	trial := newTrial(t)
	now := clock.Instant{Wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Mark: clock.Mark{Boot: "b", Up: time.Hour}}
	early := now
	opts := Options{Options: []byte(`{"jobs":3,"clock":{"boot":"b","up":1}}`), Clock: func() clock.Instant { return now }}
	opts.Show = func(e runtime.Event) {
		if e.Kind == runtime.StepEnded {
			now = early.Add(5 * time.Hour)
		}
	}
	trial.must(runtime.OK, gated, opts)
	run := trial.allRuns()[0]
	var kept struct{ Jobs int }
	if err := json.Unmarshal(run.Options, &kept); err != nil || kept.Jobs != 3 || run.Call().Clock != early.Mark || run.Took != 5*time.Hour || !run.Started.Equal(early.Wall) {
		t.Errorf("%s, took %s: %v", run.Options, run.Took, err)
	}
}

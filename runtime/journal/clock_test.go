package journal

import (
	"testing"
	"time"

	"infra/runtime"
)

// TestTheClockIsSetBack: what came first is told by the order of recording, not
// by the clock, which lost an hour in the middle of a run.
func TestTheClockIsSetBack(t *testing.T) {
	const first, second = "20261123T120000-aaaa", "20261123T110004-bbbb"
	root := t.TempDir()
	j := open(t, root)
	back := func(e runtime.Event, seconds int) runtime.Event {
		e.Time = at(seconds).Add(-time.Hour)
		return e
	}
	record(t, j, started(first, noon), asked(first, "switch", 1), answered(first, "switch", 1),
		back(runtime.Event{Kind: runtime.StepRetried, Run: first, Step: "switch", Host: "blackphos"}, 1),
		back(asked(first, "switch", 2), 2), back(ended(first, noon, runtime.Failed), 3),
		back(started(second, noon), 4), back(ended(second, noon, runtime.OK), 5))
	ledger := read(t, root)
	if last, err := ledger.Run("last"); err != nil || last.ID != second {
		t.Errorf("the last run is %s, %v", last.ID, err)
	}
	if runs, err := ledger.Runs(5); err != nil || len(runs) != 2 || runs[0].ID != second {
		t.Errorf("the runs are %v, %v", runs, err)
	}
	run, err := ledger.Run("aaaa")
	if err != nil || len(run.Steps) != 1 {
		t.Fatalf("%+v, %v", run, err)
	}
	s := run.Steps[0]
	if len(s.Ops) != 2 || s.Ops[0].ID != 1 || s.Ops[1].Attempt != 2 || len(s.Logs) != 1 || s.Logs[0].After != 1 || run.LastOp != 2 {
		t.Errorf("%+v", s)
	}
	if proof, err := ledger.Verify(); err != nil || proof.Broken != nil {
		t.Errorf("%+v, %v", proof, err)
	}
}

package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"infra/runtime"
)

// aRun is a run of a plan that ended after so many days with a status, and
// changed something or not; "" is a run that did not end.
func aRun(id, plan string, day int, status runtime.Status, changed bool) []runtime.Event {
	when := noon.Add(time.Duration(day) * 24 * time.Hour)
	begin, done := started(id, when), answered(id, "switch", 1)
	begin.Start.Plan.Name, done.Op.Changed = plan, changed
	events := []runtime.Event{begin, asked(id, "switch", 1), done}
	if status != "" {
		events = append(events, ended(id, when, status))
	}
	return events
}

// called is a run that was called in a way.
func called(events []runtime.Event, options string) []runtime.Event {
	events[0].Start.Options = []byte(options)
	return events
}

func rolledBack(events []runtime.Event) []runtime.Event {
	events[0].Start.File = "infra rollback h"
	return events
}

func TestOldRunsArePruned(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	for _, events := range [][]runtime.Event{
		aRun("a1-old", "a", 0, runtime.OK, true),
		aRun("a2-last-change", "a", 1, runtime.OK, true),
		aRun("a3-failed", "a", 2, runtime.Failed, true),
		aRun("a4-died", "a", 2, "", true),
		aRun("b1-first-ok", "b", 0, runtime.OK, false),
		aRun("c1-never-ok", "c", 0, runtime.Failed, true),
		called(aRun("a4-part", "a", 2, runtime.OK, true), `{"hosts": ["x"]}`),
		called(aRun("a4-undo", "a", 2, runtime.OK, true), `{"undoes": "a4-part"}`),
		called(aRun("a4-verified", "a", 3, runtime.OK, false), `{"kind": "verify"}`),
		called(aRun("a4-failing", "a", 3, runtime.Failed, false), `{"kind": "verify"}`),
		called(aRun("c2-failing", "c", 3, runtime.Failed, false), `{"kind": "verify"}`),
		called(aRun("a4-young", "a", 50, runtime.OK, false), `{"kind": "verify"}`),
		called(aRun("a4-decided", "a", 3, runtime.OK, false), `{"kind": "decide"}`),
		rolledBack(aRun("rolled-back", "rollback h", 0, runtime.Failed, true)),
		aRun("a5-no-change", "a", 3, runtime.OK, false),
		aRun("a6-last-ok", "a", 4, runtime.OK, false),
		aRun("a7-young", "a", 90, runtime.Failed, true),
		aRun("a8-clock", "a", -400, runtime.Failed, true), // the clock was set back
		aRun("a9-newest", "a", 100, runtime.Failed, true),
	} {
		record(t, j, events...)
		if err := os.WriteFile(filepath.Join(j.Folder(events[0].Run), "0001.log"), make([]byte, 1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stray := filepath.Join(root, ".infra", "runs", "somebody's")
	if err := os.Mkdir(stray, 0o700); err != nil {
		t.Fatal(err)
	}
	before := noon.Add(60 * 24 * time.Hour)
	want := []string{"a1-old", "c1-never-ok", "a4-verified"}
	would, err := read(t, root).Prunable(before)
	if diff := cmp.Diff(want, idsOf(would)); diff != "" || err != nil || would[0].Bytes != 1000 {
		t.Errorf("%v, %v, %s", would, err, diff)
	}
	done, err := j.Prune(before, at(0))
	if diff := cmp.Diff(want, idsOf(done.Runs)); diff != "" || err != nil {
		t.Errorf("%v, %s", err, diff)
	}
	if done.Bytes < 3000 || done.Runs[0].Bytes != 1000 {
		t.Errorf("%d bytes were given back: %+v", done.Bytes, done)
	}
	left := wholeLedger(t, root)
	if len(left) != 13 {
		t.Errorf("%d runs are left", len(left))
	}
	for _, r := range left {
		if _, err := os.Stat(j.Folder(r.ID)); err != nil || len(r.Steps[0].Ops) != 1 {
			t.Errorf("%s is not whole: %v, %+v", r.ID, err, r)
		}
	}
	names, err := os.ReadDir(filepath.Dir(stray))
	if err != nil || len(names) != 17 {
		t.Errorf("%d folders are left, want those of 16 runs and one that is not ours (%v)", len(names), err)
	}
	l := read(t, root)
	if p, err := l.Verify(); err != nil || p.Broken != nil || p.Pruned != 12 {
		t.Errorf("%+v, %v, %v", p, p.Broken, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if again, err := j.Prune(before, at(1)); err != nil || len(again.Runs) > 0 {
		t.Errorf("%+v, %v", again, err)
	}
	record(t, j, started("next", noon))
	if got := verified(t, root); got != "" {
		t.Error(got)
	}
}

func idsOf(runs []OldRun) (ids []string) {
	for _, r := range runs {
		ids = append(ids, r.ID)
	}
	return ids
}

// TestPruningGivesSpaceBack also while another process has the journal open.
func TestPruningGivesSpaceBack(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	record(t, j, started("big", noon))
	for id := range 20 {
		ask := asked("big", "switch", id+1)
		ask.Op.Op.Show = strings.Repeat("x", 100_000)
		record(t, j, ask)
	}
	record(t, j, ended("big", noon, runtime.Failed), started("next", noon))
	done, err := j.Prune(at(1000), noon)
	if err != nil || done.Bytes < 2_000_000 || done.Left != nil || j.size() > 200_000 {
		t.Errorf("%d bytes given back, %d left: %v, %v", done.Bytes, j.size(), err, done.Left)
	}
}

// TestPrunesAreChained: who removes a run cannot say that it was pruned, nor
// alter what pruning left.
func TestPrunesAreChained(t *testing.T) {
	for _, statement := range []string{
		"UPDATE prunes SET entries = 3", "UPDATE prunes SET id = 'x'", "UPDATE prunes SET time = 1", "DELETE FROM prunes",
		"UPDATE entries SET kind = 'op_asked' WHERE kind = '' AND seq = 2", "UPDATE entries SET digest = zeroblob(32) WHERE seq = 2",
		"UPDATE entries SET run = 2 WHERE seq = 2", "DELETE FROM entries WHERE seq = 2", "UPDATE entries SET item = 1 WHERE seq = 2",
		"UPDATE entries SET kind = '' WHERE kind = 'run_pruned'",
		"INSERT INTO prunes SELECT seq, id, plan, started, 0, 'ok', 1, 1, '', '' FROM runs",
		"INSERT INTO prunes SELECT 7, id, plan, started, 0, 'ok', 0, 1, '', '' FROM runs",
	} {
		root := t.TempDir()
		j := open(t, root)
		record(t, j, aRun("old", "a", 0, runtime.Failed, true)...)
		record(t, j, started("next", noon))
		if _, err := j.Prune(at(1000), noon); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		alter(t, filepath.Join(root, ".infra", "journal.db"), statement)
		if verified(t, root) == "" {
			t.Errorf("%s: nobody noticed", statement)
		}
	}
}

// TestPruningWhileWorkersRecord must not lose what they record.
func TestPruningWhileWorkersRecord(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	for i := range 20 {
		record(t, j, aRun(fmt.Sprintf("old-%d", i), "a", 0, runtime.Failed, true)...)
	}
	record(t, j, started("r1", noon))
	errs := make(chan error, 8)
	for w := range 8 {
		go func() {
			var err error
			for i := 0; i < 20 && err == nil; i++ {
				err = j.Record(asked("r1", "switch", w*20+i+1))
			}
			errs <- err
		}()
	}
	other := open(t, root) // as another process
	if done, err := other.Prune(at(1000), noon); err != nil || len(done.Runs) != 20 {
		t.Errorf("%+v, %v", done, err)
	}
	if _, err := j.Prune(at(1000), noon); err != nil {
		t.Error(err)
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if runs := wholeLedger(t, root); len(runs) != 1 || runs[0].Asked != 160 {
		t.Errorf("%+v", runs)
	}
	if got := verified(t, root); got != "" {
		t.Error(got)
	}
}

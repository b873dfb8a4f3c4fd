package journal

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"infra/runtime"
)

// together records events in one transaction: it is busy until all of them
// wait. The errors are in the order of the events.
func together(t *testing.T, j *Journal, events []runtime.Event) []error {
	t.Helper()
	j.writing.Lock()
	first := make(chan error, 1)
	go func() {
		first <- j.Record(runtime.Event{Kind: runtime.Logged, Run: events[0].Run, Time: noon, Text: "first"})
	}()
	waiting := func(n int) { // the leader took the first one, the others wait for it
		for {
			j.mu.Lock()
			got, busy := len(j.waiting), j.busy
			j.mu.Unlock()
			if got == n && busy {
				return
			}
		}
	}
	waiting(0)
	errs := make([]error, len(events))
	var group sync.WaitGroup
	for i, e := range events {
		group.Go(func() { errs[i] = j.Record(e) })
		waiting(i + 1) // one after the other: their order is that of the events
	}
	j.writing.Unlock()
	group.Wait()
	if err := <-first; err != nil {
		t.Error(err)
	}
	return errs
}

// TestRefusedEventFailsAlone is one transaction with events that cannot be.
func TestRefusedEventFailsAlone(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	record(t, j, started("r1", noon), asked("r1", "switch", 1))
	twice := started("r2", noon)
	events := []runtime.Event{
		asked("r1", "switch", 2), asked("r1", "switch", 1), answered("r1", "switch", 1), answered("r1", "switch", 1),
		asked("nowhere", "switch", 1), twice, twice, asked("r2", "switch", 1), ended("r2", noon, runtime.OK), ended("r2", noon, runtime.OK),
		{Kind: runtime.RunResumed, Run: "r2", Time: noon}, {Kind: runtime.RunResumed, Run: "r1"}, {Kind: runtime.RunResumed, Run: "r1", Time: noon},
		answered("r1", "switch", 2),
	}
	refused := map[int]bool{1: true, 3: true, 4: true, 6: true, 9: true, 10: true, 11: true}
	for i, err := range together(t, j, events) {
		if (err != nil) != refused[i] {
			t.Errorf("event %d, %s of %s: %v", i, events[i].Kind, events[i].Run, err)
		}
	}
	run, err := read(t, root).Run("r1")
	if err != nil || run.Asked != 2 || len(run.Resumes) != 1 || run.Steps[0].Ops[0].Status != runtime.OK || run.Steps[0].Ops[1].Status != runtime.OK {
		t.Errorf("%+v, %v", run, err)
	}
	p, err := read(t, root).Verify()
	if err != nil || p.Broken != nil || p.Entries != 3+len(events)-len(refused) {
		t.Errorf("%+v, %v, %v", p, p.Broken, err)
	}
}

// TestFailedCommitFailsAll: what cannot be committed was recorded for nobody.
func TestFailedCommitFailsAll(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	record(t, j, started("r1", noon))
	if err := j.writer.exec("PRAGMA max_page_count = 1"); err != nil { // SQLite takes the present size for it: the disk is full
		t.Fatal(err)
	}
	var events []runtime.Event
	for id := range 10 {
		e := asked("r1", "switch", id+1)
		e.Op.Op.Show = fmt.Sprint(make([]int, 5000))
		events = append(events, e)
	}
	for i, err := range together(t, j, append([]runtime.Event{answeredNothing()}, events...)) {
		if err == nil || i > 0 && runtime.HintOf(err) == "" {
			t.Errorf("event %d: %v", i, err)
		}
	}
	if err := j.writer.exec("PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	if run, err := read(t, root).Run("r1"); err != nil || run.Asked != 0 {
		t.Errorf("%d are there, %v", run.Asked, err)
	}
	record(t, j, events...)
	if got := verified(t, root); got != "" {
		t.Error(got)
	}
}

// answeredNothing is refused by itself.
func answeredNothing() runtime.Event { return answered("r1", "switch", 77) }

// TestClosedJournalSaysSo to everybody, and leaves nobody waiting.
func TestClosedJournalSaysSo(t *testing.T) {
	j := open(t, t.TempDir())
	record(t, j, started("r1", noon))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		group.Go(func() { errs[i] = j.Record(asked("r1", "switch", i+1)) })
	}
	group.Wait()
	for _, err := range errs {
		if err == nil || errors.Is(err, errRefused) {
			t.Errorf("got %v", err)
		}
	}
}

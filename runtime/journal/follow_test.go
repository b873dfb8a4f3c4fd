package journal

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"infra/runtime"
)

// TestFollowedEventsAreThoseRecorded compares what a reader of the run saw with
// what a follower sees.
func TestFollowedEventsAreThoseRecorded(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	run := wholeRun()
	record(t, j, run...)
	var want, got []runtime.Event
	ops := map[int]runtime.Op{} // as they were asked for
	for _, e := range run {
		switch e.Kind {
		case runtime.OpOutput:
			continue
		case runtime.OpAsked:
			e.Status = "" // the test's events have one, the engine's do not
			ops[e.Op.ID] = e.Op.Op
		case runtime.OpEnded:
			op := *e.Op
			op.Prediction, op.Op, e.Op = nil, ops[op.ID], &op // no dry run is recorded
		case runtime.RunEnded:
			e.Totals = &runtime.Totals{Ops: 2, Changed: 1, Steps: map[runtime.Status]int{runtime.OK: 1, runtime.Skipped: 1},
				Checks: map[runtime.Status]int{runtime.Failed: 1}}
		}
		if e.Op != nil {
			e.Pos = e.Op.Op.Pos
		}
		want = append(want, e)
	}
	if err := read(t, root).Follow(t.Context(), "last", func(e runtime.Event) { got = append(got, e) }); err != nil {
		t.Fatal(err)
	}
	said := cmp.Comparer(func(a, b error) bool { return fmt.Sprint(a, runtime.HintOf(a)) == fmt.Sprint(b, runtime.HintOf(b)) })
	args := cmp.Comparer(func(a, b runtime.Args) bool {
		x, _ := runtime.ScrubArgs(a)
		y, _ := runtime.ScrubArgs(b)
		return string(x) == string(y)
	})
	if diff := cmp.Diff(want, got, said, args, cmp.Comparer(samePos), cmpopts.IgnoreFields(runtime.Plan{}, "Pos")); diff != "" {
		t.Errorf("(-recorded +followed)\n%s", diff)
	}
}

// TestFollowEndsWithTheRun follows while the run is recorded, through an end
// after which it was resumed.
func TestFollowEndsWithTheRun(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	events := append(resumedRun("r1"), answered("r1", "switch", 2), ended("r1", at(50), runtime.OK))
	for i := range events {
		events[i].Time = noon.Add(-time.Duration(i) * time.Hour) // the clock runs backwards
	}
	record(t, j, events[0], started("another", noon))
	seen, on := make(chan runtime.Event), make(chan struct{})
	over := make(chan error, 1)
	l := read(t, root)
	go func() {
		over <- l.Follow(t.Context(), "r1", func(e runtime.Event) {
			seen <- e
			<-on // it must not look between an end and what goes on with it: it would have gone
		})
	}()
	for i, e := range events {
		switch last := i+1 == len(events); {
		case e.Kind == runtime.RunEnded && !last:
			record(t, j, e, events[i+1])
			continue
		case i > 0:
			if events[i-1].Kind != runtime.RunEnded {
				record(t, j, e)
			}
			on <- struct{}{}
		}
		for got := range seen {
			if got.Kind == e.Kind && got.Time.Equal(e.Time) {
				break
			}
			on <- struct{}{}
		}
	}
	close(on)
	if err := <-over; err != nil {
		t.Error(err)
	}
}

func TestFollowIsStopped(t *testing.T) {
	root := t.TempDir()
	record(t, open(t, root), started("r1", noon))
	ctx, stop := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	err := read(t, root).Follow(ctx, "r1", func(runtime.Event) { stop(why) })
	if !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if err := read(t, root).Follow(t.Context(), "r2", nil); err == nil || err.Error() != `follow run r2: there is no run "r2"` {
		t.Errorf("got %v", err)
	}
}

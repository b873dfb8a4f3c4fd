package journal

import (
	"context"
	"errors"
	"sync"
	"testing"

	"infra/runtime"
)

func TestManyWorkersRecordAtOnce(t *testing.T) {
	const workers, each = 64, 5
	root := t.TempDir()
	j := open(t, root)
	record(t, j, started("r1", noon))
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := range each {
				id := w*each + i + 1
				if err := errors.Join(j.Record(asked("r1", "switch", id)), j.Record(answered("r1", "switch", id))); err != nil {
					stop(err)
				}
			}
		})
	}
	group.Go(func() { // a reader neither waits nor makes anyone wait
		for range 20 {
			l, err := Read(root)
			if err != nil {
				stop(err)
				return
			}
			_, err = l.Run("r1")
			if err := errors.Join(err, l.Close()); err != nil {
				stop(err)
			}
		}
	})
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		t.Fatal(err)
	}
	run, err := read(t, root).Run("r1")
	if err != nil || run.Asked != workers*each || len(run.Steps[0].Ops) != workers*each {
		t.Fatalf("%d operations, %v", run.Asked, err)
	}
	for i, o := range run.Steps[0].Ops {
		if o.ID != i+1 || o.Status != runtime.OK {
			t.Errorf("operation %d is %d, %s", i+1, o.ID, o.Status)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	j := open(b, b.TempDir())
	record(b, j, started("r1", noon))
	id := 0
	for b.Loop() {
		id++
		if err := j.Record(asked("r1", "switch", id)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	root := b.TempDir()
	record(b, open(b, root), started("r1", noon))
	for b.Loop() {
		j, err := Open(root)
		if err != nil {
			b.Fatal(err)
		}
		if err := j.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

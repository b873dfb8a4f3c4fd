package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"infra/runtime"
	"infra/runtime/journal"
)

// Recording is measured as the engine does it: each worker records that an
// operation is asked for and, later, how it ended, and waits for the disk both
// times. The limit is for all operations together.
const (
	recordedOps    = 10_000
	recordWorkers  = 64
	recordingLimit = 1500 * time.Millisecond
)

// benchJournal measures what the journal adds to a run, on the disk of dir.
func benchJournal(_ context.Context, out io.Writer, dir string) error {
	many, err := recording(dir, recordWorkers, recordedOps, recordOne)
	if err != nil {
		return err
	}
	alone, err := recording(dir, 1, recordedOps/10, recordOne)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "\n| recorded on disk | wall | an operation |")
	fmt.Fprintln(out, "|---|---|---|")
	fmt.Fprintf(out, "| %d operations by %d workers | %.2f s | %.0f µs |\n", recordedOps, recordWorkers,
		many.Seconds(), many.Seconds()*1e6/recordedOps)
	fmt.Fprintf(out, "| %d operations by one | %.2f s | %.0f µs |\n", recordedOps/10,
		alone.Seconds(), alone.Seconds()*1e7/recordedOps)
	if many > recordingLimit {
		return fmt.Errorf("recording %d operations took %s, and should stay under %s", recordedOps, many.Round(time.Millisecond), recordingLimit)
	}
	return nil
}

// recording is how long it takes workers to record count things, each by
// record, in a new journal below dir.
func recording(dir string, workers, count int, record func(j *journal.Journal, id, worker int) error) (took time.Duration, err error) {
	root, err := os.MkdirTemp(dir, "journal-")
	if err != nil {
		return 0, err
	}
	j, err := journal.Open(root)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	begin := runtime.Event{Kind: runtime.RunStarted, Run: "bench", Time: time.Now(), Start: &runtime.RunStart{Plan: &runtime.Plan{Name: "bench"}}}
	if err := j.Record(begin); err != nil {
		return 0, err
	}
	failed := make([]error, workers)
	var group sync.WaitGroup
	started := time.Now()
	for w := range workers {
		group.Go(func() {
			for id := w + 1; id <= count && failed[w] == nil; id += workers {
				failed[w] = record(j, id, w)
			}
		})
	}
	group.Wait()
	return time.Since(started), errors.Join(failed...)
}

// recordOne records one operation of a step that its worker began long ago.
func recordOne(j *journal.Journal, id, worker int) error {
	host := fmt.Sprintf("h%d", worker)
	e := runtime.Event{Kind: runtime.OpAsked, Run: "bench", Step: "update", Host: host, Time: time.Now(), Op: &runtime.OpEvent{ID: id, Op: runtime.Op{
		Name: "ssh.run", Host: host, Effect: runtime.Change, Show: "systemctl restart nginx.service",
		Args: runtime.Args{"host": host, "argv": []string{"systemctl", "restart", "nginx.service"}, "timeout": nil},
	}}}
	if err := j.Record(e); err != nil {
		return err
	}
	e.Kind, e.Status, e.Took, e.Time = runtime.OpEnded, runtime.OK, time.Millisecond, time.Now()
	e.Op.Changed, e.Op.Output = true, "0001-ssh-run.log"
	e.Op.Result = []byte(`{"record":"command_result","stdout":"","stderr":"","code":0,"changed":true}`)
	return j.Record(e)
}

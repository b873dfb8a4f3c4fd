package journal

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"infra/runtime"
)

// helperEnv makes the test program record a run instead: "ROOT RUN COUNT".
const helperEnv = "INFRA_TEST_JOURNAL_RUN"

func TestMain(m *testing.M) {
	if job := os.Getenv(helperEnv); job != "" {
		if err := recordRun(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// recordRun records a run with count operations and prints each number once
// its operation is on disk.
func recordRun(job string) error {
	var root, run string
	var count int
	if _, err := fmt.Sscanf(job, "%q %s %d", &root, &run, &count); err != nil {
		return err
	}
	j, err := Open(root)
	if err != nil {
		return err
	}
	if err := j.Record(started(run, time.Now())); err != nil {
		return err
	}
	for id := range count {
		if err := j.Record(asked(run, "switch", id+1)); err != nil {
			return err
		}
		fmt.Println(id + 1)
		if err := j.Record(answered(run, "switch", id+1)); err != nil {
			return err
		}
	}
	if err := j.Record(ended(run, time.Now(), runtime.OK)); err != nil {
		return err
	}
	return j.Close()
}

// helper prepares a process that records a run.
func helper(t *testing.T, root, run string, count int) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%q %s %d", helperEnv, root, run, count))
	return c
}

// TestKilledProcessLosesNothing kills a recording process at several moments
// and finds every operation that it had been told is on disk.
func TestKilledProcessLosesNothing(t *testing.T) {
	root := t.TempDir()
	for _, after := range []int{1, 2, 17, 100} {
		run := fmt.Sprintf("killed-%d", after)
		known := killAfter(t, helper(t, root, run, 1_000_000), after)
		got, err := read(t, root).Run(run)
		if err != nil {
			t.Fatal(err)
		}
		ops := got.Steps[0].Ops
		if got.Status != Unfinished || len(ops) < known || len(ops) > known+1 {
			t.Errorf("%s: %s, %d operations are recorded, the process knew of %d", run, got.Status, len(ops), known)
		}
		for i, o := range ops {
			if o.ID != i+1 || (i < len(ops)-1 && o.Status != runtime.OK) {
				t.Errorf("%s: operation %d is %d, %s", run, i+1, o.ID, o.Status)
			}
		}
	}
	record(t, open(t, root), started("next", noon)) // and it can be gone on with
}

// killAfter kills c once it has printed the number after, and returns the last
// number that it printed.
func killAfter(t *testing.T, c *exec.Cmd, after int) int {
	t.Helper()
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	last := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		last, err = strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		if last == after {
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, _ = io.Copy(io.Discard, out)
	if err := c.Wait(); err == nil {
		t.Fatal("the process ended by itself")
	}
	return last
}

// TestProcessesRecordAtOnce starts from nothing, so that the processes also
// compete for making the journal.
func TestProcessesRecordAtOnce(t *testing.T) {
	const processes, count = 4, 50
	root := t.TempDir()
	var running []*exec.Cmd
	var said [processes]bytes.Buffer
	for i := range processes {
		c := helper(t, root, fmt.Sprintf("run-%d", i), count)
		c.Stderr = &said[i]
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, c)
	}
	for i, c := range running {
		if err := c.Wait(); err != nil {
			t.Errorf("process %d: %v: %s", i, err, said[i].String())
		}
	}
	runs, err := read(t, root).Runs(10)
	if err != nil || len(runs) != processes {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	for _, r := range runs {
		if r.Status != runtime.OK || r.Asked != count {
			t.Errorf("%s: %s with %d operations", r.ID, r.Status, r.Asked)
		}
	}
}

package journal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"infra/runtime"
)

// helperEnv makes the test program record a run instead: "ROOT RUN COUNT
// WORKERS".
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

// recordRun records a run with count operations, by so many workers, and prints
// each number once its operation is on disk.
func recordRun(job string) error {
	var root, run string
	var count, workers int
	if _, err := fmt.Sscanf(job, "%q %s %d %d", &root, &run, &count, &workers); err != nil {
		return err
	}
	j, err := Open(root)
	if err != nil {
		return err
	}
	if err := j.Record(started(run, time.Now())); err != nil {
		return err
	}
	errs := make([]error, workers)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for id := w + 1; id <= count && errs[w] == nil; id += workers {
				if errs[w] = j.Record(asked(run, "switch", id)); errs[w] == nil {
					fmt.Println(id)
					errs[w] = j.Record(answered(run, "switch", id))
				}
			}
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := j.Record(ended(run, time.Now(), runtime.OK)); err != nil {
		return err
	}
	return j.Close()
}

// helper prepares a process that records a run.
func helper(t *testing.T, root, run string, count, workers int) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%q %s %d %d", helperEnv, root, run, count, workers))
	return c
}

// TestKilledAtAnyMomentLosesNothing kills processes whose workers record at
// once, after a random number of operations and a random while more. Every
// operation of which Record had returned is there, and the chain is whole.
func TestKilledAtAnyMomentLosesNothing(t *testing.T) {
	const kills = 50
	root := t.TempDir()
	random := rand.New(rand.NewPCG(3, 4))
	recorded := 0
	for n := range kills {
		run := fmt.Sprintf("killed-%d", n)
		known := killSoon(t, helper(t, root, run, 1_000_000, 8), 1+random.IntN(60), time.Duration(random.IntN(3000))*time.Microsecond)
		got, err := read(t, root).Run(run)
		if err != nil {
			t.Fatal(err)
		}
		there := map[int]bool{}
		for _, o := range got.Steps[0].Ops {
			there[o.ID] = true
		}
		for _, id := range known {
			if !there[id] {
				t.Errorf("%s: operation %d was recorded and is not there", run, id)
			}
		}
		recorded += len(known)
	}
	p, err := read(t, root).Verify()
	if err != nil || p.Broken != nil {
		t.Errorf("%v, %v", p.Broken, err)
	}
	t.Logf("%d processes killed, %d operations recorded, %d records in the chain", kills, recorded, p.Entries)
}

// killSoon kills c a while after it has printed so many numbers, and returns
// all that it printed.
func killSoon(t *testing.T, c *exec.Cmd, after int, while time.Duration) (printed []int) {
	t.Helper()
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil { // half a line is none
			break
		}
		id, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		if printed = append(printed, id); len(printed) == after {
			time.AfterFunc(while, func() { _ = c.Process.Kill() })
		}
	}
	if err := c.Wait(); err == nil {
		t.Fatal("the process ended by itself")
	}
	return printed
}

// TestKilledProcessLosesNothing kills a recording process at several moments
// and finds every operation that it had been told is on disk.
func TestKilledProcessLosesNothing(t *testing.T) {
	root := t.TempDir()
	for _, after := range []int{1, 2, 17, 100} {
		run := fmt.Sprintf("killed-%d", after)
		known := killAfter(t, helper(t, root, run, 1_000_000, 1), after)
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
	if got := verified(t, root); got != "" {
		t.Error(got)
	}
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
		c := helper(t, root, fmt.Sprintf("run-%d", i), count, 4)
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
	if got := verified(t, root); got != "" {
		t.Error(got)
	}
}

package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"infra/runtime"
	"infra/runtime/journal"
)

// diskPlan counts what it does outside of the disk that fills up: each
// operation leaves a line in a file of its own. It has steps side by side, one
// that catches what fails, one that is tried again, outputs and words.
const diskPlan = `
def count(id):
    local.run("echo %s >> done-%s; seq 600" % (id, id))
    return "made " + id
def first(): return [count("first-%d" % i) for i in range(3)]
def left(_): return [count("left-%d" % i) for i in range(2)]
def right(_):
    caught = [attempt(lambda: count("right-%d" % i)).ok for i in range(2)]
    log("it caught what failed")
    return caught
def again(_):
    local.run("test -e once || ! touch once", repeatable = True)
    return count("again")
def last(_left, right, _again):
    if not all(right):
        fail("an operation failed")
    return count("last")
p = plan(steps = [step(first), step(left, needs = [first]), step(right, needs = [first]),
                  step(again, needs = [first], retries = 1), step(last, needs = [left, right, again])])
`

const diskOps = 3 + 2 + 2 + 1 + 1

// A fullDisk is a project whose .infra is a disk of its own.
type fullDisk struct {
	*testing.T
	root string
}

// newFullDisk makes a project with so much room for its journal.
func newFullDisk(t *testing.T, size int) *fullDisk {
	t.Helper()
	d := &fullDisk{t, t.TempDir()}
	d.write("infra.toml", "")
	d.write("a.star", diskPlan)
	dir := filepath.Join(d.root, ".infra")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.Itoa(size)); err != nil {
		t.Fatalf("mount a tmpfs: %v (this test must be run as root)", err)
	}
	t.Cleanup(func() {
		err := syscall.Unmount(dir, 0)
		// What another test starts has our files, until it is the other program.
		for end := time.Now().Add(patience); err == syscall.EBUSY && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			err = syscall.Unmount(dir, 0)
		}
		if err != nil {
			t.Errorf("something still has the journal open: %v", err)
		}
	})
	return d
}

func (d *fullDisk) write(name, text string) {
	d.Helper()
	if err := os.WriteFile(filepath.Join(d.root, name), []byte(text), 0o644); err != nil {
		d.Fatal(err)
	}
}

// makeSpace is the administrator who frees some.
func (d *fullDisk) makeSpace() {
	d.Helper()
	if err := syscall.Mount("", filepath.Join(d.root, ".infra"), "", syscall.MS_REMOUNT, "size=20m"); err != nil {
		d.Fatal(err)
	}
}

// infra runs the program in the project.
func (d *fullDisk) infra(args ...string) ran {
	d.Helper()
	cmd := exec.Command(quick(d.T, "infra"), args...)
	cmd.Dir = d.root
	stuck := time.AfterFunc(patience, func() {
		d.Errorf("infra %s hangs", strings.Join(args, " "))
		_ = cmd.Process.Kill()
	})
	defer stuck.Stop()
	return output(d.T, cmd)
}

// done is how often each operation was carried out.
func (d *fullDisk) done() map[string]int {
	d.Helper()
	files, err := filepath.Glob(filepath.Join(d.root, "done-*"))
	if err != nil {
		d.Fatal(err)
	}
	counts := map[string]int{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			d.Fatal(err)
		}
		counts[strings.TrimPrefix(filepath.Base(f), "done-")] = strings.Count(string(data), "\n")
	}
	return counts
}

// journal reads the last run, or nil where none has begun, and makes sure that
// the journal is whole.
func (d *fullDisk) journal() *journal.Run {
	d.Helper()
	ledger, err := journal.Read(d.root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		d.Fatal(err)
	}
	defer ledger.Close()
	proof, err := ledger.Verify()
	if err != nil || proof.Broken != nil {
		d.Fatalf("the journal is not whole: %v %v", proof.Broken, err)
	}
	if proof.Entries == 0 {
		return nil
	}
	run, err := ledger.Run("last")
	if err != nil {
		d.Fatal(err)
	}
	return &run
}

var countingOp = regexp.MustCompile(`echo ([a-z0-9-]+) >> done-`)

// asked are the counting operations that the journal has, and how each ended.
func asked(run *journal.Run) map[string]runtime.Status {
	ops := map[string]runtime.Status{}
	if run == nil {
		return ops
	}
	for _, s := range run.Steps {
		for _, op := range s.Ops {
			if m := countingOp.FindStringSubmatch(op.Show); m != nil {
				ops[m[1]] = op.Status
			}
		}
	}
	return ops
}

// TestTheDiskIsFullAtAnyWrite runs a plan with ever more room for its journal,
// until there is enough, and then with a little less: the run fails at the
// opening, at the last write, and at all that is between.
func TestTheDiskIsFullAtAnyWrite(t *testing.T) {
	t.Parallel()
	const page, limit = 4096, 1 << 20
	points, at := 0, map[string]int{}
	fits := func(size int) (enough bool) {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			d := newFullDisk(t, size)
			if points%8 != 0 { // waiting for another attempt takes a second
				d.write("once", "")
			}
			points++
			said := d.infra("run", "a.star")
			if enough = said.code == exitOK; enough {
				return
			}
			d.truthful(said)
			at[failedAt(said)]++
			d.goesOn()
		})
		return enough || t.Failed()
	}
	size := page
	for !fits(size) {
		if size > limit {
			t.Fatalf("the plan does not end on a disk of %d bytes", size)
		}
		if at["op_asked"] == 0 { // what there is one of is written first
			size += 3 * page
		} else {
			size += 5 * page
		}
	}
	// Steps that run side by side do not write the same every time: it is tried
	// until the last writes of all have failed.
	for n := 0; n < 60 && (at["step_ended"] == 0 || at["run_ended"] == 0) && !t.Failed(); n++ {
		fits(size - (n%8)*page)
	}
	t.Logf("%d points: %v", points, at)
	if points < 30 {
		t.Errorf("only %d points", points)
	}
	for _, want := range []string{"opening", "run_started", "step_started", "op_asked", "op_ended", "step_ended", "run_ended"} {
		if at[want] == 0 {
			t.Errorf("the disk was never full at %s", want)
		}
	}
}

var failedRecord = regexp.MustCompile(`error: .*: record ([a-z_]+) `)

// failedAt is the write that failed.
func failedAt(said ran) string {
	if m := failedRecord.FindAllStringSubmatch(said.stderr, -1); m != nil {
		return m[len(m)-1][1]
	}
	return "opening"
}

// truthful wants the words of a run that the disk ended to say so, and nothing
// to be done that is not in the journal.
func (d *fullDisk) truthful(said ran) {
	d.Helper()
	said.want(d.T, exitFailed, "full", "hint: free some space where "+filepath.Join(d.root, ".infra"))
	for _, never := range []string{"panic", "goroutine ", "ok in "} {
		if strings.Contains(said.stderr, never) {
			d.Errorf("it says %q:\n%s", never, said.stderr)
		}
	}
	d.makeSpace()
	ops := asked(d.journal())
	for id, n := range d.done() {
		if ops[id] == "" || n != 1 {
			d.Errorf("%s was done %d times, and the journal says %q", id, n, ops[id])
		}
	}
}

// goesOn is the administrator, who made space: the run is resumed, or run where
// it had not begun, and ends with every operation carried out exactly once.
func (d *fullDisk) goesOn() {
	d.Helper()
	args := []string{"resume"}
	if d.journal() == nil {
		args = []string{"run", "a.star"}
	}
	said := d.infra(args...)
	for n := 0; said.code == exitHeld && n < diskOps; n++ {
		held := countingOp.FindStringSubmatch(said.stderr)
		if held == nil || !strings.Contains(said.stderr, "was in flight") {
			d.Fatalf("it is held, and does not say by what:\n%s", said.stderr)
		}
		if d.done()[held[1]] != 1 {
			d.Errorf("%s is said to be in flight, and was not carried out", held[1])
		}
		said = d.infra("resume", "--in-flight=done")
	}
	said.want(d.T, exitOK)
	done := d.done()
	for id, n := range done {
		if n != 1 {
			d.Errorf("%s was carried out %d times", id, n)
		}
	}
	if run := d.journal(); len(done) != diskOps || run.Status != runtime.OK {
		d.Errorf("%d operations were carried out, and the run ended as %s: %v\n%s", len(done), run.Status, done, said.stderr)
	}
}

// output runs the program to its end.
func output(t *testing.T, cmd *exec.Cmd) ran {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

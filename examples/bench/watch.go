package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"infra/examples/lab/fleet"
)

const (
	watchedSaves = 200 // of the lab's plan
	manySaves    = 20  // of the plan of many hosts
	fewReloads   = 10  // after which the memory is what it is to stay
	manyReloads  = 1000
	idleFor      = 5 * time.Second

	// from the close of a save to the finished line
	watchedMedian = 60 * time.Millisecond
	watchedP99    = 150 * time.Millisecond
	manyMedian    = 400 * time.Millisecond

	idleMemory   = 60 << 20
	idleCPU      = 10 * time.Millisecond // of idleFor: the kernel counts no less
	reloadMemory = 1.1                   // beside that after fewReloads
)

// benchWatch measures how long after a save the preview of infra watch is there: for the
// lab's first Mac, with answers that are there already, and for many hosts. Every save
// changes an operation.
func benchWatch(ctx context.Context, out io.Writer, dir string) error {
	fmt.Fprint(out, "\n| infra watch, from the close of a save to the preview | saves | median | p99 | CPU of each | memory |\n|---|---|---|---|---|---|\n")
	lab := watchLab(ctx, out, dir)
	return errors.Join(lab, watchMany(ctx, out, dir))
}

// watchLab measures the plan of blackphos on the lab's fleet.
func watchLab(ctx context.Context, out io.Writer, dir string) (err error) {
	f, err := fleet.Up(ctx, fleet.Options{State: filepath.Join(dir, "watch-lab"), Net: fleet.RandomNet()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Down()) }()
	if err := f.CopyPlans(ctx, "plans"); err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", filepath.Join(f.Bin(), "clan"), "infra/examples/lab/clan")
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build a stand-in for clan: %w\n%s", err, said)
	}
	path := filepath.Join(f.Project(), "plans/lib/mac.star")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const where = "        keep_baseline(mac, found)\n"
	if !strings.Contains(string(text), where) {
		return fmt.Errorf("%s has another record than this was written for", path)
	}
	w := &watching{path: path, text: func(n int) string {
		return strings.Replace(string(text), where, where+fmt.Sprintf("        fs.write(\"docs/saves.md\", \"save %d\\n\")\n", n), 1)
	}}
	env, infra := append(os.Environ(), f.Env()...), filepath.Join(dir, "infra")
	args := []string{"--ssh-config", f.SSHConfig(), "--reads", "1h", "plans/blackphos.star"}
	if err := w.start(f.Project(), env, infra, args...); err != nil {
		return err
	}
	missed := errors.Join(w.measure(out), w.end())
	took, err := w.onTerminal(ctx, watchedSaves, f.Project(), env, infra, args...)
	if err != nil {
		return errors.Join(missed, err)
	}
	mid, slowest := took[len(took)/2], took[len(took)*99/100]
	fmt.Fprintf(out, "\nOn a terminal, to the last byte of the screen, %d such saves take %.1f ms, and %.1f ms at the 99th percentile.\n",
		len(took), mid.Seconds()*1000, slowest.Seconds()*1000)
	return errors.Join(missed,
		within("the median of previews of blackphos on a terminal", mid, watchedMedian),
		within("the 99th percentile of previews of blackphos on a terminal", slowest, watchedP99))
}

// measure tells all about the lab's plan.
func (w *watching) measure(out io.Writer) error {
	if _, err := w.saves(fewReloads); err != nil {
		return err
	}
	few, _, err := w.idle()
	if err != nil {
		return err
	}
	took, err := w.saves(watchedSaves)
	if err != nil {
		return err
	}
	each := w.each
	if _, err := w.saves(manyReloads - w.saved); err != nil {
		return err
	}
	many, cpu, err := w.idle()
	if err != nil {
		return err
	}
	mid, slowest := took[len(took)/2], took[len(took)*99/100]
	fmt.Fprintf(out, "| plans/blackphos.star of the lab, a save of a file that it loads | %d | %s | %.1f ms | %d MiB |\n", len(took), inMS(mid, slowest), each.Seconds()*1000, many>>20)
	fmt.Fprintf(out, "\nWith nothing to do it takes %s of the CPU in %s; after %d reloads it has %.2f times the memory that it had after %d.\n",
		cpu, idleFor, w.saved, float64(many)/float64(few), fewReloads)
	return errors.Join(
		within("the median of previews of blackphos", mid, watchedMedian),
		within("the 99th percentile of previews of blackphos", slowest, watchedP99),
		within("the CPU of infra watch that waits", cpu, idleCPU),
		missing(many > idleMemory, "infra watch that waits has %d MiB, and should stay under %d", many>>20, idleMemory>>20),
		missing(float64(many) > float64(few)*reloadMemory, "after %d reloads infra watch has %d MiB, and had %d after %d", w.saved, many>>20, few>>20, fewReloads))
}

// watchMany measures the plan of the dry runs, of which one operation changes.
func watchMany(ctx context.Context, out io.Writer, dir string) error {
	w := &watching{path: filepath.Join(dir, "watched.star")}
	w.text = func(n int) string {
		plan := strings.Replace(dryRunPlan(1000), "steps = steps()", "steps = steps() + [step(last)]", 1)
		return fmt.Sprintf("def last(): fs.write(\"out/last.txt\", \"save %d\\n\")\n%s", n, plan)
	}
	if err := os.WriteFile(w.path, []byte(w.text(0)), 0o644); err != nil {
		return err
	}
	if err := w.start(dir, os.Environ(), filepath.Join(dir, "infra"), "watched.star"); err != nil {
		return err
	}
	took, err := w.saves(manySaves)
	if err == nil {
		var memory int64
		memory, _, err = w.idle()
		mid, slowest := took[len(took)/2], took[len(took)*99/100]
		fmt.Fprintf(out, "| 1,000 hosts x 10 steps of local operations, one of which changes | %d | %s | %.1f ms | %d MiB |\n", len(took), inMS(mid, slowest), w.each.Seconds()*1000, memory>>20)
		err = errors.Join(err, within("the median of previews of 1,000 hosts x 10 steps", mid, manyMedian))
	}
	return errors.Join(err, w.end())
}

// A watching is infra watch --json, which looks at one file that is saved again and again.
type watching struct {
	path  string
	text  func(n int) string // of the file, for the save n
	saved int
	each  time.Duration // CPU of a preview among the last saves

	cmd    *exec.Cmd
	errs   strings.Builder
	stdout *bufio.Reader
}

// start starts it, and waits for its first preview.
func (w *watching) start(dir string, env []string, infra string, args ...string) error {
	w.cmd = exec.Command(infra, append([]string{"watch", "--json"}, args...)...)
	w.cmd.Dir, w.cmd.Env, w.cmd.Stderr = dir, env, &w.errs
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := w.cmd.Start(); err != nil {
		return err
	}
	w.stdout = bufio.NewReaderSize(stdout, 1<<20)
	if _, _, err := w.document(); err != nil {
		return errors.Join(err, w.end())
	}
	return nil
}

// document reads a preview, and says when it was there.
func (w *watching) document() (differs int, at time.Time, err error) {
	line, err := w.stdout.ReadBytes('\n')
	at = time.Now()
	if err != nil {
		return 0, at, fmt.Errorf("infra watch ended: %w\n%s", err, w.errs.String())
	}
	var doc struct {
		Status      string            `json:"status"`
		Differences []json.RawMessage `json:"differences"`
	}
	if err := json.Unmarshal(line, &doc); err != nil {
		return 0, at, err
	}
	if doc.Status != "ok" {
		return 0, at, fmt.Errorf("the preview is no good one: %s", line)
	}
	return len(doc.Differences), at, nil
}

// saves saves the file n times, each once the preview of the one before was there, and
// says how long each took, the shortest first.
func (w *watching) saves(n int) (took []time.Duration, err error) {
	before, err := timeOf(w.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	for range n {
		w.saved++
		if err := os.WriteFile(w.path, []byte(w.text(w.saved)), 0o644); err != nil {
			return nil, err
		}
		closed := time.Now()
		differs, at, err := w.document()
		if err != nil {
			return nil, err
		}
		if differs != 1 {
			return nil, fmt.Errorf("save %d of %s made %d differences, and should have made one", w.saved, w.path, differs)
		}
		took = append(took, at.Sub(closed))
	}
	slices.Sort(took)
	after, err := timeOf(w.cmd.Process.Pid)
	w.each = (after - before) / time.Duration(n)
	return took, err
}

// idle waits until it has nothing to do any more, and says what it takes then.
func (w *watching) idle() (memory int64, cpu time.Duration, err error) {
	time.Sleep(2 * time.Second) // it gives memory back after one
	before, err := timeOf(w.cmd.Process.Pid)
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(idleFor)
	after, err := timeOf(w.cmd.Process.Pid)
	return residentOf(w.cmd.Process.Pid), after - before, err
}

// end ends it, as a person does.
func (w *watching) end() error {
	if err := w.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, w.stdout)
	var failed *exec.ExitError
	if err := w.cmd.Wait(); err != nil && !(errors.As(err, &failed) && failed.ExitCode() == 130) {
		return fmt.Errorf("infra watch: %w\n%s", err, w.errs.String())
	}
	return nil
}

// timeOf is the time that a process had of the CPU.
func timeOf(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), ") ") // the name may hold anything
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var user, system int64 // in hundredths of a second
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, err
	}
	return time.Duration(user+system) * 10 * time.Millisecond, nil
}

// residentOf is what a process has in memory, with the program's own pages.
func residentOf(pid int) int64 {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	var kib int64
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			_, _ = fmt.Sscan(rest, &kib)
		}
	}
	return kib << 10
}

func inMS(mid, slowest time.Duration) string {
	return fmt.Sprintf("%.1f ms | %.1f ms", mid.Seconds()*1000, slowest.Seconds()*1000)
}

// within is the error of what takes longer than it should.
func within(what string, took, limit time.Duration) error {
	return missing(took > limit, "%s took %.1f ms, and should stay under %s", what, took.Seconds()*1000, limit)
}

func missing(is bool, format string, args ...any) error {
	if !is {
		return nil
	}
	return fmt.Errorf(format, args...)
}

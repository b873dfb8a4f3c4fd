package engine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/journal"
)

// crashPlan counts every time it is carried out, operation by operation: each
// leaves a line in a file of its own.
const crashPlan = `
hosts = [host("h%d" % i, system = "x86_64-linux") for i in range(3)]
def count(id):
    local.run("echo %s >> done-%s" % (id, id))
    return "made " + id
def first(): return [count("first-%d" % i) for i in range(4)]
def each(host, first):
    made = []
    for i in range(3):
        made.append(count("%s-%d" % (host.name, i)))
        fs.write("out/%s-%d" % (host.name, i), made[-1])
        if attempt(lambda: local.run("exit 3", repeatable = True)).ok:
            fail("it succeeded")
        if not fs.exists("out/%s-%d" % (host.name, i)):
            fail("it is not there")
    return struct(first = first[0], made = made)
def last(each):
    fs.write("out/last", json.encode({name: r.made + [r.first] for name, r in each.items()}))
    return count("last")
p = plan(hosts = hosts, steps = [step(first), step(each, each = hosts, needs = [first]), step(last, needs = [each])])
`

// TestMain is also the process that TestKilledWhileWriting kills, and those
// that resume what it left.
func TestMain(m *testing.M) {
	if root := os.Getenv("CRASH_ROOT"); root != "" {
		run := crashRun
		if os.Getenv("CRASH_UNDO") != "" {
			run = crashUndo
		}
		if err := run(root); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// crashOptions kill the process at an event, and put what was in flight to the
// person who is asked. events counts those that were shown.
func crashOptions(root string, events *int) Options {
	killAt, _ := strconv.Atoi(os.Getenv("CRASH_AT"))
	decide := func(_ context.Context, question string) (bool, error) { return looked(root, question), nil }
	return Options{Options: []byte("{}"), Decide: decide, Show: func(e runtime.Event) {
		if e.Kind == runtime.OpOutput || e.Kind == runtime.StepRestored {
			return // these are not written to the journal
		}
		if *events++; *events == killAt {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}}
}

// crashRun runs the plan in root, or resumes it, and kills itself at an event.
func crashRun(root string) error {
	events := 0
	opts := crashOptions(root, &events)
	e := New(root, builtins.All(builtins.Deps{Root: root}))
	read := e.Read
	if os.Getenv("CRASH_RESUME") != "" {
		past, err := lastRun(root)
		if err != nil {
			return err
		}
		opts.Past, read = past, e.Resume
	}
	ctx := context.Background()
	file, err := read(ctx, filepath.Join(root, "a.star"))
	if err != nil {
		return err
	}
	out, err := e.Run(ctx, file, opts)
	if err != nil || out.Status != runtime.OK {
		return fmt.Errorf("ended as %s, %w", out.Status, err)
	}
	fmt.Println("events", events)
	return nil
}

// looked is the person who is asked about a command that was in flight, and
// looks whether it left its line.
func looked(root, question string) bool {
	_, command, _ := strings.Cut(question, ">> ")
	file, asked, _ := strings.Cut(command, "\n")
	info, err := os.Stat(filepath.Join(root, file))
	return err == nil && info.Size() > 0 || asked == "Carry it out again?"
}

func lastRun(root string) (*journal.Run, error) {
	ledger, err := journal.Read(root)
	if err != nil {
		return nil, err
	}
	defer ledger.Close()
	run, err := ledger.Run("last")
	return &run, err
}

// crashed runs the child in root, and says whether it was killed.
func crashed(t *testing.T, root string, env ...string) (killed bool, said string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Dir = root // so that alone finds what it forked in its last moment
	cmd.Env = append(os.Environ(), append(env, "CRASH_ROOT="+root)...)
	out, err := cmd.CombinedOutput()
	alone(t, root)
	state := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if err != nil && !state.Signaled() {
		t.Fatalf("%v: %v\n%s", env, err, out)
	}
	return state.Signaled(), string(out)
}

// alone waits until no command that the child started is left.
func alone(t *testing.T, root string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		dirs, err := filepath.Glob("/proc/[0-9]*/cwd")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(dirs, func(dir string) bool { at, _ := os.Readlink(dir); return at == root }) {
			return
		}
		if time.Now().After(end) {
			t.Fatal("a command outlives the killed run")
		}
	}
}

// TestKilledWhileWriting kills a run at every fifth write to its journal, and once
// more while it is resumed. It then ends as a run that nobody disturbed, and
// everything that counts was done exactly once.
func TestKilledWhileWriting(t *testing.T) {
	undisturbed := crashProject(t)
	_, said := crashed(t, undisturbed)
	want := outcome(t, undisturbed)
	var events int
	if _, err := fmt.Sscanf(said[strings.Index(said, "events "):], "events %d", &events); err != nil || events < 90 {
		t.Fatalf("it had %d events: %s", events, said)
	}
	points := 0
	for at := 1; at < events; at += 5 { // the last event ends the run
		root := crashProject(t)
		if killed, said := crashed(t, root, "CRASH_AT="+strconv.Itoa(at)); !killed {
			t.Fatalf("it was not killed at %d: %s", at, said)
		}
		points++
		for again := 1 + at%7; !ended(t, root); again = 0 {
			if killed, _ := crashed(t, root, "CRASH_RESUME=1", "CRASH_AT="+strconv.Itoa(again)); killed {
				points++
			}
		}
		if got := outcome(t, root); !slices.Equal(got, want) {
			t.Fatalf("killed at %d, it ends with\n%s\nwant\n%s", at, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	t.Logf("%d kill points", points)
}

// ended says whether the journal has the run's good end.
func ended(t *testing.T, root string) bool {
	t.Helper()
	run, err := lastRun(root)
	if err != nil {
		t.Fatal(err)
	}
	return run.Status == runtime.OK
}

func crashProject(t *testing.T) string {
	t.Helper()
	root, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "a.star"), []byte(crashPlan), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

// outcome is every file that the plan made, with its content.
func outcome(t *testing.T, root string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "done-*"))
	if err != nil {
		t.Fatal(err)
	}
	more, _ := filepath.Glob(filepath.Join(root, "out", "*"))
	var all []string
	for _, f := range append(files, more...) {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, filepath.Base(f)+": "+string(data))
	}
	if len(all) != 4+3*3+1+3*3+1 {
		t.Errorf("there are %d files: %q", len(all), all)
	}
	return all
}

package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/journal"
)

// undo takes the last run of the trial's plan back.
func (t *trial) undo(opts Options) (Outcome, *runtime.Plan) {
	t.Helper()
	past, err := lastRun(t.root)
	if err != nil {
		t.Fatal(err)
	}
	e := New(t.root, builtins.All(builtins.Deps{Root: t.root}))
	file, err := e.Read(t.Context(), filepath.Join(t.root, "a.star"))
	if err != nil {
		t.Fatal(err)
	}
	if file, err = Undo(file, past); err != nil {
		t.Fatal(err)
	}
	t.events = nil
	opts.Show = func(ev runtime.Event) { t.events = append(t.events, ev) }
	out, err := e.Run(t.Context(), file, opts)
	if err != nil {
		t.Fatal(err)
	}
	return out, file.Plan
}

// started are the steps that started, in order.
func (t *trial) started() []string {
	var names []string
	for _, e := range t.events {
		if e.Kind == runtime.StepStarted {
			names = append(names, strings.TrimSpace(e.Step+" "+e.Host))
		}
	}
	return names
}

// An undo of a fan-out is one step of that name, host by host: each waits for
// what came after it on its host, or on all where a step gathered them.
func TestUndoGoesBackTheWayThatWasCome(t *testing.T) {
	tr := newTrial(t)
	tr.must(runtime.OK, fleet+`
def a(h): return h.name
def gather(a): return "all"
def b(h, _): return h.name
def c(h, _): return h.name
def back(h, result):
    nap()
    log(result)
def back_all(result): log(result)
p = plan(hosts = fleet, steps = [step(a, each = fleet, undo = back), step(gather, needs = [a]),
    step(b, each = fleet, needs = [gather], undo = back, locks = ["y"]), step(c, each = fleet, needs = [b], undo = back, parallel = 2, locks = ["x"])])
`, Options{})
	out, plan := tr.undo(Options{})
	if out.Status != runtime.OK || len(plan.Steps) != 18 || len(plan.Undoes.Left) != 0 {
		t.Fatalf("%s, %d steps, left %v", out.Status, len(plan.Steps), plan.Undoes.Left)
	}
	started := tr.started()
	for _, h := range []string{"h0", "h5"} {
		if slices.Index(started, "undo c "+h) > slices.Index(started, "undo b "+h) {
			t.Errorf("b was taken back before c: %q", started)
		}
	}
	if i := slices.IndexFunc(started, func(s string) bool { return strings.HasPrefix(s, "undo a") }); i != 12 {
		t.Errorf("a was taken back before b was on every host: %q", started)
	}
	for _, name := range []string{"undo b", "undo c"} {
		if got := tr.most(name); got != 1 {
			t.Errorf("%s: %d at once hold the lock", name, got)
		}
	}
	if shown := tr.events[0].Start.Steps; len(shown) != 3 || len(shown[2].Each) != 6 {
		t.Errorf("readers are told of %v", shown)
	}
	if got := tr.logged(); len(got) != 18 || !slices.Contains(got, "h3") {
		t.Errorf("undos got %q", got)
	}
}

// As many hosts are worked on at once as the step itself allows.
func TestUndoIsAsParallelAsItsStep(t *testing.T) {
	for _, want := range []int{1, 3} {
		tr := newTrial(t)
		tr.must(runtime.OK, fleet+fmt.Sprintf(`
def f(h): pass
def back(h, _): nap()
p = plan(hosts = fleet, steps = [step(f, each = fleet, undo = back, parallel = %d)])
`, want), Options{})
		tr.undo(Options{})
		if got := tr.most("undo f"); got != want {
			t.Errorf("%d at once, want %d", got, want)
		}
	}
}

// What was done and is not taken back is said: of a step without an undo, and
// of one that did not end well.
func TestUndoSaysWhatIsLeft(t *testing.T) {
	tr := newTrial(t)
	tr.must(runtime.Failed, fleet+`
def kept():
    local.run(["touch", "kept"])
    local.run(["true"], reads = True)
    attempt(lambda: local.run(["false"]))
def half(h):
    fs.write("half", "text")
    if h.name == "h1": local.run("exit 1")
def looked(): fail("it only looked, " + local.run(["true"], reads = True).stdout)
def undone(): local.run(["touch", "undone"])
p = plan(hosts = fleet, steps = [step(kept), step(half, each = fleet[:2], on_failure = "continue", parallel = 1), step(looked),
    step(undone, undo = lambda _: local.run(["rm", "undone"]) and None)])
`, Options{})
	out, plan := tr.undo(Options{})
	if out.Status != runtime.OK {
		t.Fatal(tr.ends())
	}
	var got []string
	for _, l := range plan.Undoes.Left {
		got = append(got, fmt.Sprintf("%s %s %s: %s", l.Step, l.Host, l.Status, strings.Join(l.Done, "; ")))
	}
	slices.Sort(got)
	want := []string{"half h0 ok: fs.write half (done)", "half h1 failed: local.run shell: exit 1 (failed)", "kept  ok: local.run touch kept (done)"}
	if !slices.Equal(got, want) {
		t.Errorf("left is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A plan with on_failure = "undo" starts nothing after a failure; what runs
// ends, and what was not started says why.
func TestAFailureStartsNothingWhereItIsUndone(t *testing.T) {
	tr := newTrial(t)
	tr.must(runtime.Failed, `
def bad(): fail("no disk")
def ends(): local.run("until test -e go; do sleep 0.02; done", reads = True)
def apart(_): pass
def after(_): pass
p = plan(on_failure = "undo", steps = [step(bad), step(ends, undo = lambda _: None), step(apart, needs = [ends]), step(after, needs = [bad])])
`, Options{Show: func(e runtime.Event) {
		if e.Kind != runtime.StepEnded || e.Step != "after" { // which is told once the failure is known
			return
		}
		if err := os.WriteFile(filepath.Join(tr.root, "go"), nil, 0o600); err != nil {
			t.Error(err)
		}
	}})
	for name, want := range map[string]string{
		"ends":  "ends ok",
		"apart": "apart skipped: not started, because bad failed, and the plan takes back what was done",
		"after": "after skipped: not started: it needs bad, which ended as failed",
	} {
		if got := tr.end(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// A dry run shows all steps: it foresees no failure, and takes nothing back.
func TestADryRunTakesNothingBack(t *testing.T) {
	tr := newPreview(t)
	tr.must(runtime.Failed, `
def bad(): fail("no disk")
def after(_): pass
def apart(): pass
p = plan(on_failure = "undo", steps = [step(bad, undo = lambda _: None), step(after, needs = [bad]), step(apart)])
`, Options{Jobs: 1})
	if got := tr.end("apart"); got != "apart ok" {
		t.Error(got)
	}
}

// What was not started names the step that it began with.
func TestSkippedNamesItsCause(t *testing.T) {
	tr := newTrial(t)
	tr.must(runtime.Failed, fleet+`
def a(h):
    if h.name == "h0": fail("no disk")
def b(h, _): pass
def c(b): pass
def d(_): pass
p = plan(hosts = fleet, steps = [step(a, each = fleet, canary = 1), step(b, each = fleet, needs = [a]), step(c, needs = [b]), step(d, needs = [c])])
`, Options{})
	for _, e := range tr.events {
		if e.Kind != runtime.StepEnded || e.Status != runtime.Skipped {
			continue
		}
		skipped, ok := e.Err.(*runtime.SkippedError)
		if !ok || skipped.Step != "a" || skipped.Host != "h0" || skipped.Ended != runtime.Failed {
			t.Errorf("%s %s: %v", e.Step, e.Host, e.Err)
		}
	}
	if got := tr.end("d"); got != "d skipped: not started: it needs c, which ended as skipped, since a on h0 ended as failed" {
		t.Error(got)
	}
}

// A pause before another attempt ends with the run, at once.
func TestAStopEndsThePauseOfARetry(t *testing.T) {
	tr := newTrial(t)
	stop, halt := context.WithCancelCause(t.Context())
	var said []string
	var paused time.Time
	out := tr.must(runtime.Interrupted, `
def flaky(): fail("not yet")
p = plan(steps = [step(flaky, retries = 9)])
`, Options{Stop: stop, Grace: time.Hour, Show: func(e runtime.Event) {
		if e.Kind != runtime.StepRetried {
			return
		}
		said = append(said, e.Text)
		if paused = time.Now(); len(said) == 2 {
			halt(runtime.ErrInterrupted)
		}
	}})
	if took := time.Since(paused); took > 2*time.Second { // as long as it would have paused
		t.Errorf("it ended as %s %s after the stop", out.Status, took)
	}
	if want := []string{"attempt 1 of 10 failed; again in 1s", "attempt 2 of 10 failed; again in 2s"}; !slices.Equal(said, want) {
		t.Errorf("it said %q", said)
	}
	if got := tr.end("flaky"); got != "flaky interrupted: not tried again: interrupted" {
		t.Error(got)
	}
}

const undoCrashPlan = `
hosts = [host("h%d" % i, system = "x86_64-linux") for i in range(2)]
def first(): return "first"
def each(h, _): return h.name
def back(name):
    local.run("echo x >> undone-" + name)
    local.run("echo x >> more-" + name)
def back_each(h, name): back(name)
p = plan(hosts = hosts, steps = [step(first, undo = back), step(each, each = hosts, needs = [first], undo = back_each)])
`

// crashUndo takes the run in root back, or goes on with that, and kills itself
// at an event.
func crashUndo(root string) error {
	opts := crashOptions(root, new(int))
	e := New(root, builtins.All(builtins.Deps{Root: root}))
	read := e.Read
	past, err := lastRun(root)
	if err != nil {
		return err
	}
	if os.Getenv("CRASH_RESUME") != "" {
		opts.Past, read = past, e.Resume
	}
	file, err := read(context.Background(), filepath.Join(root, "a.star"))
	if err != nil {
		return err
	}
	if past, err = firstRun(root); err != nil {
		return err
	}
	if file, err = Undo(file, past); err != nil {
		return err
	}
	out, err := e.Run(context.Background(), file, opts)
	if err != nil || out.Status != runtime.OK {
		return fmt.Errorf("ended as %s, %w", out.Status, err)
	}
	return nil
}

// firstRun is the oldest run in root.
func firstRun(root string) (*journal.Run, error) {
	ledger, err := journal.Read(root)
	if err != nil {
		return nil, err
	}
	defer ledger.Close()
	runs, err := ledger.Runs(10)
	if err != nil {
		return nil, err
	}
	run, err := ledger.Run(runs[len(runs)-1].ID)
	return &run, err
}

// TestKilledWhileUndoing kills an undo at every other write to its journal. It is then
// gone on with, and each thing is taken back exactly once.
func TestKilledWhileUndoing(t *testing.T) {
	points := 0
	for at := 1; ; at += 2 {
		tr := newTrial(t)
		tr.must(runtime.OK, undoCrashPlan, Options{Options: []byte("{}")})
		killed, _ := crashed(t, tr.root, "CRASH_UNDO=1", "CRASH_AT="+strconv.Itoa(at))
		if !killed {
			break
		}
		points++
		run, err := lastRun(tr.root)
		if err != nil || run.Title == "" {
			t.Fatalf("%+v, %v", run, err) // it is not the undo's own
		}
		if run.Status != runtime.OK { // it was killed after its end
			crashed(t, tr.root, "CRASH_UNDO=1", "CRASH_RESUME=1")
		}
		for _, name := range []string{"first", "h0", "h1"} {
			for _, what := range []string{"undone-", "more-"} {
				if got, err := os.ReadFile(filepath.Join(tr.root, what+name)); string(got) != "x\n" {
					t.Errorf("killed at %d, %s%s is %q, %v", at, what, name, got, err)
				}
			}
		}
	}
	if points < 10 {
		t.Errorf("it was killed at %d points only", points)
	}
	t.Logf("%d kill points", points)
}

package engine

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/interp"
	"infra/runtime/journal"
)

// observe observes the plan with opts, whose Options, Show and Pause it may fill in.
func (t *trial) observe(text string, opts Options) Outcome {
	t.Helper()
	path := filepath.Join(t.root, "a.star")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	e := New(t.root, builtins.All(builtins.Deps{Root: t.root}))
	file, err := e.Read(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	also := opts.Show
	opts.Options = []byte(`{"kind": "verify"}`)
	opts.Show = func(ev runtime.Event) {
		t.mu.Lock()
		t.events = append(t.events, ev)
		t.mu.Unlock()
		if also != nil {
			also(ev)
		}
	}
	if opts.Pause == 0 {
		opts.Pause = time.Millisecond
	}
	out, err := e.Verify(t.Context(), file, opts)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// observed is what the journal has of the observations that count.
func (t *trial) observed() (statuses []string) {
	t.Helper()
	ledger, err := journal.Read(t.root)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ledger.Close() }()
	err = ledger.Observations("p", func(o journal.Observation) bool {
		statuses = append(statuses, string(o.Status))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return statuses
}

// TestHowAnObservationEnds looks at plans whose checks hold or do not, in each way.
// fails(n) fails the first n times.
func TestHowAnObservationEnds(t *testing.T) {
	t.Parallel()
	const prelude = `
def tried(): return int(local.run("echo x >>tries; wc -l <tries", reads = True).stdout.strip())
def fails(n):
    k = tried()
    return struct(ok = k > n, detail = "try %d" % k)
def breaks(n):
    if tried() <= n: fail("not yet")
    return True
def forever(): local.run(["sleep", "1000"], reads = True)
def caught(): return attempt(forever) != 7
def spins():
    for i in range(1 << 40): pass
def acts(): local.run(["touch", "x"])
def step_(): local.run(["touch", "stepped"])
`
	tests := []struct {
		name, check string
		status      runtime.Status
		ends        string // of the check
		retries     int
	}{
		{"it holds", `lambda: fails(0)`, runtime.OK, "c ok", 0},
		{"it comes and goes", `lambda: fails(1)`, runtime.Failed, "c failed: flapping: failed 1 of 3 times: try 1", 2},
		{"it comes late", `lambda: fails(2)`, runtime.Failed, "c failed: flapping: failed 2 of 3 times: try 2", 2},
		{"it is down", `lambda: fails(9)`, runtime.Failed, "c failed: down: failed 3 of 3 times: try 3", 2},
		{"it says nothing", `lambda: False`, runtime.Failed, "c failed: down: failed 3 of 3 times: it does not hold", 2},
		{"it breaks", `lambda: breaks(1)`, runtime.Failed, "flapping: failed 1 of 3 times: not yet", 2},
		{"nobody requires it", `lambda: fails(9), required = False`, runtime.OK, "c warned: down: failed 3 of 3 times: try 3", 2},
		{"it takes too long", `forever, timeout = "30ms"`, runtime.Failed, "down: failed 3 of 3 times: local.run: the check's timeout of 30ms is over", 2},
		{"it catches that", `caught, timeout = "30ms"`, runtime.Failed, "the check's timeout of 30ms is over", 2},
		{"it computes too long", `spins, timeout = "30ms"`, runtime.Failed, "the check's timeout of 30ms is over", 2},
		{"it would act", `acts`, runtime.Failed, "local.run is a change, and a check only reads", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newTrial(t)
			out := tr.observe(prelude+"p = plan(steps = [step(step_)], checks = [check("+tt.check+`, name = "c")])`, Options{})
			if got := tr.end("c"); out.Status != tt.status || !strings.Contains(got, tt.ends) {
				t.Errorf("%s: %s", out.Status, got)
			}
			retries := 0
			for _, e := range tr.events {
				if e.Kind == runtime.StepRetried {
					retries++
				}
			}
			if retries != tt.retries {
				t.Errorf("%d retries, want %d", retries, tt.retries)
			}
			if got := tr.observed(); len(got) != 1 || got[0] != string(tt.status) {
				t.Errorf("recorded %q", got)
			}
			for _, name := range []string{"x", "stepped"} {
				if _, err := os.Stat(filepath.Join(tr.root, name)); err == nil {
					t.Errorf("it made %s", name)
				}
			}
		})
	}
}

// TestTheEvidenceIsKept finds in the journal what each try saw.
func TestTheEvidenceIsKept(t *testing.T) {
	t.Parallel()
	tr := newTrial(t)
	out := tr.observe(`
def c(): return "2" in local.run("echo x >>tries; wc -l <tries", reads = True).stdout
p = plan(checks = [check(c)])
`, Options{})
	ledger, err := journal.Read(tr.root)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ledger.Close() }()
	run, err := ledger.Run(out.Run)
	if err != nil || len(run.Steps) != 1 {
		t.Fatalf("%+v, %v", run, err)
	}
	s := run.Steps[0]
	if !s.Check || s.Attempts != 3 || len(s.Ops) != 3 || s.Ops[2].Attempt != 3 || !strings.Contains(string(s.Ops[1].Result), "2") ||
		s.Status != runtime.Failed || !strings.HasPrefix(s.Err, "flapping: failed 2 of 3 times") {
		t.Errorf("%+v", s)
	}
	if run.Call().Kind != journal.Observed || run.Changed > 0 {
		t.Errorf("%s, %d changes", run.Options, run.Changed)
	}
}

// TestARunTriesItsChecksOnce has the time of a check bound in runs too.
func TestARunTriesItsChecksOnce(t *testing.T) {
	t.Parallel()
	tr := newTrial(t)
	tr.must(runtime.Failed, `
def slow(): local.run(["sleep", "1000"], reads = True)
p = plan(checks = [check(slow, timeout = "30ms"), check(lambda: False, name = "no")])
`, Options{})
	for name, want := range map[string]string{"slow": "local.run: the check's timeout of 30ms is over", "no": "no failed"} {
		if got := tr.end(name); !strings.Contains(got, want) || strings.Contains(got, "times") {
			t.Error(got)
		}
	}
}

// TestChecksAreObservedSideBySide has two checks that wait for each other.
func TestChecksAreObservedSideBySide(t *testing.T) {
	t.Parallel()
	tr := newTrial(t)
	out := tr.observe(`
def meet(mine, other): local.run("touch %s; until [ -e %s ]; do sleep .01; done" % (mine, other), reads = True); return True
p = plan(checks = [check(lambda: meet("a", "b"), name = "one"), check(lambda: meet("b", "a"), name = "two")])
`, Options{})
	if out.Status != runtime.OK {
		t.Error(tr.ends())
	}
}

// TestAnInterruptedObservationDoesNotCount asks it to stop while a check looks, and
// before it looks again.
func TestAnInterruptedObservationDoesNotCount(t *testing.T) {
	t.Parallel()
	const plan = `
def bad(): fail("no")
def slow(): local.run(["sleep", "1000"], reads = True)
p = plan(checks = [check(%), check(lambda: True, name = "good")])
`
	for check, at := range map[string]runtime.EventKind{"slow": runtime.OpAsked, "bad": runtime.StepRetried} {
		t.Run(string(at), func(t *testing.T) {
			t.Parallel()
			tr := newTrial(t)
			stop, halt := context.WithCancelCause(t.Context())
			out := tr.observe(strings.Replace(plan, "%", check, 1), Options{Stop: stop, Pause: time.Hour, Show: func(e runtime.Event) {
				if e.Kind == at {
					halt(runtime.ErrInterrupted)
				}
			}})
			if got := tr.end(check); out.Status != runtime.Interrupted || !strings.HasPrefix(got, check+" interrupted") {
				t.Errorf("%s: %s", out.Status, got)
			}
			if got := tr.observed(); len(got) > 0 {
				t.Errorf("it counts as %q", got)
			}
		})
	}
}

// TestAnObservationWaitsForNobody looks while a run of the same plan goes on, which
// holds every lock that it can.
func TestAnObservationWaitsForNobody(t *testing.T) {
	t.Parallel()
	tr, other := newTrial(t), newTrial(t)
	other.root = tr.root
	const plan = `
h = host("h", system = "x86_64-linux")
def work(): local.run("touch begun; until [ -e go ]; do sleep .01; done")
p = plan(hosts = [h], steps = [step(work, locks = ["l"])], checks = [check(lambda h: fs.exists("begun"), name = "c", host = h)])
`
	begun, ended := make(chan bool), make(chan Outcome)
	go func() {
		out, err := other.run(plan, Options{Show: func(e runtime.Event) {
			if e.Kind == runtime.OpAsked && e.Step == "work" {
				close(begun)
			}
		}})
		if err != nil {
			t.Error(err)
		}
		ended <- out
	}()
	<-begun
	if err := os.WriteFile(filepath.Join(tr.root, "begun"), nil, 0o644); err != nil {
		t.Error(err)
	}
	if out := tr.observe(plan, Options{}); out.Status != runtime.OK {
		t.Error(tr.ends())
	}
	if err := os.WriteFile(filepath.Join(tr.root, "go"), nil, 0o644); err != nil {
		t.Error(err)
	}
	if out := <-ended; out.Status != runtime.OK {
		t.Error(other.ends())
	}
}

// TestWhatTakesTooLongHasFailed has what a check called say no more than that it was
// ended, or nothing at all.
func TestWhatTakesTooLongHasFailed(t *testing.T) {
	t.Parallel()
	stopped, stop := context.WithCancelCause(t.Context())
	stop(runtime.ErrInterrupted)
	ctx, cancel := (&task{check: &runtime.Check{Timeout: time.Nanosecond}}).bound(t.Context())
	defer cancel()
	<-ctx.Done()
	for _, tt := range []struct {
		name   string
		err    error
		stop   context.Context
		status runtime.Status
	}{
		{"nothing", nil, t.Context(), runtime.Failed},
		{"that it was ended", context.Canceled, t.Context(), runtime.Failed},
		{"that, at a place", &interp.Failure{Msg: "ssh.run: cut off", Err: context.Canceled}, t.Context(), runtime.Failed},
		{"that, and it was told to", &interp.Failure{Msg: "ssh.run: cut off", Err: context.Canceled}, stopped, runtime.Interrupted},
	} {
		err := (&run{stop: tt.stop}).overdue(ctx, &task{check: &runtime.Check{}}, tt.err)
		if got := verdict(err); got != tt.status || got == runtime.Failed && !strings.Contains(err.Error(), "the check's timeout of ") {
			t.Errorf("%s: %s, %v", tt.name, got, err)
		}
	}
}

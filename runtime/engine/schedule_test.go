package engine

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"infra/runtime"
)

func TestParallelBoundsAFanOut(t *testing.T) {
	for _, tt := range []struct {
		option string
		jobs   int
		want   int
	}{{"parallel = 2", 0, 2}, {"", 3, 3}, {"", 0, 6}} {
		tr := newTrial(t)
		tr.must(runtime.OK, fleet+"def f(host): nap()\np = plan(hosts = fleet, steps = [step(f, each = fleet, "+tt.option+")])", Options{Jobs: tt.jobs})
		if got := tr.most("f"); got != tt.want {
			t.Errorf("%q with %d jobs: %d at once, want %d", tt.option, tt.jobs, got, tt.want)
		}
	}
}

func TestStepsThatShareALockTakeTurns(t *testing.T) {
	tr := newTrial(t)
	tr.must(runtime.OK, fleet+`
p = plan(steps = [step(nap, name = "a", locks = ["x"]), step(nap, name = "b", locks = ["y", "x"]), step(nap, name = "c", locks = ["z"])])
`, Options{})
	if got := tr.most("a", "b"); got != 1 {
		t.Errorf("%d steps held one lock", got)
	}
	if got := tr.most("a", "b", "c"); got != 2 {
		t.Errorf("%d steps ran at once, want 2", got)
	}
}

func TestTheCanaryGoesFirst(t *testing.T) {
	plan := fleet + `
def ready(host): %s
def f(host, _): %s
p = plan(hosts = fleet, steps = [step(ready, each = fleet), step(f, needs = [ready], each = fleet, canary = 1, on_failure = "continue")])
`
	t.Run("and the others after it succeeded, even when it is ready last", func(t *testing.T) {
		tr := newTrial(t)
		tr.must(runtime.OK, fmt.Sprintf(plan, `nap() if host.name == "h0" else None`, "pass"), Options{})
		for _, e := range tr.events {
			if e.Step == "f" {
				if e.Host != "h0" {
					t.Errorf("%s came first", e.Host)
				}
				return
			}
		}
	})
	for _, bad := range []string{`fail("no") if host.name == "h0" else None`} {
		for _, body := range []string{fmt.Sprintf(plan, "pass", bad), fmt.Sprintf(plan, bad, "pass")} {
			tr := newTrial(t)
			tr.must(runtime.Failed, body, Options{})
			for _, e := range tr.events {
				if e.Step == "f" && e.Kind == runtime.StepStarted && e.Host != "h0" {
					t.Errorf("%s started after the canary failed", e.Host)
				}
			}
		}
	}
}

// TestTheOwnMachineGoesLast: alone, when all others have succeeded, in runs and in
// previews, and as a canary only where every host is one.
func TestTheOwnMachineGoesLast(t *testing.T) {
	here := Options{Here: func(_ context.Context, h *runtime.Host) bool { return h.Name == "h1" }}
	for _, tt := range []struct {
		name, ready, body, options string
		dry                        bool
		failed                     bool
		want                       string // how it ends on h1; "" is well
	}{
		{name: "although it is ready first", ready: `nap() if host.name != "h1" else None`, body: "nap()"},
		{name: "in a preview", ready: "pass", body: "nap()", dry: true},
		{name: "one by one", ready: "pass", body: "pass", options: ", parallel = 1"},
		{name: "behind the canary", ready: "pass", body: "nap()", options: ", canary = 2"},
		{name: "as the last of many canaries", ready: "pass", body: "nap()", options: ", canary = 6"},
		{name: "after a failure", ready: "pass", body: `fail("no") if host.name == "h4" else nap()`, failed: true,
			want: "f h1 skipped: not started, because f did not succeed on h4"},
		{name: "after a failure that stops no other", ready: "pass", body: `fail("no") if host.name == "h4" else nap()`, options: `, on_failure = "continue"`, failed: true,
			want: "f h1 skipped: not started, because f did not succeed on h4, and the machine that infra runs on goes last"},
		{name: "after one that was not even started", ready: `fail("no") if host.name == "h4" else None`, body: "nap()", options: `, on_failure = "continue"`, failed: true,
			want: "f h1 skipped: not started: it needs ready on h1, which ended as skipped, since ready on h4 ended as failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr, want := newTrial(t), runtime.OK
			tr.dry = tt.dry
			if tt.failed {
				want = runtime.Failed
			}
			tr.must(want, fleet+fmt.Sprintf(`
def ready(host): %s
def f(host, _): %s
p = plan(hosts = fleet, steps = [step(ready, each = fleet, on_failure = "continue"), step(f, needs = [ready], each = fleet%s)])
`, tt.ready, tt.body, tt.options), here)
			if got := tr.end("f h1"); got != cmp.Or(tt.want, "f h1 ok") {
				t.Errorf("got %s", got)
			}
			left := 5
			for _, e := range tr.events {
				switch {
				case e.Step != "f":
				case e.Kind == runtime.StepEnded && e.Host != "h1":
					left--
				case e.Kind == runtime.StepStarted && e.Host == "h1" && left > 0:
					t.Errorf("it started while %d others had not ended", left)
				}
			}
		})
	}
}

func TestACanarysStoppedPreviewStopsNoOther(t *testing.T) {
	tr := newPreview(t)
	out := tr.must(runtime.OK, fleet+`
def f(host): return [l for l in local.run(["true"]).lines()]
p = plan(hosts = fleet, steps = [step(f, each = fleet, canary = 1)])
`, Options{})
	if out.Totals.Steps[runtime.Stopped] != 6 {
		t.Errorf("previewed %v", out.Totals.Steps)
	}
}

func TestAFailureStopsWhatNeedsIt(t *testing.T) {
	plan := fleet + `
def f(host):
    if host.name == "h2": fail("no disk")
def g(host, _): pass
def sum(f): pass
def apart(): pass
p = plan(hosts = fleet, steps = [
    step(f, each = fleet, parallel = 1, on_failure = "%s"), step(g, each = fleet, needs = [f]), step(sum, needs = [f]), step(apart)])
`
	t.Run("stop", func(t *testing.T) {
		tr := newTrial(t)
		out := tr.must(runtime.Failed, fmt.Sprintf(plan, "stop"), Options{})
		if got := tr.end("f h2"); got != "f h2 failed: a.star:6:27: no disk" {
			t.Error(got)
		}
		if got := tr.end("f h3"); got != "f h3 skipped: not started, because f did not succeed on h2" {
			t.Error(got)
		}
		if got := tr.end("sum"); !strings.Contains(got, "skipped: not started: it needs f on h") {
			t.Error(got)
		}
		want := map[runtime.Status]int{runtime.OK: 2 + 2 + 1, runtime.Failed: 1, runtime.Skipped: 3 + 4 + 1}
		if fmt.Sprint(out.Totals.Steps) != fmt.Sprint(want) {
			t.Errorf("totals are %v, want %v", out.Totals.Steps, want)
		}
	})
	t.Run("continue", func(t *testing.T) {
		tr := newTrial(t)
		out := tr.must(runtime.Failed, fmt.Sprintf(plan, "continue"), Options{})
		want := map[runtime.Status]int{runtime.OK: 5 + 5 + 1, runtime.Failed: 1, runtime.Skipped: 1 + 1}
		if fmt.Sprint(out.Totals.Steps) != fmt.Sprint(want) {
			t.Errorf("totals are %v, want %v: %q", out.Totals.Steps, want, tr.ends())
		}
	})
}

func TestAQuestionHoldsItsStep(t *testing.T) {
	plan := `
def wipe(): local.run(["touch", "wiped"])
def after(_): pass
def apart(): pass
p = plan(steps = [step(wipe, confirm = "Wipe it?"), step(after, needs = [wipe]), step(apart)])
`
	for _, tt := range []struct {
		name string
		ask  func(context.Context, string) (bool, error)
		want runtime.Status
	}{
		{"yes", func(context.Context, string) (bool, error) { return true, nil }, runtime.OK},
		{"no", func(context.Context, string) (bool, error) { return false, nil }, runtime.Held},
		{"nobody", nil, runtime.Held},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrial(t)
			tr.must(tt.want, plan, Options{Ask: tt.ask})
			_, err := os.Stat(filepath.Join(tr.root, "wiped"))
			if wiped := err == nil; wiped != (tt.want == runtime.OK) {
				t.Errorf("wiped is %v", wiped)
			}
			if got := tr.end("apart"); got != "apart ok" {
				t.Error(got)
			}
		})
	}
}

func TestATimeoutEndsTheStep(t *testing.T) {
	tr := newTrial(t)
	started := time.Now()
	tr.must(runtime.Failed, `
def slow(): local.run(["sleep", "61"])
p = plan(steps = [step(slow, timeout = "100ms")])
`, Options{})
	if got := tr.end("slow"); !strings.Contains(got, "the step's timeout of 100ms is over") {
		t.Error(got)
	}
	if time.Since(started) > 30*time.Second {
		t.Error("it waited for the command")
	}
}

func TestRetriesRunAFailedStepAgain(t *testing.T) {
	tr := newTrial(t)
	tr.must(runtime.OK, `
def flaky():
    local.run("echo done >> count")
    fs.write("note", "text")
    local.run("test -e once || { touch once; exit 1; }", repeatable = True)
    if local.run(["wc", "-l", "count"], reads = True).stdout.split()[0] != "1":
        fail("it was repeated")
p = plan(steps = [step(flaky, retries = 1)])
`, Options{})
	retried := slices.ContainsFunc(tr.events, func(e runtime.Event) bool {
		return e.Kind == runtime.StepRetried && e.Text == "attempt 1 of 2 failed; again in 1s"
	})
	if !retried {
		t.Errorf("no attempt was reported: %v", tr.events)
	}
}

func TestNothingIsRepeatedThatMayDoHarm(t *testing.T) {
	tr := newTrial(t)
	tr.must(runtime.Failed, `
def harmful(): local.run("echo done >> count; exit 1")
p = plan(steps = [step(harmful, retries = 3)])
`, Options{})
	if done, err := os.ReadFile(filepath.Join(tr.root, "count")); err != nil || string(done) != "done\n" {
		t.Errorf("it was done as often: %q, %v", done, err)
	}
	if got := tr.end("harmful"); !strings.Contains(got, "retries repeat only what may be repeated") {
		t.Error(got)
	}
}

func TestAStopStartsNothingNew(t *testing.T) {
	stop, cancel := context.WithCancelCause(t.Context())
	tr := newTrial(t)
	tr.must(runtime.Interrupted, `
def first():
    local.run("sleep 0.2; touch first")
    local.run("touch second")
def next(_): pass
p = plan(steps = [step(first), step(next, needs = [first])])
`, Options{Stop: stop, Grace: time.Minute, Show: func(e runtime.Event) {
		if e.Kind == runtime.OpAsked {
			cancel(runtime.ErrInterrupted)
		}
	}})
	if _, err := os.Stat(filepath.Join(tr.root, "first")); err != nil {
		t.Error("the running operation was not let end")
	}
	if _, err := os.Stat(filepath.Join(tr.root, "second")); err == nil {
		t.Error("another operation was started")
	}
	if got := tr.end("next"); got != "next interrupted: not started: interrupted" {
		t.Error(got)
	}
}

func TestTheGracePeriodEnds(t *testing.T) {
	stop, cancel := context.WithCancelCause(t.Context())
	tr := newTrial(t)
	started := time.Now()
	tr.must(runtime.Interrupted, `
def slow(): local.run(["sleep", "62"])
p = plan(steps = [step(slow)])
`, Options{Stop: stop, Grace: 50 * time.Millisecond, Show: func(e runtime.Event) {
		if e.Kind == runtime.OpAsked {
			cancel(runtime.ErrInterrupted)
		}
	}})
	if time.Since(started) > 30*time.Second {
		t.Error("it waited for the command")
	}
}

func TestSelection(t *testing.T) {
	plan := `
def a(): pass
def b(a): pass
def c(): pass
p = plan(steps = [step(c), step(b, needs = [a]), step(a)], checks = [check(lambda: False, name = "no")])
`
	tr := newTrial(t)
	tr.must(runtime.OK, plan, Options{Steps: []string{"b"}})
	if got := strings.Join(tr.ends(), "; "); got != "a ok; b ok" {
		t.Error(got)
	}
	for _, opts := range []Options{{Steps: []string{"x"}}, {Hosts: []string{"x"}}} {
		if _, err := newTrial(t).run(plan, opts); err == nil || runtime.HintOf(err) == "" {
			t.Errorf("%v: got %v", opts, err)
		}
	}
}

func TestThousandsOfSteps(t *testing.T) {
	tr := newPreview(t)
	out := tr.must(runtime.OK, `
hosts = [host("h%d" % i, system = "x86_64-linux") for i in range(1000)]
def f0(host): return 0
def f1(host, n): return n + 1
s0 = step(f0, each = hosts)
s1 = step(f1, name = "s1", each = hosts, needs = [s0])
s2 = step(f1, name = "s2", each = hosts, needs = [s1], parallel = 7)
s3 = step(f1, name = "s3", each = hosts, needs = [s2], canary = 3)
p = plan(hosts = hosts, steps = [s0, s1, s2, s3])
`, Options{})
	if out.Totals.Steps[runtime.OK] != 4000 {
		t.Error(out.Totals.Steps)
	}
}

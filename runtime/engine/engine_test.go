package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/journal"
)

// A trial is one run of a plan given as text, in a project of its own.
type trial struct {
	*testing.T
	root   string
	mu     sync.Mutex
	events []runtime.Event
}

func newTrial(t *testing.T) *trial { return &trial{T: t, root: t.TempDir()} }

// run runs the plan with opts, whose Show and Stop it may fill in.
func (t *trial) run(text string, opts Options) (Outcome, error) {
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
	opts.Show = func(ev runtime.Event) {
		t.mu.Lock()
		t.events = append(t.events, ev)
		t.mu.Unlock()
		if also != nil {
			also(ev)
		}
	}
	return e.Run(t.Context(), file, opts)
}

// must runs the plan and wants it to end with status.
func (t *trial) must(status runtime.Status, text string, opts Options) Outcome {
	t.Helper()
	out, err := t.run(text, opts)
	if err != nil {
		t.Fatal(err)
	}
	if out.Status != status {
		t.Fatalf("ended as %s, want %s: %s", out.Status, status, strings.Join(t.ends(), "; "))
	}
	return out
}

// logged returns what the plan said, in order.
func (t *trial) logged() []string {
	var lines []string
	for _, e := range t.events {
		if e.Kind == runtime.Logged {
			lines = append(lines, e.Text)
		}
	}
	return lines
}

// ends returns how each step and check ended: "name host status: why".
func (t *trial) ends() []string {
	var ends []string
	for _, e := range t.events {
		if e.Kind != runtime.StepEnded {
			continue
		}
		s := strings.Join(strings.Fields(fmt.Sprint(e.Step, " ", e.Host, " ", e.Status)), " ")
		if e.Err != nil {
			s += ": " + e.Err.Error()
		}
		ends = append(ends, s)
	}
	return ends
}

func (t *trial) end(name string) string {
	t.Helper()
	for _, s := range t.ends() {
		if strings.HasPrefix(s, name+" ") {
			return s
		}
	}
	t.Fatalf("%s did not end: %q", name, t.ends())
	return ""
}

// most is how many of the named steps ran at once.
func (t *trial) most(names ...string) int {
	most, now := 0, 0
	for _, e := range t.events {
		if !slices.Contains(names, e.Step) {
			continue
		}
		switch {
		case e.Kind == runtime.StepStarted:
			now++
		case e.Kind == runtime.StepEnded && e.Status == runtime.OK:
			now--
		}
		most = max(most, now)
	}
	return most
}

const fleet = `
fleet = [host("h" + str(i), system = "x86_64-linux") for i in range(6)]
def nap(): local.run(["sleep", "0.05"], reads = True)
`

func TestResultsAreHandedOn(t *testing.T) {
	tr := newTrial(t)
	tr.must(runtime.OK, fleet+`
def one(): return {"n": 1, "t": (2, [3])}
def each_(host): return host.name + "!"
def again(host, mine, one): return mine + str(one["n"])
def all_(again): log(again["h0"] + " " + again["h5"] + " " + ",".join(again.keys()))
p = plan(hosts = fleet, steps = [
    step(all_, needs = [again]), step(again, each = fleet, needs = [each_, one]), step(each_, each = fleet), step(one)])
`, Options{})
	if got := tr.logged(); len(got) != 1 || got[0] != "h0!1 h5!1 h0,h1,h2,h3,h4,h5" {
		t.Errorf("logged %q", got)
	}
}

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

func TestACanarysStoppedPreviewStopsNoOther(t *testing.T) {
	tr := newTrial(t)
	out := tr.must(runtime.OK, fleet+`
def f(host): return local.run(["true"]).stdout
p = plan(hosts = fleet, steps = [step(f, each = fleet, canary = 1)])
`, Options{DryRun: true})
	if out.Totals.Steps[runtime.Stopped] != 6 {
		t.Errorf("previewed %v", out.Totals.Steps)
	}
}

func TestResultsCannotBeChanged(t *testing.T) {
	tr := newTrial(t)
	tr.must(runtime.Failed, `
def one(): return [1]
def two(xs): xs.append(2)
p = plan(steps = [step(one), step(two, needs = [one])])
`, Options{})
	if got := tr.end("two"); !strings.Contains(got, "frozen list") {
		t.Error(got)
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
def flaky(): local.run("test -e once || { touch once; exit 1; }")
p = plan(steps = [step(flaky, retries = 1)])
`, Options{})
	retried := slices.ContainsFunc(tr.events, func(e runtime.Event) bool {
		return e.Kind == runtime.StepRetried && e.Text == "attempt 1 of 2 failed; again in 1s"
	})
	if !retried {
		t.Errorf("no attempt was reported: %v", tr.events)
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

func TestChecksRunWhenTheStepsAreDone(t *testing.T) {
	plan := `
def f(): %s
p = plan(steps = [step(f)], checks = [
    check(lambda: True, name = "good"),
    check(lambda: struct(ok = False, detail = "3 of 4"), name = "bad", required = %s),
    check(lambda: local.run(["touch", "x"]), name = "acts", required = False),
])
`
	t.Run("a required one fails the plan", func(t *testing.T) {
		tr := newTrial(t)
		out := tr.must(runtime.Failed, fmt.Sprintf(plan, "pass", "True"), Options{})
		if fmt.Sprint(out.Totals.Checks) != "map[failed:1 ok:1 warned:1]" {
			t.Error(out.Totals.Checks)
		}
		if got := tr.end("acts"); !strings.Contains(got, "local.run is a change, and a check only reads") {
			t.Error(got)
		}
		if _, err := os.Stat(filepath.Join(tr.root, "x")); err == nil {
			t.Error("a check changed something")
		}
	})
	t.Run("an optional one does not", func(t *testing.T) {
		newTrial(t).must(runtime.OK, fmt.Sprintf(plan, "pass", "False"), Options{})
	})
	t.Run("none runs after a failure", func(t *testing.T) {
		out := newTrial(t).must(runtime.Failed, fmt.Sprintf(plan, `fail("no")`, "True"), Options{})
		if len(out.Totals.Checks) != 0 {
			t.Error(out.Totals.Checks)
		}
	})
}

func TestAPlanChangesOnlyItsHosts(t *testing.T) {
	plan := fleet + `
def f(host): ssh.run(%s, ["true"])
p = plan(hosts = fleet[:2], steps = [step(f, each = fleet[:2])])
`
	t.Run("not one that it does not list", func(t *testing.T) {
		tr := newTrial(t)
		tr.must(runtime.Failed, fmt.Sprintf(plan, "fleet[5]"), Options{})
		if got := tr.end("f h0"); !strings.Contains(got, "ssh.run would change h5, which the plan does not list") {
			t.Error(got)
		}
	})
	t.Run("not one that was not chosen", func(t *testing.T) {
		tr := newTrial(t)
		out := tr.must(runtime.Failed, fmt.Sprintf(plan, "fleet[1]"), Options{Hosts: []string{"h0"}})
		if got := tr.end("f h0"); !strings.Contains(got, "ssh.run would change h1, which was not chosen") || len(out.Totals.Steps) != 1 {
			t.Error(got, out.Totals.Steps)
		}
	})
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

func TestADryRunChangesNothing(t *testing.T) {
	tr := newTrial(t)
	out := tr.must(runtime.OK, `
def write(): return fs.write("x", "text").changed
def command(): return local.run(["touch", "y"])
def decide(r):
    if r.code == 0 and r.stdout == "x": fs.write("z", "")
def after(_): pass
def ask(): return fs.exists("x")
p = plan(steps = [step(write), step(command), step(decide, needs = [command]), step(after, needs = [decide]), step(ask, confirm = "sure?")],
    checks = [check(lambda: False, name = "no")])
`, Options{DryRun: true})
	entries, _ := os.ReadDir(tr.root)
	if len(entries) != 1 {
		t.Errorf("the project holds %v", entries)
	}
	if got := tr.end("decide"); got != "decide stopped: a.star:5:25: stdout is not known in a dry run (known after local.run, a.star:3)" {
		t.Error(got)
	}
	if got := tr.end("after"); got != "after skipped: not previewed: it needs decide, whose preview could not go on" {
		t.Error(got)
	}
	if fmt.Sprint(out.Totals.Verdicts) != fmt.Sprint(map[runtime.Verdict]int{runtime.WillChange: 2}) {
		t.Error(out.Totals.Verdicts)
	}
}

func TestAPreviewKnowsWhatItsReadsComeBefore(t *testing.T) {
	tr := newTrial(t)
	out := tr.must(runtime.OK, `
def build():
    fs.read("a.star")
    fs.write("note", "text")
    fs.exists("note")
    fs.read("note")
    fs.write("never-previewed", "")
p = plan(steps = [step(build)])
`, Options{DryRun: true})
	var notes []string
	for _, e := range tr.events {
		if e.Kind == runtime.OpEnded {
			notes = append(notes, strings.TrimSpace(e.Op.Op.Name+" "+e.Text))
		}
	}
	if got := strings.Join(notes, "; "); got != "fs.read; fs.write; fs.exists before the change; fs.read before the change" {
		t.Error(got)
	}
	want := "build stopped: a.star:6:5: fs.read: what it answers is not known in a dry run (known after fs.write, a.star:4); before that it fails: "
	if got := tr.end("build"); !strings.HasPrefix(got, want) || out.Totals.Steps[runtime.Stopped] != 1 {
		t.Errorf("got %s", got)
	}
}

func TestAStepReturnsWhatCanBeKept(t *testing.T) {
	tr := newTrial(t)
	tr.must(runtime.Failed, `
def f(): return {"a": [1, lambda: 2]}
p = plan(steps = [step(f)])
`, Options{})
	if got := tr.end("f"); !strings.Contains(got, `a function at ["a"][1] cannot be kept in the journal`) {
		t.Error(got)
	}
}

func TestOneRunAtATimeOnAHost(t *testing.T) {
	tr := newTrial(t)
	plan := "def f(): local.run([\"true\"])\np = plan(hosts = [host(\"h\", system = \"x86_64-linux\")], steps = [step(f)])"
	var second error
	tr.must(runtime.OK, plan, Options{Show: func(e runtime.Event) {
		if e.Kind == runtime.OpAsked {
			_, second = (&trial{T: t, root: tr.root}).run(plan, Options{})
		}
	}})
	if !errors.Is(second, runtime.ErrLocked) || !strings.Contains(second.Error(), "works on h") {
		t.Errorf("the second run got %v", second)
	}
	tr.must(runtime.OK, plan, Options{})
}

func TestNothingIsDoneThatIsNotJournaled(t *testing.T) {
	j, err := journal.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	j.Close()
	r := &run{plan: &runtime.Plan{}, journal: j, stop: t.Context(), totals: runtime.Totals{}}
	tk := &task{run: r, group: &group{step: &runtime.Step{Name: "s"}}}
	acted := false
	do := r.chain(func(context.Context, runtime.Op) (runtime.Result, error) {
		acted = true
		return runtime.Result{}, nil
	})
	if _, err := do(withTask(t.Context(), tk), runtime.Op{Name: "x", Effect: runtime.Change}); err == nil || acted {
		t.Errorf("acted is %v, error is %v", acted, err)
	}
}

func TestTheOrderOfPolicies(t *testing.T) {
	var names []string
	for _, p := range policies {
		names = append(names, p.name)
	}
	if got := strings.Join(names, " "); got != "scoped stoppable announced scrubbing located" {
		t.Errorf("the policies are %s", got)
	}
	secret := runtime.NewSecret("token", "hunter2-hunter2")
	var seen []string
	r := &run{plan: &runtime.Plan{Hosts: []*runtime.Host{{Name: "h"}}}, stop: t.Context(), opts: Options{Show: func(e runtime.Event) {
		s := string(e.Kind)
		if e.Err != nil {
			s += " " + e.Err.Error()
		}
		seen = append(seen, s)
	}}}
	tk := &task{run: r, group: &group{step: &runtime.Step{Name: "s"}}}
	do := r.chain(func(context.Context, runtime.Op) (runtime.Result, error) {
		seen = append(seen, "acts")
		return runtime.Result{}, fmt.Errorf("said %s", secret.Reveal())
	})
	_, err := do(withTask(t.Context(), tk), runtime.Op{Name: "ssh.run", Host: "h", Effect: runtime.Change})
	want := "op_asked|acts|op_ended ssh.run on h: said ‹secret token›"
	if got := strings.Join(seen, "|"); got != want || err.Error() != "ssh.run on h: said ‹secret token›" {
		t.Errorf("got %s, then %v", got, err)
	}
	seen = nil
	if _, err := do(withTask(t.Context(), tk), runtime.Op{Name: "ssh.run", Host: "other", Effect: runtime.Change}); err == nil || seen != nil {
		t.Errorf("a refused operation was announced: %q, %v", seen, err)
	}
}

func TestAStoppedRunAsksForNothing(t *testing.T) {
	stop, cancel := context.WithCancelCause(t.Context())
	cancel(runtime.ErrInterrupted)
	r := &run{plan: &runtime.Plan{}, stop: stop, opts: Options{Show: func(e runtime.Event) { t.Errorf("it was announced: %v", e) }}}
	tk := &task{run: r, group: &group{step: &runtime.Step{Name: "s"}}}
	do := r.chain(func(context.Context, runtime.Op) (runtime.Result, error) {
		t.Error("it was carried out")
		return runtime.Result{}, nil
	})
	if _, err := do(withTask(t.Context(), tk), runtime.Op{Name: "x"}); !errors.Is(err, runtime.ErrInterrupted) {
		t.Errorf("got %v", err)
	}
}

func TestThousandsOfSteps(t *testing.T) {
	tr := newTrial(t)
	out := tr.must(runtime.OK, `
hosts = [host("h%d" % i, system = "x86_64-linux") for i in range(1000)]
def f0(host): return 0
def f1(host, n): return n + 1
s0 = step(f0, each = hosts)
s1 = step(f1, name = "s1", each = hosts, needs = [s0])
s2 = step(f1, name = "s2", each = hosts, needs = [s1], parallel = 7)
s3 = step(f1, name = "s3", each = hosts, needs = [s2], canary = 3)
p = plan(hosts = hosts, steps = [s0, s1, s2, s3])
`, Options{DryRun: true})
	if out.Totals.Steps[runtime.OK] != 4000 {
		t.Error(out.Totals.Steps)
	}
}

func TestOutputIsKeptScrubbedInTheRunsFolder(t *testing.T) {
	t.Setenv("TOKEN", "s3cr3t-value")
	tr := newTrial(t)
	out := tr.must(runtime.OK, `
def f(): local.run("echo before; echo $T; echo $T | base64", env = {"T": secrets.env("TOKEN")})
p = plan(steps = [step(f)])
`, Options{})
	files, _ := filepath.Glob(filepath.Join(tr.root, ".infra", "runs", out.Run, "*"))
	if len(files) != 1 {
		t.Fatalf("the run's folder holds %q", files)
	}
	data, _ := os.ReadFile(files[0])
	if s := string(data); !strings.Contains(s, "before\n‹secret env[TOKEN]›\n‹secret env[TOKEN]›") {
		t.Errorf("kept %q", s)
	}
}

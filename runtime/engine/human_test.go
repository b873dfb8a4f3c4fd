package engine

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/clock"
)

const humanPlan = `
disk = step(human = """Unplug the old disk.
Mind the cable.""", name = "disk", undo = lambda result: log("plug it in again, %s" % result))
def after(result): log("after %s" % result)
p = plan(steps = [disk, step(after, needs = [disk])])
`

// resume goes on with the trial's last run.
func (t *trial) resume(opts Options) (Outcome, error) {
	t.Helper()
	past, err := lastRun(t.root)
	if err != nil {
		t.Fatal(err)
	}
	e := New(t.root, builtins.All(builtins.Deps{Root: t.root}))
	file, err := e.Resume(t.Context(), filepath.Join(t.root, "a.star"))
	if err != nil {
		t.Fatal(err)
	}
	opts.Past = past
	opts.Show = func(ev runtime.Event) { t.events = append(t.events, ev) }
	return e.Run(t.Context(), file, opts)
}

// humanOps are the operations of a step in the journal: how each ended, and who said so.
func (t *trial) humanOps(step string) (ops []string) {
	t.Helper()
	run, err := lastRun(t.root)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range run.Steps {
		for _, op := range s.Ops {
			if s.Name == step {
				ops = append(ops, strings.TrimSpace(fmt.Sprint(op.Name, " ", s.Host, " ", op.Status, " ", string(op.Result))))
			}
		}
	}
	return ops
}

// says is a person who answers.
func says(yes bool) func(context.Context, string) (bool, error) {
	return func(context.Context, string) (bool, error) { return yes, nil }
}

func noon() clock.Instant { return clock.Instant{Wall: time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)} }

// TestAPersonSaysThatItIsDone: nothing else does. What is not done holds the run, which
// a later process goes on with by asking again.
func TestAPersonSaysThatItIsDone(t *testing.T) {
	t.Parallel()
	ann := func(context.Context) string { return "Ann" }
	for _, tt := range []struct {
		name   string
		opts   Options
		status runtime.Status
		end    string
	}{
		{"nobody is there, and yes was said to all questions", Options{Ask: says(true)}, runtime.Held,
			"human: held: it waits for a person, and nobody is here to answer: Unplug the old disk. Mind the cable."},
		{"a person says no", Options{Decide: says(false), Ask: says(true)}, runtime.Held,
			"human: held: a person says that it is not done: Unplug the old disk. Mind the cable."},
		{"a person says yes", Options{Decide: says(true), Ask: says(false), By: ann}, runtime.OK, ""},
		{"it was said before", Options{Did: []string{"disk"}, By: ann}, runtime.OK, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newTrial(t)
			tt.opts.Clock = noon
			tr.must(tt.status, humanPlan, tt.opts)
			if tt.status == runtime.OK {
				tr.wasDoneBy("Ann")
				return
			}
			if end := tr.end("disk"); !strings.HasSuffix(end, tt.end) || tr.logged() != nil {
				t.Errorf("it ended as %q, want %q, and the plan said %q", end, tt.end, tr.logged())
			}
			out, err := tr.resume(Options{Decide: says(true), By: ann, Clock: noon})
			if err != nil || out.Status != runtime.OK {
				t.Fatalf("resumed: %s, %v: %q", out.Status, err, tr.ends())
			}
			tr.wasDoneBy("Ann")
		})
	}
}

// wasDoneBy wants the journal to say who did it, and the plan to have gone on with None.
func (t *trial) wasDoneBy(who string) {
	t.Helper()
	ops := t.humanOps("disk")
	last := ops[len(ops)-1]
	if last != `human  ok {"$struct":{"at":"2026-01-02T12:00:00Z","by":"`+who+`"}}` {
		t.Errorf("the journal has %q", ops)
	}
	if said := t.logged(); !slices.Equal(said, []string{"after None"}) {
		t.Errorf("the plan said %q", said)
	}
}

// TestAStopDoesNotWaitForAPerson who is asked: the run ends, and is gone on with by
// asking again. Undo gets what the step returned, which is None.
func TestAStopDoesNotWaitForAPerson(t *testing.T) {
	t.Parallel()
	tr := newTrial(t)
	stop, halt := context.WithCancel(t.Context())
	question, never := "", make(chan struct{})
	t.Cleanup(func() { close(never) })
	tr.must(runtime.Interrupted, humanPlan, Options{Stop: stop, Grace: time.Hour, Decide: func(_ context.Context, q string) (bool, error) {
		question = q
		halt()
		<-never
		return true, nil
	}})
	if want := "step disk is for a person:\n  Unplug the old disk.\n  Mind the cable.\nDone?"; question != want {
		t.Errorf("asked %q, want %q", question, want)
	}
	if out, err := tr.resume(Options{Decide: says(true)}); err != nil || out.Status != runtime.OK {
		t.Fatalf("resumed: %s, %v: %q", out.Status, err, tr.ends())
	}
	if ops := tr.humanOps("disk"); len(ops) != 2 || ops[0] != "human  interrupted" || !strings.HasPrefix(ops[1], "human  ok ") {
		t.Errorf("the journal has %q", ops)
	}
	tr.events = nil
	if out, _ := tr.undo(Options{}); out.Status != runtime.OK || !slices.Equal(tr.logged(), []string{"plug it in again, None"}) {
		t.Errorf("undone: %s, and the plan said %q", out.Status, tr.logged())
	}
}

// TestAPersonIsAskedForEachHost, one after the other, and none of them has to be up.
func TestAPersonIsAskedForEachHost(t *testing.T) {
	t.Parallel()
	tr := newTrial(t)
	var asked []string
	tr.must(runtime.OK, `
hosts = [host(n, system = "x86_64-linux", ssh = "root@" + n + ".invalid") for n in ["a", "b"]]
p = plan(hosts = hosts, steps = [step(human = "Boot it from the stick", name = "boot", each = hosts, parallel = 1)])
`, Options{Decide: func(_ context.Context, q string) (bool, error) {
		asked = append(asked, q)
		return true, nil
	}, TakeLock: func(context.Context, *runtime.Host, string, string) (HostLock, error) {
		return HostLock{}, fmt.Errorf("no host can be reached")
	}})
	want := []string{"step boot on a is for a person:\n  Boot it from the stick\nDone?", "step boot on b is for a person:\n  Boot it from the stick\nDone?"}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %q", asked)
	}
}

// TestAPreviewShowsWhatAPersonDoes as a change, and foresees what follows as if it
// altered nothing.
func TestAPreviewShowsWhatAPersonDoes(t *testing.T) {
	t.Parallel()
	tr := newPreview(t)
	tr.must(runtime.OK, strings.Replace(humanPlan, `log("after %s" % result)`, `log("after %s, %s" % (result, fs.exists("a.star")))`, 1), Options{Decide: says(false)})
	if got, want := tr.previewed(), []string{"human change", "fs.exists"}; !slices.Equal(got, want) || !slices.Equal(tr.logged(), []string{"after None, True"}) {
		t.Errorf("it previews %q and logs %q", got, tr.logged())
	}
}

// TestOnlyStepsOfAPersonAreSaidToBeDone.
func TestOnlyStepsOfAPersonAreSaidToBeDone(t *testing.T) {
	t.Parallel()
	for plan, want := range map[string]string{
		humanPlan: `no such choice: the plan has no step for a person "after"`,
		"def after(): pass\np = plan(steps = [step(after)])": `no such choice: the plan has no step for a person, and so no "after"`,
	} {
		if _, err := newTrial(t).run(plan, Options{Did: []string{"after"}}); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/interp"
	"infra/runtime/journal"
)

// A lane is a host whose commands are no more than their names, through all processes of
// a run: what they did there is known to the lane, however the process ended.
type lane struct {
	*testing.T
	root   string
	mute   bool // the host cannot tell what became of a command
	repeat bool // what is called "a" may be repeated

	mu   sync.Mutex
	done []string // in order; "a!" failed

	// Of the process that runs:
	undoes bool
	ends   map[string]end // of what does not simply end well
	asked  map[string]chan struct{}
	met    bool     // who waited for another one to be asked for saw that
	begun  []string // what the host may go on with when the process is killed
	events []runtime.Event
	kills  []*lane // what a kill at each write to the journal leaves; nil: nobody wants to know
}

// An end is how a command ends in a process.
type end struct {
	err    error
	lost   string        // "did it" or "did not": the process is told nothing, and this is the truth
	until  string        // it goes on until that one was asked for
	within time.Duration // or for so long; 0 is long
	waited bool          // it is no session that others can follow
	hasty  bool          // it returns before the one before it has
	then   func()        // what happens while it is under way
}

var (
	errBroken = errors.New("exit code 3")
	errLost   = fmt.Errorf("the connection was lost; %w", runtime.ErrUntold)
)

const lanes = `
h = host("h", system = "x86_64-linux")
g = host("g", system = "x86_64-linux")
`

// threeInARow is a plan whose step asks for a, b and c without an answer.
const threeInARow = lanes + `
def f():
    ssh.run(h, ["a"])
    ssh.run(h, ["b"])
    ssh.run(h, ["c"])
p = plan(hosts = [h, g], steps = [step(f)])
`

func newLane(t *testing.T) *lane { return &lane{T: t, root: t.TempDir()} }

// run is one process: it runs the plan, or goes on with it.
func (l *lane) run(plan string, ends map[string]end, opts Options) (Outcome, *journal.Run) {
	l.Helper()
	l.ends, l.asked, l.met, l.begun, l.events = ends, map[string]chan struct{}{}, false, nil, nil
	must := func(err error) {
		l.Helper()
		if err != nil {
			l.Fatal(err)
		}
	}
	path := filepath.Join(l.root, "a.star")
	must(os.WriteFile(path, []byte(plan), 0o644))
	e := New(l.root, nil)
	e.in = interp.New(l.root, builtins.All(builtins.Deps{Root: l.root}), func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		return door(ctx, l.seen(op))
	})
	read := e.Read
	past, err := lastRun(l.root)
	if err == nil && !l.undoes {
		opts.Past, read = past, e.Resume
	}
	file, err := read(l.Context(), path)
	must(err)
	if l.undoes {
		file, err = Undo(file, past)
		must(err)
	}
	opts.Options, opts.Show = []byte("{}"), func(e runtime.Event) {
		l.events = append(l.events, e)
		l.note(e)
	}
	out, err := e.Run(l.Context(), file, opts)
	must(err)
	run, err := lastRun(l.root)
	must(err)
	return out, run
}

// note sees what is in the journal now.
func (l *lane) note(e runtime.Event) {
	switch e.Kind {
	case runtime.OpAsked:
		l.mu.Lock()
		l.begun = append(l.begun, e.Op.Op.Show)
		l.mu.Unlock()
		defer close(l.whenAsked(e.Op.Op.Show))
	case runtime.OpEnded:
	default:
		return
	}
	if l.kills != nil {
		l.kills = append(l.kills, l.killed())
	}
}

func (l *lane) whenAsked(name string) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked[name] == nil {
		l.asked[name] = make(chan struct{})
	}
	return l.asked[name]
}

// seen is op on the lane.
func (l *lane) seen(op runtime.Op) runtime.Op {
	name := op.Show
	op.Repeatable = op.Repeatable || l.repeat && name == "a"
	op.Forget = nil
	op.Run = func(ctx context.Context, _ io.Writer) (runtime.Result, error) {
		return runtime.Result{Changed: true}, l.carryOut(runtime.EarlyOf(ctx), name)
	}
	op.Settle = func(context.Context, io.Writer) (runtime.Fate, runtime.Result, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		switch {
		case l.mute:
			return runtime.Untold, runtime.Result{}, nil
		case slices.Contains(l.done, name):
			return runtime.Done, runtime.Result{Changed: true}, nil
		case slices.Contains(l.done, name+"!"):
			return runtime.Done, runtime.Result{}, errBroken
		}
		return runtime.NotDone, runtime.Result{}, nil
	}
	return op
}

func (l *lane) carryOut(early *runtime.Early, name string) error {
	how := l.ends[name]
	if !how.waited {
		early.HandOver(name)
	}
	var passed error
	if !how.hasty {
		passed = early.AfterOthers()
	}
	if passed == nil || how.lost != "" {
		l.wait(how)
		if how.then != nil {
			how.then()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case how.lost == "did not":
		return errLost
	case passed != nil && how.lost == "":
		return passed
	case how.waited: // it could not even be tried
		return how.err
	}
	l.act(name)
	if how.lost != "" {
		return errLost
	}
	return how.err
}

// act is for who holds mu.
func (l *lane) act(name string) {
	l.begun = slices.DeleteFunc(l.begun, func(begun string) bool { return begun == name })
	if l.ends[name].err != nil {
		name += "!"
	}
	l.done = append(l.done, name)
}

// wait returns when what until says was asked for.
func (l *lane) wait(how end) {
	if how.until == "" {
		return
	}
	limit := how.within
	if limit == 0 {
		limit = 20 * time.Second
	}
	select {
	case <-l.whenAsked(how.until):
		l.mu.Lock()
		l.met = true
		l.mu.Unlock()
	case <-time.After(limit):
		if how.within == 0 {
			l.Errorf("%s was not asked for ahead", how.until)
		}
	}
}

// why is the failure of the step in the process that ran last.
func (l *lane) why() *interp.Failure {
	for _, e := range l.events {
		var f *interp.Failure
		if e.Kind == runtime.StepEnded && errors.As(e.Err, &f) {
			return f
		}
	}
	return &interp.Failure{}
}

// TestWhatGoesAhead: whether b is asked for while a is under way.
func TestWhatGoesAhead(t *testing.T) {
	const a, b = `ssh.run(h, ["a"])`, `ssh.run(h, ["b"])`
	step := func(lines ...string) string {
		return "def f():\n    " + strings.Join(lines, "\n    ") + "\np = plan(hosts = [h, g], steps = [step(f)])"
	}
	for _, tt := range []struct {
		name, plan string
		ahead      bool
	}{
		{"statements", step(a, b), true},
		{"on any host", step(strings.ReplaceAll(a, "h,", "g,"), strings.ReplaceAll(b, "h,", "g,")), true},
		{"in a loop", step(`for x in ["a", "b"]:`, `    ssh.run(h, [x])`), true},
		{"in functions", "def x():\n    " + a + "\ndef y():\n    " + b + "\n" + step("x()", "y()"), true},
		{"the second of another host", step(a, `ssh.run(g, ["b"])`), false},
		{"a read", step(a, `ssh.run(h, ["b"], reads = True)`), false},
		{"the first is a read", step(`ssh.run(h, ["a"], reads = True)`, b), false},
		{"its value is used", step(a, "x = "+b), false},
		{"the first one's value is used", step("x = "+a, b), false},
		{"it may fail", step(a, `ssh.run(h, ["b"], check = False)`), false},
		{"it has a timeout", step(a, `ssh.run(h, ["b"], timeout = "1h")`), false},
		{"the clock is asked between", step(a, "time.now()", b), false},
		{"something is said between", step(a, `log("x")`, b), false},
		{"an attempt begins between", step(a, "attempt(lambda: 1)", b), false},
		{"an attempt ends between", "def x(): " + a + "\n" + step("attempt(x)", b), false},
		{"in an attempt", "def x():\n    " + a + "\n    " + b + "\n" + step("attempt(x)"), true},
		{"another attempt may not repeat it", strings.ReplaceAll(step(a, b), "step(f)", "step(f, retries = 1)"), false},
		{"another attempt may repeat it", strings.ReplaceAll(strings.ReplaceAll(step(a, b), "])\n", "], repeatable = True)\n"), "step(f)", "step(f, retries = 1)"), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, how := newLane(t), end{until: "b"}
			if !tt.ahead {
				how.within = 30 * time.Millisecond
			}
			out, run := l.run(lanes+tt.plan, map[string]end{"a": how}, Options{})
			if out.Status != runtime.OK || l.met != tt.ahead {
				t.Errorf("ended as %s: %s; asked for ahead: %v", out.Status, l.why().Msg, l.met)
			}
			if got := opsOf(run); got != "1 ok, 2 ok" || fmt.Sprint(l.done) != "[a b]" {
				t.Errorf("journaled %s, done %v", got, l.done)
			}
		})
	}
}

// TestAFailedStatement: it is reported at its line, with its own trace, whatever the code
// went on with; nothing after it is begun, or said.
func TestAFailedStatement(t *testing.T) {
	for _, tt := range []struct{ name, code, ops string }{
		{"others follow", `ssh.run(h, ["b"]); ssh.run(h, ["c"])`, "1 failed, 2 skipped, 3 skipped"},
		{"the code fails too", `fail("x")`, "1 failed"},
		{"the code goes wrong", `1 // 0`, "1 failed"},
		{"it returns", `return 1`, "1 failed"},
		{"something is said", `log("x"); print("y")`, "1 failed"},
		{"another one follows what is said", `log("x"); ssh.run(h, ["b"])`, "1 failed"},
		{"the clock is asked", `log(str(time.now()))`, "1 failed"},
		{"another host", `ssh.run(g, ["b"])`, "1 failed"},
		{"a value", `x = ssh.run(h, ["b"])`, "1 failed"},
		{"a read", `ssh.run(h, ["b"], reads = True)`, "1 failed"},
		{"something is attempted", `attempt(lambda: fail("x"))`, "1 failed"},
		{"what is attempted asks for more", `attempt(inner); log("x")`, "1 failed"},
		{"others follow in what is attempted, and fail", `ssh.run(h, ["b"]); attempt(inner); log("x")`, "1 failed, 2 skipped"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLane(t)
			out, run := l.run(lanes+`
def f():
    a()
    `+tt.code+`
def a():
    ssh.run(h, ["a"])
def inner(): ssh.run(h, ["c"])
p = plan(hosts = [h, g], steps = [step(f)])`, map[string]end{"a": {err: errBroken}}, Options{})
			f := l.why()
			if out.Status != runtime.Failed || f.Pos.String() != "a.star:9:5" || f.Source != `    ssh.run(h, ["a"])` || !strings.HasSuffix(f.Msg, "ssh.run on h: exit code 3") {
				t.Errorf("ended as %s at %s: %s", out.Status, f.Pos, f.Msg)
			}
			if fmt.Sprint(f.Trace) != "[a.star:6:6 in f]" {
				t.Errorf("its trace is %q", f.Trace)
			}
			if fmt.Sprint(l.done) != "[a!]" || opsOf(run) != tt.ops || l.said() != "" {
				t.Errorf("done was %s, journaled %s, want %s; said %q", l.done, opsOf(run), tt.ops, l.said())
			}
		})
	}
}

// TestAnAttemptCatchesWhatItAskedFor: and the step goes on.
func TestAnAttemptCatchesWhatItAskedFor(t *testing.T) {
	l := newLane(t)
	out, run := l.run(lanes+`
def tried():
    ssh.run(h, ["b"])
    ssh.run(h, ["c"])
    fail("it came so far")
def f():
    ssh.run(h, ["a"])
    log(attempt(tried).error)
    ssh.run(h, ["d"])
p = plan(hosts = [h, g], steps = [step(f)])`, map[string]end{"b": {err: errBroken, until: "c"}}, Options{})
	if out.Status != runtime.OK || l.said() != "ssh.run on h: exit code 3" || fmt.Sprint(l.done) != "[a b! d]" {
		t.Errorf("ended as %s: %s; said %q, done %v", out.Status, l.why().Msg, l.said(), l.done)
	}
	if got := opsOf(run); got != "1 ok, 2 failed, 3 skipped, 4 ok" {
		t.Errorf("journaled %s", got)
	}
}

func (l *lane) said() string {
	var all []string
	for _, e := range l.events {
		if e.Kind == runtime.Logged {
			all = append(all, e.Text)
		}
	}
	return strings.Join(all, "; ")
}

// TestEndsComeInOrder: an operation that has ended waits for the one before it.
func TestEndsComeInOrder(t *testing.T) {
	l := newLane(t)
	_, run := l.run(threeInARow, map[string]end{"a": {until: "c"}, "b": {hasty: true}, "c": {hasty: true}}, Options{})
	var ended []int
	for _, e := range l.events {
		if e.Kind == runtime.OpEnded {
			ended = append(ended, e.Op.ID)
		}
	}
	if fmt.Sprint(ended) != "[1 2 3]" || opsOf(run) != "1 ok, 2 ok, 3 ok" {
		t.Errorf("ended were %v, journaled %s", ended, opsOf(run))
	}
}

// TestAStopBeginsNothingMore: what was asked for ahead is left out, and made up for.
func TestAStopBeginsNothingMore(t *testing.T) {
	l := newLane(t)
	stop, cancel := context.WithCancelCause(t.Context())
	stops := map[string]end{"a": {until: "c", then: func() { cancel(runtime.ErrInterrupted) }}}
	out, run := l.run(threeInARow, stops, Options{Stop: stop, Grace: time.Hour})
	if out.Status != runtime.Interrupted || opsOf(run) != "1 ok, 2 skipped, 3 skipped" || fmt.Sprint(l.done) != "[a]" {
		t.Errorf("ended as %s, journaled %s, done %v: %s", out.Status, opsOf(run), l.done, l.why().Msg)
	}
	if out, run = l.run(threeInARow, nil, Options{}); out.Status != runtime.OK || fmt.Sprint(l.done) != "[a b c]" {
		t.Errorf("ended as %s, journaled %s, done %v", out.Status, opsOf(run), l.done)
	}
}

// TestAnUndoGoesAheadToo: it has failed where what it asked for has.
func TestAnUndoGoesAheadToo(t *testing.T) {
	l, plan := newLane(t), lanes+`
def f(): return 1
def back(_):
    ssh.run(h, ["a"])
    ssh.run(h, ["b"])
p = plan(hosts = [h], steps = [step(f, undo = back)])`
	l.run(plan, nil, Options{})
	l.undoes = true
	out, _ := l.run(plan, map[string]end{"a": {until: "b"}, "b": {err: errBroken}}, Options{})
	if out.Status != runtime.Failed || l.why().Pos.String() != "a.star:8:5" || fmt.Sprint(l.done) != "[a b!]" {
		t.Errorf("ended as %s at %s, done %v", out.Status, l.why().Pos, l.done)
	}
}

// TestAPreviewGoesOneByOne: what it foresees of one is what the next one is foreseen by.
func TestAPreviewGoesOneByOne(t *testing.T) {
	root := t.TempDir()
	path, foreseen := filepath.Join(root, "a.star"), ""
	if err := os.WriteFile(path, []byte(threeInARow), 0o644); err != nil {
		t.Fatal(err)
	}
	e := New(root, nil)
	e.in = interp.New(root, builtins.All(builtins.Deps{Root: root}), func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		predict := op.Predict
		op.Predict = func(ctx context.Context) (runtime.Prediction, error) {
			foreseen += fmt.Sprint(op.Show, runtime.EarlyOf(ctx) != nil, " ")
			return predict(ctx)
		}
		return door(ctx, op)
	})
	file, err := e.Preview(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := e.Run(t.Context(), file, Options{}); err != nil || out.Status != runtime.OK || foreseen != "afalse bfalse cfalse " {
		t.Errorf("ended as %s, %v: foreseen were %s", out.Status, err, foreseen)
	}
}

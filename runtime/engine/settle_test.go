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
	"testing"

	"go.starlark.net/starlark"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/interp"
	"infra/runtime/journal"
)

// sight is what a process of a run is told of the world: how the one operation
// that the plan changes it by ends, and what tells its fate.
type sight struct {
	run        error
	fate       runtime.Fate
	cannotTell error
	repeatable bool
	choice     InFlight
}

// traces is what the operations of all processes left.
type traces struct {
	begun, asked, forgotten []string // by the operation's name
}

const settlePlan = `
def f():
    log("it said " + local.run(["act"]).stdout)
p = plan(hosts = [], steps = [step(f)])
`

// look runs the plan, or resumes it where it was begun, with the world as s
// has it.
func (tr *traces) look(t *testing.T, root string, s sight) (Outcome, *journal.Run, []runtime.Event) {
	t.Helper()
	e := New(root, nil)
	e.in = interp.New(root, builtins.All(builtins.Deps{Root: root}), func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		return door(ctx, tr.seen(op, s))
	})
	var events []runtime.Event
	opts := Options{Options: []byte("{}"), InFlight: s.choice, Show: func(e runtime.Event) { events = append(events, e) }}
	read := e.Read
	if past, err := lastRun(root); err == nil {
		opts.Past, read = past, e.Resume
	}
	file, err := read(t.Context(), filepath.Join(root, "a.star"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Run(t.Context(), file, opts)
	if err != nil {
		t.Fatal(err)
	}
	run, err := lastRun(root)
	if err != nil {
		t.Fatal(err)
	}
	return out, run, events
}

// seen is op in the world that s describes.
func (tr *traces) seen(op runtime.Op, s sight) runtime.Op {
	result := func(how string) runtime.Result {
		return runtime.Result{Changed: true, Value: runtime.CommandResult(starlark.String(how), starlark.String(""), starlark.MakeInt(0), starlark.Bool(true))}
	}
	op.Repeatable = s.repeatable
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		tr.begun = append(tr.begun, runtime.OpID(ctx))
		fmt.Fprintln(log, "acting")
		return result("acted"), s.run
	}
	op.Settle = func(ctx context.Context, log io.Writer) (runtime.Fate, runtime.Result, error) {
		tr.asked = append(tr.asked, runtime.OpID(ctx))
		fmt.Fprintln(log, "acting, and on")
		if s.fate == runtime.Done {
			return s.fate, result("went on"), s.cannotTell
		}
		return s.fate, runtime.Result{}, s.cannotTell
	}
	op.Forget = func(ctx context.Context) { tr.forgotten = append(tr.forgotten, runtime.OpID(ctx)) }
	return op
}

// TestWhatWasInFlightIsLookedFor loses sight of an operation, and goes on with
// the run by what the world tells of it.
func TestWhatWasInFlightIsLookedFor(t *testing.T) {
	lost := fmt.Errorf("the connection was lost; %w", runtime.ErrUntold)
	unreachable := errors.New("no route to host")
	tests := []struct {
		name      string
		then      []sight // of the processes that go on
		status    runtime.Status
		ops       string // what the journal has at the end
		said      string
		begun     int
		forgotten int
	}{
		{"it was done", []sight{{fate: runtime.Done}}, runtime.OK, "1 ok", "went on", 1, 1},
		{"it was done in vain", []sight{{fate: runtime.Done, cannotTell: errors.New("exit code 3")}}, runtime.Failed, "1 failed", "", 1, 1},
		{"nothing of it was done", []sight{{fate: runtime.NotDone}}, runtime.OK, "1 ok", "acted", 2, 1},
		{"it cannot be asked yet", []sight{{cannotTell: unreachable}, {fate: runtime.Done}}, runtime.OK, "1 ok", "went on", 1, 1},
		{"lost again, and again", []sight{{run: lost, fate: runtime.NotDone}, {run: lost, fate: runtime.NotDone}, {fate: runtime.Done}}, runtime.OK, "1 ok", "went on", 3, 1},
		{"nothing tells, and it may be repeated", []sight{{repeatable: true}}, runtime.OK, "1 interrupted, 2 ok", "acted", 2, 1},
		{"nothing tells, and nobody is there", []sight{{}}, runtime.Held, "1 in flight", "", 1, 0},
		{"nothing tells, and it is said to be done", []sight{{choice: InFlightDone}}, runtime.OK, "1 ok", "", 1, 0}, // what it said is lost
		{"it cannot be asked, and is to be done again", []sight{{cannotTell: unreachable, choice: InFlightAgain}}, runtime.OK, "1 interrupted, 2 ok", "acted", 2, 1},
		{"stopped, and done all the same", []sight{{run: runtime.ErrInterrupted, fate: runtime.NotDone}, {fate: runtime.Done}}, runtime.OK, "1 ok", "went on", 2, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root, tr := t.TempDir(), &traces{}
			if err := os.WriteFile(filepath.Join(root, "a.star"), []byte(settlePlan), 0o644); err != nil {
				t.Fatal(err)
			}
			out, run, _ := tr.look(t, root, sight{run: lost})
			if got := opsOf(run); out.Status != runtime.Failed || got != "1 in flight" || tr.forgotten != nil {
				t.Fatalf("it first ended as %s with %s in the journal, forgotten are %v", out.Status, got, tr.forgotten)
			}
			var events []runtime.Event
			for _, s := range tt.then {
				out, run, events = tr.look(t, root, s)
			}
			if out.Status != tt.status || opsOf(run) != tt.ops {
				t.Errorf("it ended as %s with %s, want %s with %s", out.Status, opsOf(run), tt.status, tt.ops)
			}
			if len(tr.begun) != tt.begun || len(tr.forgotten) != tt.forgotten {
				t.Errorf("begun were %v, forgotten %v", tr.begun, tr.forgotten)
			}
			if first := run.ID + "-1"; slices.ContainsFunc(tr.asked, func(id string) bool { return id != first }) {
				t.Errorf("asked for were %v, not only %s", tr.asked, first)
			}
			if i := slices.IndexFunc(events, func(e runtime.Event) bool { return e.Kind == runtime.OpResumed && e.Op.ID == 1 }); i < 0 {
				t.Error("nobody was told that it was looked for")
			}
			said := slices.ContainsFunc(events, func(e runtime.Event) bool { return e.Kind == runtime.Logged && e.Text == "it said "+tt.said })
			if said != (tt.said != "") {
				t.Errorf("whether it said %q is %v", tt.said, said)
			}
		})
	}
}

// opsOf is each operation of the run's step, and how it ended.
func opsOf(run *journal.Run) string {
	var ops []string
	for _, op := range run.Steps[0].Ops {
		ops = append(ops, fmt.Sprintf("%d %s", op.ID, op.Status))
	}
	return strings.Join(ops, ", ")
}

// TestOutputGoesOn: the file of an operation that went on has what it printed
// before it was lost sight of, once.
func TestOutputGoesOn(t *testing.T) {
	root, tr := t.TempDir(), &traces{}
	if err := os.WriteFile(filepath.Join(root, "a.star"), []byte(settlePlan), 0o644); err != nil {
		t.Fatal(err)
	}
	tr.look(t, root, sight{run: runtime.ErrUntold})
	_, run, _ := tr.look(t, root, sight{fate: runtime.Done})
	name := filepath.Join(root, ".infra", "runs", run.ID, run.Steps[0].Ops[0].Output)
	got, err := os.ReadFile(name)
	if err != nil || string(got) != "acting, and on\n" {
		t.Errorf("%s has %q, %v", name, got, err)
	}
}

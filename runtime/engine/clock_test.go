package engine

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/interp"
	"infra/runtime/journal"
)

// TestAClockSetBack resumes a run whose clock was set back an hour after a step
// was tried again: what the second attempt saw still comes after what the first
// did, and is what the step goes on with.
func TestAClockSetBack(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{"seen": "then", "ready": "", "a.star": `
def f():
    seen = fs.read("seen")
    local.run("test -e ready", repeatable = True)
    log("it saw " + seen)
    fail("that is all")
p = plan(hosts = [], steps = [step(f, retries = 1)])
`} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var ops []runtime.Op
	e := New(root, nil)
	e.in = interp.New(root, builtins.All(builtins.Deps{Root: root}), func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		ops = append(ops, op)
		return door(ctx, op)
	})
	path := filepath.Join(root, "a.star")
	file, err := e.Read(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Run(t.Context(), file, Options{Steps: []string{"f"}}); err != nil || len(ops) != 4 {
		t.Fatalf("it asked for %d operations, %v", len(ops), err)
	}
	recordSetBack(t, root, file, ops)
	if err := os.WriteFile(filepath.Join(root, "seen"), []byte("now"), 0o644); err != nil {
		t.Fatal(err)
	}
	past, err := lastRun(root)
	if err != nil || past.ID != "set-back" {
		t.Fatalf("the last run is %v, %v", past, err)
	}
	var logged []string
	file, err = e.Resume(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Run(t.Context(), file, Options{Past: past, Show: func(ev runtime.Event) {
		if ev.Kind == runtime.Logged {
			logged = append(logged, ev.Text)
		}
	}})
	if err != nil || len(logged) == 0 || logged[0] != "it saw then" {
		t.Errorf("the step said %q, %v", logged, err)
	}
}

// recordSetBack records a run that was killed in its second attempt, with an
// hour less on the clock than when the first ended.
func recordSetBack(t *testing.T, root string, file *interp.File, ops []runtime.Op) {
	t.Helper()
	j, err := journal.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	result, err := runtime.Encode(starlark.String("then"))
	if err != nil {
		t.Fatal(err)
	}
	op := func(id, n int) *runtime.OpEvent { return &runtime.OpEvent{ID: id, Op: ops[n], Result: result} }
	noon := time.Now().Add(-2 * time.Hour)
	first := []runtime.Event{
		{Kind: runtime.RunStarted, Start: &runtime.RunStart{Plan: file.Plan, File: "a.star", Steps: file.Plan.Steps, Options: []byte("{}"), Sources: file.Sources()}},
		{Kind: runtime.StepStarted},
		{Kind: runtime.OpAsked, Op: op(1, 0)}, {Kind: runtime.OpEnded, Op: op(1, 0), Status: runtime.OK},
		{Kind: runtime.OpAsked, Op: op(2, 1)}, {Kind: runtime.OpEnded, Op: op(2, 1), Status: runtime.Failed},
		{Kind: runtime.StepRetried},
	}
	second := []runtime.Event{
		{Kind: runtime.OpAsked, Op: op(3, 2)}, {Kind: runtime.OpEnded, Op: op(3, 2), Status: runtime.OK},
		{Kind: runtime.OpAsked, Op: op(4, 3)}, {Kind: runtime.OpEnded, Op: op(4, 3), Status: runtime.OK},
	}
	for i, ev := range slices.Concat(first, second) {
		ev.Run, ev.Time = "set-back", noon
		if i >= len(first) {
			ev.Time = noon.Add(-time.Hour)
		}
		if ev.Kind != runtime.RunStarted {
			ev.Step = "f"
		}
		if err := j.Record(ev); err != nil {
			t.Fatal(err)
		}
	}
}

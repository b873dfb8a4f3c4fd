package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.starlark.net/starlark"

	"infra/runtime"
)

// TestTrace: steps side by side have lanes of their own, which are used again.
func TestTrace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "trace.json")
	tr, err := newTrace(path)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	ms := func(n int) time.Time { return began.Add(time.Duration(n) * time.Millisecond) }
	op := &runtime.OpEvent{Op: runtime.Op{Name: "ssh.run", Show: "true", Effect: runtime.Read}}
	ahead := func(id int) *runtime.OpEvent {
		return &runtime.OpEvent{ID: id, Op: runtime.Op{Name: "ssh.run", Show: "true", Effect: runtime.Change, Statement: starlark.CallStack{{}}}}
	}
	for _, e := range []runtime.Event{
		{Kind: runtime.RunStarted, Time: ms(0)},
		{Kind: runtime.StepStarted, Time: ms(1), Step: "a", Host: "x"},
		{Kind: runtime.StepStarted, Time: ms(2), Step: "a", Host: "y"},
		{Kind: runtime.OpAsked, Time: ms(3), Step: "a", Host: "x", Op: op},
		{Kind: runtime.OpEnded, Time: ms(5), Step: "a", Host: "x", Op: op, Status: runtime.OK},
		{Kind: runtime.StepEnded, Time: ms(6), Step: "a", Host: "x", Status: runtime.OK},
		{Kind: runtime.StepStarted, Time: ms(7), Step: "b"},
		{Kind: runtime.OpAsked, Time: ms(7), Step: "a", Host: "y", Op: ahead(1)},
		{Kind: runtime.OpAsked, Time: ms(7), Step: "a", Host: "y", Op: ahead(2)},
		{Kind: runtime.OpEnded, Time: ms(8), Step: "a", Host: "y", Op: ahead(1), Status: runtime.OK},
		{Kind: runtime.OpEnded, Time: ms(10), Step: "a", Host: "y", Op: ahead(2), Status: runtime.Failed},
		{Kind: runtime.StepEnded, Time: ms(10), Step: "a", Host: "y", Status: runtime.Failed},
		{Kind: runtime.StepEnded, Time: ms(11), Step: "b", Status: runtime.OK},
	} {
		tr.Read(e)
	}
	if err := tr.close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []traced
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	want := []traced{
		{"ssh.run", "X", 3000, 2000, 1, 0, "operation", map[string]any{"show": "true", "effect": "read", "status": "ok", "host": "x"}},
		{"a x", "X", 1000, 5000, 1, 0, "step", map[string]any{"status": "ok", "host": "x"}},
		{"ssh.run", "X", 7000, 1000, 1, 1, "operation", map[string]any{"show": "true", "effect": "change", "status": "ok", "host": "y"}},
		{"ssh.run", "X", 8000, 2000, 1, 1, "operation", map[string]any{"show": "true", "effect": "change", "status": "failed", "host": "y"}},
		{"a y", "X", 2000, 8000, 1, 1, "step", map[string]any{"status": "failed", "host": "y"}},
		{"b", "X", 7000, 4000, 1, 0, "step", map[string]any{"status": "ok"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

package preview

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.starlark.net/syntax"

	"infra/runtime"
)

func TestAllows(t *testing.T) {
	const after = "(known after ssh.run, a.star:1)"
	put := runtime.Op{Name: "ssh.put", Host: "mac", Effect: runtime.Change, Show: "/a", Args: runtime.Args{"path": "/a", "n": 3, "env": map[string]any{"A": "b"}, "argv": []string{"x", "y"}}}
	with := func(edit func(*runtime.Op)) runtime.Op {
		op := put
		op.Args = runtime.Args{}
		for k, v := range put.Args {
			op.Args[k] = v
		}
		edit(&op)
		return op
	}
	needing := func(args runtime.Args) runtime.Op {
		return with(func(op *runtime.Op) {
			for k, v := range args {
				op.Args[k] = v
			}
			op.Needs, op.Show = &runtime.Unknown{Op: "ssh.run"}, after
		})
	}
	for _, tt := range []struct {
		name string
		was  runtime.Op
		now  runtime.Op
		want bool
	}{
		{"the same", put, put, true},
		{"another place in the file", put, with(func(op *runtime.Op) { op.Pos.Line = 9 }), true},
		{"another name", put, with(func(op *runtime.Op) { op.Name = "ssh.run" }), false},
		{"another host", put, with(func(op *runtime.Op) { op.Host = "vps" }), false},
		{"no host", put, with(func(op *runtime.Op) { op.Host = "" }), false},
		{"another effect", put, with(func(op *runtime.Op) { op.Effect = runtime.Destroy }), false},
		{"shown otherwise", put, with(func(op *runtime.Op) { op.Show = "shell: /a" }), false},
		{"another path", put, with(func(op *runtime.Op) { op.Args["path"] = "/b" }), false},
		{"another number", put, with(func(op *runtime.Op) { op.Args["n"] = 4 }), false},
		{"a number as text", put, with(func(op *runtime.Op) { op.Args["n"] = "3" }), false},
		{"another variable", put, with(func(op *runtime.Op) { op.Args["env"] = map[string]any{"B": "b"} }), false},
		{"a variable more", put, with(func(op *runtime.Op) { op.Args["env"] = map[string]any{"A": "b", "B": "b"} }), false},
		{"another order", put, with(func(op *runtime.Op) { op.Args["argv"] = []string{"y", "x"} }), false},
		{"a word more", put, with(func(op *runtime.Op) { op.Args["argv"] = []string{"x", "y", "z"} }), false},
		{"an argument more", put, with(func(op *runtime.Op) { op.Args["sudo"] = true }), false},
		{"an argument less", put, with(func(op *runtime.Op) { delete(op.Args, "n") }), false},
		{"what was not known", needing(runtime.Args{"path": after}), put, true},
		{"what was not known, and another", needing(runtime.Args{"path": after}), with(func(op *runtime.Op) { op.Args["n"] = 4 }), false},
		{"a word that was not known", needing(runtime.Args{"argv": []string{"x", after}}), put, true},
		{"a word more than was not known", needing(runtime.Args{"argv": []string{"x", after}}), with(func(op *runtime.Op) { op.Args["argv"] = []string{"x", "y", "z"} }), false},
		{"a list that was not known", needing(runtime.Args{"argv": []string{after}}), put, true},
		{"a word more than the first that was not known", needing(runtime.Args{"argv": []string{after, "y"}}), with(func(op *runtime.Op) { op.Args["argv"] = []string{"x", "y", "z"} }), false},
		{"no list", needing(runtime.Args{"argv": []string{after}}), with(func(op *runtime.Op) { op.Args["argv"] = 7 }), false},
		{"a variable that was not known", needing(runtime.Args{"env": map[string]any{"A": after}}), put, true},
		{"text that only looks so", with(func(op *runtime.Op) { op.Args["path"] = after }), put, false},
		{"text with more around", needing(runtime.Args{"path": "/" + after}), put, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := operationOf(runtime.Event{Op: &runtime.OpEvent{Op: tt.was}})
			if err != nil {
				t.Fatal(err)
			}
			d := &Document{Schema: Schema, File: "a.star", Steps: []Step{{Name: "s", Operations: []Operation{o}}}}
			if got := reread(t, d).Steps[0].Operations[0].Allows(tt.now); got != tt.want {
				t.Errorf("it is %v", got)
			}
		})
	}
}

// TestADocumentHoldsNoSecret: not even one that a later step was the first to
// meet.
func TestADocumentHoldsNoSecret(t *testing.T) {
	c := NewCollector(t.TempDir())
	step := &runtime.Step{Name: "s"}
	c.Read(runtime.Event{Kind: runtime.RunStarted, Start: &runtime.RunStart{Plan: &runtime.Plan{}, Steps: []*runtime.Step{step}}})
	const value = "swordfish-12"
	op := runtime.Op{Name: "x", Effect: runtime.Change, Show: "show " + value, Args: runtime.Args{"a": []string{value}}}
	c.Read(runtime.Event{Kind: runtime.OpEnded, Step: "s", Text: "note " + value, Err: errors.New("failed: " + value),
		Op: &runtime.OpEvent{Op: op, Prediction: &runtime.Prediction{Detail: "+" + value + "\n"}}})
	c.Read(runtime.Event{Kind: runtime.Doubted, Step: "s", Text: "doubt " + value})
	c.Read(runtime.Event{Kind: runtime.StepEnded, Step: "s", Status: runtime.Failed, Err: errors.New("why " + value)})
	runtime.NewSecret("the fish", value)
	d := &Document{Schema: Schema, File: "a.star"}
	if err := c.Fill(d); err != nil {
		t.Fatal(err)
	}
	data, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(data, []byte("‹secret the fish›")); n != 7 || bytes.Contains(data, []byte(value)) {
		t.Errorf("%d placeholders:\n%s", n, data)
	}
}

// TestTheOrderIsThePlans, whatever the steps' order in time was.
func TestTheOrderIsThePlans(t *testing.T) {
	hosts := []*runtime.Host{{Name: "b"}, {Name: "a"}}
	start := runtime.Event{Kind: runtime.RunStarted, Start: &runtime.RunStart{Steps: []*runtime.Step{{Name: "two", Each: hosts}, {Name: "one"}}}}
	file := "a.star"
	ended := func(step, host string, n int) []runtime.Event {
		op := runtime.Op{Name: fmt.Sprint("op", n), Effect: runtime.Change, Pos: syntax.MakePosition(&file, int32(n), 1)}
		read := runtime.Op{Name: "look", Effect: runtime.Read}
		return []runtime.Event{
			{Kind: runtime.OpEnded, Step: step, Host: host, Op: &runtime.OpEvent{Op: op}},
			{Kind: runtime.StepRetried, Step: step, Host: host},
			{Kind: runtime.OpEnded, Step: step, Host: host, Op: &runtime.OpEvent{Op: read}},
			{Kind: runtime.OpEnded, Step: step, Host: host, Op: &runtime.OpEvent{Op: op}},
			{Kind: runtime.StepEnded, Step: step, Host: host, Status: runtime.OK},
		}
	}
	one, a, b := ended("one", "", 1), ended("two", "a", 2), ended("two", "b", 3)
	var texts []string
	for _, order := range [][][]runtime.Event{{one, a, b}, {b, a, one}, {a, one, b}} {
		c := NewCollector(t.TempDir())
		c.Read(start)
		for _, events := range order {
			for _, e := range events {
				c.Read(e)
			}
		}
		c.Read(runtime.Event{Kind: runtime.Doubted, Step: "two", Text: "for all its hosts"})
		if c.Complete() {
			t.Error("it is complete before its end")
		}
		c.Read(runtime.Event{Kind: runtime.RunEnded, Status: runtime.OK})
		if !c.Complete() {
			t.Error("it is not complete")
		}
		d := &Document{}
		if err := c.Fill(d); err != nil {
			t.Fatal(err)
		}
		var steps []string
		for _, s := range d.Steps {
			steps = append(steps, fmt.Sprint(s, " ", s.Status))
			steps = append(steps, s.Doubts...)
			for _, o := range s.Operations {
				steps = append(steps, o.Name)
			}
		}
		texts = append(texts, strings.Join(steps, ", "))
	}
	for _, got := range texts {
		if want := "step two on b ok, for all its hosts, op3, step two on a ok, op2, step one ok, op1"; got != want {
			t.Errorf("got %s", got)
		}
	}
}

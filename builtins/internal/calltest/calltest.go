// Package calltest runs plan code against a module's builtins in tests, with a
// door that does what the engine's does and keeps what came through it.
package calltest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	starlarkjson "go.starlark.net/lib/json"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/builtins/internal/call"
	"infra/runtime"
)

// A Door carries out the operations of plan code, or predicts them, and keeps them.
type Door struct {
	DryRun  bool
	Context context.Context // nil is the test's
	Names   starlark.StringDict

	Ops         []runtime.Op
	Results     []runtime.Result     // of a run and of reads
	Predictions []runtime.Prediction // of a dry run
	Log         bytes.Buffer
}

// Run runs code with the specs' modules and the door's names, and returns the
// globals that it set.
func (d *Door) Run(t testing.TB, specs []call.Spec, code string) (starlark.StringDict, error) {
	t.Helper()
	ctx := d.Context
	if ctx == nil {
		ctx = t.Context()
	}
	names := call.Modules(d.do, specs)
	names["json"] = starlarkjson.Module
	names["log"] = starlark.NewBuiltin("log", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		return starlark.None, nil
	})
	for name, v := range d.Names {
		names[name] = v
	}
	thread := &starlark.Thread{Name: t.Name()}
	runtime.SetContext(thread, ctx)
	options := &syntax.FileOptions{TopLevelControl: true, Set: true, GlobalReassign: true}
	return starlark.ExecFileOptions(options, thread, "test.star", code, names)
}

// Must is Run for code that has to succeed.
func (d *Door) Must(t testing.TB, specs []call.Spec, code string) starlark.StringDict {
	t.Helper()
	globals, err := d.Run(t, specs, code)
	if err != nil {
		t.Fatalf("%s\n%v", code, err)
	}
	return globals
}

func (d *Door) do(ctx context.Context, op runtime.Op) (runtime.Result, error) {
	if who := runtime.ReadsOnly(ctx); who != "" && op.Effect != runtime.Read {
		return runtime.Result{}, fmt.Errorf("%s is a %s, and %s only reads", op.Name, op.Effect, who)
	}
	d.Ops = append(d.Ops, op)
	if d.DryRun && op.Effect != runtime.Read {
		p, err := op.Predict(ctx)
		d.Predictions = append(d.Predictions, p)
		return runtime.Result{Value: p.Value, Aside: p.Aside}, err
	}
	r, err := op.Run(ctx, &d.Log)
	d.Results = append(d.Results, r)
	return r, err
}

// Last is the operation that was asked for last, as one line of JSON.
func (d *Door) Last(t testing.TB) string {
	t.Helper()
	if len(d.Ops) == 0 {
		t.Fatal("no operation was asked for")
	}
	return Line(t, d.Ops[len(d.Ops)-1])
}

// Line is an operation as one line: what a journal and a preview see of it.
func Line(t testing.TB, op runtime.Op) string {
	t.Helper()
	args, err := json.Marshal(op.Args)
	if err != nil {
		t.Fatal(err)
	}
	host := op.Host
	if host == "" {
		host = "here"
	}
	return op.Effect.String() + " " + op.Name + " " + host + " | " + op.Show + " | " + string(args)
}

// Meets is how a preview tells that one operation alters what another looks at.
func Meets(looks, alters []string) bool {
	if looks == nil || alters == nil {
		return true
	}
	return slices.ContainsFunc(looks, func(l string) bool {
		return slices.ContainsFunc(alters, func(a string) bool { return within(l, a) || within(a, l) })
	})
}

func within(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

// Complete fails for a spec that lacks a part.
func Complete(t testing.TB, specs []call.Spec) {
	t.Helper()
	for _, s := range specs {
		if s.Doc == "" || s.Example == "" {
			t.Errorf("%s has no documentation or no example", s.Name)
		}
		for _, p := range s.Params {
			if p.Name == "" || p.Doc == "" || p.Type == "" {
				t.Errorf("%s: parameter %q has no documentation or no type", s.Name, p.Name)
			}
		}
		for _, f := range s.Fields {
			if f.Name == "" || f.Type == "" || f.Doc == "" {
				t.Errorf("%s: field %q is not documented", s.Name, f.Name)
			}
		}
		if _, err := (&syntax.FileOptions{TopLevelControl: true}).Parse("example", s.Example, 0); err != nil {
			t.Errorf("%s: the example does not parse: %v", s.Name, err)
		}
	}
}

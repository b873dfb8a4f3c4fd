package interp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"infra/builtins"
	"infra/runtime"
)

// called runs the first step of a plan, and returns what it asked for: each command, with
// a "!" where it is a statement of its own.
func called(t *testing.T, files map[string]string, ctx context.Context, do runtime.Do) (string, error) {
	t.Helper()
	var asked []string
	note := func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		name := op.Show
		if op.Statement != nil {
			name += "!"
		}
		asked = append(asked, name)
		return do(ctx, op)
	}
	in := newInterp(t, files)
	f, err := New(in.root, builtins.All(builtins.Deps{Root: in.root}), note).read(t, "a.star")
	if err != nil {
		t.Fatal(err)
	}
	s := f.Plan.Steps[0]
	_, err = f.Call(ctx, ctx, s.Name, s.Fn, nil)
	return strings.Join(asked, " "), err
}

func well(context.Context, runtime.Op) (runtime.Result, error) {
	return runtime.Result{Value: runtime.NewRecord("x", runtime.Field{Name: "ok", Value: starlark.True})}, nil
}

const statementPlan = `
h = host("h", system = "x86_64-linux")
load("lib/b.star", "loaded", "answered")
def other(x): return x
def run(x): return ssh.run(h, [x])
def do(x): ssh.run(h, [x])
def f():
%s
p = plan(hosts = [h], steps = [step(f)])
`

const statementLib = `
h = host("h", system = "x86_64-linux")
def loaded(x):
    ssh.run(h, [x])
def answered(x): return ssh.run(h, [x])
`

// TestWhichCallsAreStatements: a "!" is one whose answer nobody can see.
func TestWhichCallsAreStatements(t *testing.T) {
	for code, want := range map[string]string{
		`ssh.run(h, ["a"])`:                                  "a!",
		`ssh.run(h, ["a"]); ssh.run(h, ["b"])`:               "a! b!",
		`(ssh.run(h, ["a"]))`:                                "a",
		"ssh.run(\n        h,\n        [\"a\"],\n    )":      "a!",
		`if True: ssh.run(h, ["a"])`:                         "a!",
		`for x in ["a", "b"]: ssh.run(h, [x])`:               "a! b!",
		`x = ssh.run(h, ["a"])`:                              "a",
		`x, y = ssh.run(h, ["a"]), ssh.run(h, ["b"])`:        "a b",
		`return ssh.run(h, ["a"])`:                           "a",
		`if ssh.run(h, ["a"]): pass`:                         "a",
		`ssh.run(h, ["a"]) if True else ssh.run(h, ["b"])`:   "a",
		`ssh.run(h, ["a"]) and ssh.run(h, ["b"])`:            "a b",
		`not ssh.run(h, ["a"])`:                              "a",
		`[ssh.run(h, [x]) for x in ["a", "b"]]`:              "a b",
		`{"x": ssh.run(h, ["a"])}`:                           "a",
		`[ssh.run(h, ["a"])]`:                                "a",
		`ssh.run(h, ["a"]).ok`:                               "a",
		`str(ssh.run(h, ["a"]))`:                             "a",
		`other(ssh.run(h, ["a"]))`:                           "a",
		`other(x = ssh.run(h, ["a"]))`:                       "a",
		`ssh.run(h, ["b" if ssh.run(h, ["a"]).ok else "c"])`: "a b!",
		`str(ssh.run(h, ["a"]).ok).strip()`:                  "a",
		`ssh.run(h, ["a"]).ok.real if False else None`:       "",
		`run("a")`:                                  "a",
		`do("a")`:                                   "a!",
		`x = do("a")`:                               "a!",
		`loaded("a")`:                               "a!",
		`x = [loaded("a")]`:                         "a!",
		`answered("a")`:                             "a",
		`(lambda: ssh.run(h, ["a"]))()`:             "a",
		`attempt(lambda: ssh.run(h, ["a"]))`:        "a",
		`attempt(lambda: do("a"))`:                  "a!",
		`x = [do, run]; x[0]("a"); x[1]("b")`:       "a! b",
		`r = ssh.run; r(h, ["a"]); x = r(h, ["b"])`: "a! b",
		`sorted([["a"], ["b"]], key = lambda x: run(x[0]).ok)`:  "a b",
		`sorted([h], key = lambda h: do("a"))`:                  "a!",
		`ssh.run(h, ["a"], check = False)`:                      "a",
		`ssh.run(h, ["a"], timeout = "1m")`:                     "a",
		`ssh.run(h, ["a"], reads = True)`:                       "a",
		`local.run(["a"])`:                                      "a",
		`ssh.run(h, ["%s" % "a"])`:                              "a!",
		`ssh.run(**{"host": h, "command": ["a"]})`:              "a!",
		`def g(): ssh.run(h, ["a"])` + "\n    g()":              "a!",
		`def g(x = ssh.run(h, ["a"])): pass` + "\n    g()":      "a",
		"x = {}\n    x[ssh.run(h, [\"a\"]).ok] = 1":             "a",
		"x = [1]\n    x += [ssh.run(h, [\"a\"])]":               "a",
		"for x in [ssh.run(h, [\"a\"])]:\n        print(x.ok)":  "a",
		"# a comment\n\n    ssh.run(h, [\"a\"])  # and another": "a!",
	} {
		files := map[string]string{"a.star": fmt.Sprintf(statementPlan, "    "+code), "lib/b.star": statementLib}
		if got, err := called(t, files, t.Context(), well); got != want || err != nil {
			t.Errorf("%s: asked for %q, want %q: %v", code, got, want, err)
		}
	}
}

// TestNoFileNoStatement: what no file of the plan calls is waited for.
func TestNoFileNoStatement(t *testing.T) {
	thread := &starlark.Thread{}
	var stack starlark.CallStack
	at := starlark.NewBuiltin("at", func(thread *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		stack = runtime.StatementOf(thread)
		return starlark.None, nil
	})
	f := &File{sources: map[string]*source{"a.star": {path: "a.star"}}} // which did not parse
	for _, ctx := range []context.Context{t.Context(), runtime.WithStatements(t.Context(), f.statement)} {
		runtime.SetContext(thread, ctx)
		if _, err := starlark.ExecFileOptions(dialect, thread, "a.star", "at()", starlark.StringDict{"at": at}); err != nil || stack != nil {
			t.Errorf("got %v: %v", stack, err)
		}
	}
}

// TestAnEarlierFailureHasItsPlace: that of the statement, with how the code had come there,
// wherever it is now and whatever happened to it since.
func TestAnEarlierFailureHasItsPlace(t *testing.T) {
	full := runtime.WithHint(errors.New("the disk is full"), "make room")
	for name, tt := range map[string]struct{ code, pos, trace, source string }{
		"it went on":     {"do(\"a\")\n    ssh.run(h, [\"b\"])", "a.star:6:12", "[a.star:8:7 in f]", `def do(x): ssh.run(h, [x])`},
		"it fails":       {"do(\"a\")\n    fail(\"later\")", "a.star:6:12", "[a.star:8:7 in f]", `def do(x): ssh.run(h, [x])`},
		"it returned":    {`do("a")`, "a.star:6:12", "[a.star:8:7 in f]", `def do(x): ssh.run(h, [x])`},
		"in a loaded":    {"x = 1\n    loaded(\"a\")\n    fail(\"later\")", "lib/b.star:4:5", "[a.star:9:11 in f]", `    ssh.run(h, [x])`},
		"in a list":      {"ssh.run(h, [\"a\"])\n    [do(\"b\") for _ in [1]]", "a.star:8:5", "[]", `    ssh.run(h, ["a"])`},
		"the clock's":    {"ssh.run(h, [\"a\"])\n    time.now()", "a.star:8:5", "[]", `    ssh.run(h, ["a"])`},
		"of a condition": {"if True:\n        ssh.run(h, [\"a\"])\n    x = ssh.run(h, [\"b\"])", "a.star:9:9", "[]", `        ssh.run(h, ["a"])`},
	} {
		ctx := runtime.WithAhead(t.Context(), t.Context())
		carryOut := func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
			runtime.EarlyOf(ctx).HandOver(nil)
			if err := runtime.EarlyOf(ctx).AfterOthers(); err != nil {
				return runtime.Result{}, err
			}
			return runtime.Result{}, full
		}
		files := map[string]string{"a.star": fmt.Sprintf(statementPlan, "    "+tt.code), "lib/b.star": statementLib}
		_, err := called(t, files, ctx, func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
			return runtime.AheadOf(ctx).Do(ctx, op, carryOut)
		})
		var f *Failure
		if !errors.As(err, &f) || !errors.Is(err, full) {
			t.Fatalf("%s: got %v", name, err)
		}
		if f.Pos.String() != tt.pos || f.Source != tt.source || f.Hint != "make room" || f.Msg != "the disk is full" || fmt.Sprint(f.Trace) != tt.trace {
			t.Errorf("%s: got %s %q %s %s, trace %v", name, f.Pos, f.Source, f.Msg, f.Hint, f.Trace)
		}
	}
}

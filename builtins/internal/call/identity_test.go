package call

import (
	"context"
	"errors"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/runtime"
)

type identifiedArgs struct {
	Text     *runtime.Text           `arg:"text" default:"" doc:"a text"`
	Command  Argv                    `arg:"command" default:"" doc:"a command"`
	Env      map[string]runtime.Text `arg:"env" default:"" doc:"an environment"`
	Host     *runtime.Host           `arg:"host" default:"" doc:"a host"`
	Names    []string                `arg:"names" default:"" doc:"names"`
	Count    int                     `arg:"count" default:"3" doc:"a number"`
	Path     *runtime.StorePath      `arg:"path" default:"" doc:"a path"`
	Anything starlark.Value          `arg:"anything" default:"" doc:"a value"`
	Values   []starlark.Value        `arg:"values" default:"" doc:"values"`
	Target   Target                  `arg:"target" default:"" doc:"a host"`
	Late     Late                    `arg:"late" default:"" doc:"a text"`
}

// identified evaluates a call of f, which asks for two operations, and returns what
// each is known by. The first is answered with answer and err.
func identified(t *testing.T, expr string, answer runtime.Result, err error) (first, second string) {
	t.Helper()
	spec := New(Spec{Name: "f", Effect: runtime.Change}, func(c *Call, _ identifiedArgs) (starlark.Value, error) {
		_, _ = c.Do(runtime.Op{})
		return c.Value(runtime.Op{})
	})
	var same []string
	do := func(_ context.Context, op runtime.Op) (runtime.Result, error) {
		same = append(same, op.Same())
		return answer, err
	}
	names := Modules(do, []Spec{spec})
	endless := starlark.NewList(nil)
	_ = endless.Append(endless)
	for name, v := range map[string]starlark.Value{
		"h": &runtime.Host{Name: "h"}, "h2": &runtime.Host{Name: "h", SSH: "root@h"}, "h3": &runtime.Host{Name: "h", Tags: []string{"a"}},
		"h4": (&runtime.Host{Name: "h"}).At(runtime.Place{Address: "1"}), "h5": (&runtime.Host{Name: "h"}).At(runtime.Place{Address: "1", Key: "k"}),
		"h6": (&runtime.Host{Name: "h"}).At(runtime.Place{Address: "1", Pending: &runtime.Unknown{Op: "m.f"}}),
		"a":  runtime.NewSecret("s", "one-secret"), "b": runtime.NewSecret("s", "another-secret"), "c": runtime.NewSecret("s2", "one-secret"),
		"p": &runtime.StorePath{Path: "/nix/store/x", Drv: "/nix/store/x.drv"}, "q": &runtime.StorePath{Path: "/nix/store/x"},
		"r": runtime.NewRecord("r", runtime.Field{Name: "x", Value: starlark.None}), "endless": endless, "late": runtime.Unknown{Op: "m.f"},
	} {
		names[name] = v
	}
	thread := new(starlark.Thread)
	runtime.SetContext(thread, t.Context())
	if _, err := starlark.EvalOptions(&syntax.FileOptions{}, thread, "a.star", expr, names); err != nil && !errors.Is(err, errAsked) {
		t.Fatalf("%s: %v", expr, err)
	}
	return same[0], same[1]
}

var errAsked = errors.New("asked")

// TestWhatACallIsKnownBy: no two of these calls are taken for one another, and each is
// known again wherever it stands. What cannot be known again is known by nothing.
func TestWhatACallIsKnownBy(t *testing.T) {
	t.Parallel()
	known := map[string]string{}
	for _, args := range []string{
		`()`, `("x")`, `("y")`, `("")`, `(a)`, `(b)`, `(c)`, `("one-secret")`, `("sha256:x")`,
		`(command = ["ls"])`, `(command = "ls")`, `(command = ["l", "s"])`, `(command = ["ls", ""])`,
		`(env = {})`, `(env = {"A": "x"})`, `(env = {"A": a})`, `(env = {"A": b})`, `(env = {"A": "", "x": ""})`,
		`(host = h)`, `(host = h2)`, `(host = h3)`, `(host = h4)`, `(host = h5)`,
		`(names = [])`, `(names = ["a", "b"])`, `(names = ["a:b"])`, `(count = 4)`, `(path = p)`, `(path = q)`,
		`(anything = "4")`, `(anything = 4)`, `(anything = 4.5)`, `(anything = True)`, `(anything = b"4")`, `(anything = ["4"])`, `(anything = ("4",))`, `(anything = {"4": 5})`,
		`(anything = [["4"], "5"])`, `(anything = [["4", "5"]])`, `(anything = r)`, `(anything = a)`,
		`(values = [])`, `(values = [h])`, `(values = [h2])`, `(target = h)`, `(target = "h")`, `(late = "")`, `(late = "x")`,
	} {
		first, second := identified(t, "f"+args, runtime.Result{}, nil)
		for _, same := range []string{first, second} {
			if before := known[same]; same == "" || before != "" {
				t.Errorf("f%s is known by %q, as %s is", args, same, before)
			}
			known[same] = args
		}
		if again, _ := identified(t, "[0 for x in [\n1] if f"+args+"]", runtime.Result{}, nil); again != first {
			t.Errorf("f%s is not known again", args)
		}
	}
	for _, args := range []string{`(anything = len)`, `(values = [[len]])`, `(anything = late)`, `(late = late)`, `(anything = endless)`, `(host = h6)`, `(anything = {"x": late})`} {
		if first, second := identified(t, "f"+args, runtime.Result{}, nil); first+second != "" {
			t.Errorf("f%s is known by %q", args, first+second)
		}
	}
}

// TestWhatAnAnswerDecides: what a call was answered tells what it asks for next from
// what it asks for after another answer.
func TestWhatAnAnswerDecides(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	here := runtime.Unknown{Op: "f", Pos: syntax.MakePosition(new("a.star"), 1, 2)}
	for name, answer := range map[string]runtime.Result{
		"none": {Value: starlark.None}, "text": {Value: starlark.String("x")}, "another": {Value: starlark.String("y")},
		"its own": {Value: here}, "its own text": {Value: here.As(runtime.StringShape)},
		"in a record": {Value: runtime.NewRecord("r", runtime.Field{Name: "x", Value: here})},
	} {
		_, second := identified(t, `f()`, answer, nil)
		if second == "" || known[second] {
			t.Errorf("%s: known by %q", name, second)
		}
		known[second] = true
	}
	elsewhere := here
	elsewhere.Pos.Line = 2
	for name, answer := range map[string]runtime.Result{"of elsewhere": {Value: elsewhere}, "a function": {Value: starlark.Universe["len"]}, "aside": {Aside: 1}} {
		if first, second := identified(t, `f()`, answer, nil); first == "" || second != "" {
			t.Errorf("%s: known by %q, then %q", name, first, second)
		}
	}
	if first, second := identified(t, `f()`, runtime.Result{}, errAsked); first == "" || second != "" {
		t.Errorf("a failure: known by %q, then %q", first, second)
	}
}

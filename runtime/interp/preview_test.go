package interp

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"infra/builtins"
	"infra/runtime"
)

// TestAPreviewEndsWhereItWouldDecide: of plans read for a preview, with the
// place and, in other files too, the line.
func TestAPreviewEndsWhereItWouldDecide(t *testing.T) {
	in := newInterp(t, map[string]string{
		"a.star": `load("lib.star", "healthy")
h = host("h", system = "x86_64-linux")
def look():
    out = ssh.run(h, ["zpool", "status"]).stdout
    log("it says %s" % out)
    return healthy(out.strip())
p = plan(hosts = [h], steps = [step(look)])
`,
		"lib.star": "def healthy(text):\n    return 1 if text == \"ONLINE\" else 2\n",
	})
	in = New(in.root, builtins.All(builtins.Deps{Root: in.root}), func(_ context.Context, op runtime.Op) (runtime.Result, error) {
		u := runtime.Unknown{Op: op.Name, Pos: op.Pos, Shape: runtime.StringShape}
		return runtime.Result{Value: runtime.CommandResult(u, u, starlark.MakeInt(0), starlark.True)}, nil
	})
	f, err := in.Preview(t.Context(), filepath.Join(in.root, "a.star"))
	if err != nil || !f.Preview {
		t.Fatal(err)
	}
	var said []string
	ctx := runtime.WithPrint(t.Context(), func(line string) { said = append(said, line) })
	_, err = f.Call(ctx, ctx, "look", f.Plan.Steps[0].Fn, nil)
	var fail *Failure
	var notKnown *runtime.NotKnownError
	if !errors.As(err, &fail) || !errors.As(err, &notKnown) {
		t.Fatalf("got %v", err)
	}
	if fail.Error() != "lib.star:2:17: the condition of an if is not known in a dry run (known after ssh.run, a.star:4)" ||
		fail.Source != `    return 1 if text == "ONLINE" else 2` || len(fail.Trace) != 1 || !strings.HasPrefix(fail.Trace[0], "a.star:6:19 in look") {
		t.Errorf("got %s\n%s\n%q", fail, fail.Source, fail.Trace)
	}
	if len(said) != 1 || said[0] != "(known after ssh.run, a.star:4)" {
		t.Errorf("said %q", said)
	}
}

// TestARunKeepsSecretsInText: without being instrumented for what is not known.
func TestARunKeepsSecretsInText(t *testing.T) {
	t.Setenv("INFRA_TEST_TOKEN", "s3cr3t-of-a-run")
	in := newInterp(t, map[string]string{"a.star": `
def make():
    key = secrets.env("INFRA_TEST_TOKEN")
    text = "a"
    text += " %s" % key
    fs.write("x", text + str(key) + json.encode([key]) + ",".join([key]) + "{}".format(key))
p = plan(steps = [step(make)])
`})
	for name, read := range map[string]func(*Interp) func(context.Context, string) (*File, error){
		"run":     func(in *Interp) func(context.Context, string) (*File, error) { return in.Read },
		"preview": func(in *Interp) func(context.Context, string) (*File, error) { return in.Preview },
	} {
		var shown string
		in := New(in.root, builtins.All(builtins.Deps{Root: in.root}), func(_ context.Context, op runtime.Op) (runtime.Result, error) {
			if op.Name == "secrets.env" {
				return runtime.Result{Value: runtime.NewSecret("tok", "s3cr3t-of-a-run")}, nil
			}
			shown = op.Name
			return runtime.Result{Value: starlark.None}, nil
		})
		f, err := read(in)(t.Context(), filepath.Join(in.root, "a.star"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Call(t.Context(), t.Context(), "make", f.Plan.Steps[0].Fn, nil); err != nil || shown != "fs.write" {
			t.Errorf("%s: %v, asked for %q", name, err, shown)
		}
	}
}

// TestAPreviewMayTakeTheStepsOfItsRun: it takes more of them for the same code.
func TestAPreviewMayTakeTheStepsOfItsRun(t *testing.T) {
	for _, body := range []string{"i == 3", "not i", "x = i\n    x += i", "d[0] += i", "d[0] %= 7", "d[i % 1]", "d[0:1]", "-i", "s.f", "'a'.strip()", "[a for a, b in [(1, 2)]]",
		"for a, b in [(1, 2)]: pass", "1 if i else 2", "i and 1", "len(d)", "f2(*d)"} {
		text := "s = struct(f = 1)\ndef f2(*a): pass\ndef f(d):\n  for i in range(1000):\n    " + body + "\n"
		steps := func(forms Forms) uint64 {
			bound := forms.bind(starlark.StringDict{"struct": starlark.NewBuiltin("struct", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
				return runtime.NewRecord("s", runtime.Field{Name: "f", Value: starlark.None}), nil
			})})
			thread := new(starlark.Thread)
			globals, err := run(thread, "a.star", text, forms, bound)
			if err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			before := thread.ExecutionSteps()
			if _, err := starlark.Call(thread, globals["f"], starlark.Tuple{starlark.NewList([]starlark.Value{starlark.MakeInt(1)})}, nil); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			return thread.ExecutionSteps() - before
		}
		plain, preview := steps(nil), steps(DryRunForms())
		if preview <= plain || preview > previewSteps/maxSteps*plain {
			t.Errorf("%s: %d steps, and %d in a preview", body, plain, preview)
		}
	}
}

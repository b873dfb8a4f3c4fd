package interp

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"infra/builtins"
	"infra/runtime"
)

// callStep runs the first step of a plan with the given door.
func callStep(t *testing.T, ctx, stop context.Context, text string, do runtime.Do) error {
	t.Helper()
	in := newInterp(t, map[string]string{"a.star": text})
	f, err := New(in.root, builtins.All(builtins.Deps{Root: in.root}), do).read(t, "a.star")
	if err != nil {
		t.Fatal(err)
	}
	s := f.Plan.Steps[0]
	_, err = f.Call(ctx, stop, s.Name, s.Fn, nil)
	return err
}

func TestAFailureHasItsPlace(t *testing.T) {
	refuse := func(context.Context, runtime.Op) (runtime.Result, error) {
		return runtime.Result{}, runtime.WithHint(errors.New("the disk is full"), "make room")
	}
	err := callStep(t, t.Context(), t.Context(), `
def inner():
    x = 1
    return fs.write("x", "y")
def outer():
    return [inner() for _ in [1]]
p = plan(steps = [step(outer)])
`, refuse)
	var f *Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v", err)
	}
	if f.Pos.String() != "a.star:4:12" || f.Source != `    return fs.write("x", "y")` || f.Hint != "make room" || !strings.Contains(f.Msg, "the disk is full") {
		t.Errorf("got %+v", f)
	}
	if len(f.Trace) != 1 || !strings.HasPrefix(f.Trace[0], "a.star:6:18 in outer") {
		t.Errorf("trace is %q", f.Trace)
	}
}

func TestARunawayLoopEnds(t *testing.T) {
	text := `
def spin():
    for i in range(1000000000): pass
p = plan(steps = [step(spin)])
`
	t.Run("by the limit", func(t *testing.T) {
		err := callStep(t, t.Context(), t.Context(), text, never(t))
		if err == nil || !strings.Contains(err.Error(), "is there a loop without end?") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("by cancelling, which attempt does not catch", func(t *testing.T) {
		stop, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(20*time.Millisecond, func() { cancel(runtime.ErrInterrupted) })
		err := callStep(t, t.Context(), stop, strings.Replace(text, "step(spin)", `step(lambda: attempt(spin), name = "x")`, 1), never(t))
		if !errors.Is(err, runtime.ErrInterrupted) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAttemptCatchesFailureOnly(t *testing.T) {
	text := `
def try():
    got = attempt(lambda: fs.write("x", "y"))
    if not got.ok: fail("caught: " + got.error)
p = plan(steps = [step(try)])
`
	text = strings.ReplaceAll(text, "try", "trial")
	for _, tt := range []struct {
		name   string
		err    error
		caught bool
	}{
		{"a failure", errors.New("boom"), true},
		{"an interruption", runtime.ErrInterrupted, false},
		{"a held question", runtime.ErrHeld, false},
		{"a value not known", &runtime.NotKnownError{Field: "stdout"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			do := func(context.Context, runtime.Op) (runtime.Result, error) { return runtime.Result{}, tt.err }
			err := callStep(t, t.Context(), t.Context(), text, do)
			if caught := strings.Contains(err.Error(), "caught: "); caught != tt.caught {
				t.Errorf("caught is %v: %v", caught, err)
			}
		})
	}
}

func TestAnErrorAtTheTopLevelShowsBothLines(t *testing.T) {
	in := newInterp(t, map[string]string{
		"a.star": "load(\"b.star\", \"f\")\nx = f(0)\np = plan(steps = [step(f, name = \"x\")])",
		"b.star": "def f(n):\n    return 1 // n",
	})
	_, err := in.read(t, "a.star")
	var ps runtime.Problems
	if !errors.As(err, &ps) || len(ps) != 1 || ps[0].Pos.String() != "b.star:2:14" || len(ps[0].Trace) != 1 || !strings.HasPrefix(ps[0].Trace[0], "a.star:2:6") {
		t.Errorf("got %+v", err)
	}
}

func TestAStepCannotChangeItsFile(t *testing.T) {
	err := callStep(t, t.Context(), t.Context(), `
seen = []
def f(): seen.append(1)
p = plan(steps = [step(f)])
`, never(t))
	if err == nil || !strings.Contains(err.Error(), "frozen list") {
		t.Errorf("got %v", err)
	}
}

package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"infra/runtime"
	"infra/runtime/interp"
)

// keeping is a run, and tasks of it whose operations name locks.
func keeping(t *testing.T, root string, preview bool) (*run, func(name string) *task) {
	r := &run{id: "r", root: root, plan: &runtime.Plan{}, stop: t.Context(), file: &interp.File{Preview: preview}}
	return r, func(name string) *task { return &task{run: r, group: &group{step: &runtime.Step{Name: name}}} }
}

func (r *run) lock(ctx context.Context, t *task, names ...string) error {
	do := kept(r, func(context.Context, runtime.Op) (runtime.Result, error) { return runtime.Result{}, nil })
	_, err := do(withTask(ctx, t), runtime.Op{Name: "x", Locks: names})
	return err
}

func TestAStepKeepsWhatItsOperationsLock(t *testing.T) {
	for name, preview := range map[string]bool{"run": false, "preview": true} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			r, step := keeping(t, root, preview)
			a, b := step("a"), step("b")
			for range 2 { // its own lock is none to it
				if err := r.lock(t.Context(), a, "dir"); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.lock(t.Context(), b, "other"); err != nil {
				t.Fatal(err)
			}
			waits, got := make(chan string, 1), make(chan error, 1)
			r.opts.Show = func(e runtime.Event) { waits <- e.Text }
			go func() { got <- r.lock(t.Context(), b, "dir") }()
			if text := <-waits; text != "step a works on dir; it is waited for" {
				t.Errorf("it is said that %q", text)
			}
			select {
			case err := <-got:
				t.Fatalf("two steps have the lock: %v", err)
			default:
			}
			r.kept.release(a)
			if err := <-got; err != nil {
				t.Error(err)
			}

			another, step := keeping(t, root, false)
			err := another.lock(t.Context(), step("c"), "dir")
			if preview != (err == nil) || !preview && !errors.Is(err, runtime.ErrLocked) {
				t.Errorf("a run beside it: %v", err)
			}
			r.kept.release(b)
			if err := another.lock(t.Context(), step("d"), "other"); err != nil {
				t.Errorf("a run after it: %v", err)
			}
		})
	}
}

func TestStepsThatWouldWaitForEachOther(t *testing.T) {
	r, step := keeping(t, t.TempDir(), false)
	a, b, c := step("a"), step("b"), step("c")
	for task, name := range map[*task]string{a: "x", b: "y", c: "z"} {
		if err := r.lock(t.Context(), task, name); err != nil {
			t.Fatal(err)
		}
	}
	waits := make(chan bool, 2)
	r.opts.Show = func(runtime.Event) { waits <- true }
	got := make(chan error, 2)
	go func() { got <- r.lock(t.Context(), a, "y") }()
	<-waits
	go func() { got <- r.lock(t.Context(), b, "z") }()
	<-waits
	err := r.lock(t.Context(), c, "x")
	if err == nil || !strings.Contains(err.Error(), "step a has x and waits") || !strings.Contains(runtime.HintOf(err), "needs") {
		t.Errorf("got %v", err)
	}
	r.kept.release(c)
	if err := <-got; err != nil { // b's
		t.Error(err)
	}
	r.kept.release(b)
	if err := <-got; err != nil { // a's
		t.Error(err)
	}
}

func TestWaitingForAStepEndsWithTheRun(t *testing.T) {
	r, step := keeping(t, t.TempDir(), false)
	if err := r.lock(t.Context(), step("a"), "x"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	r.opts.Show = func(runtime.Event) { cancel(runtime.ErrInterrupted) }
	if err := r.lock(ctx, step("b"), "x"); !errors.Is(err, runtime.ErrInterrupted) {
		t.Errorf("got %v", err)
	}
}

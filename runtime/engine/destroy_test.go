package engine

import (
	"context"
	"fmt"
	"testing"

	"infra/runtime"
)

// TestWhatDestroysIsHeld: only an operation that destroys is asked about, and
// one that is refused leaves no trace but the step's end.
func TestWhatDestroysIsHeld(t *testing.T) {
	for _, e := range []runtime.Effect{runtime.Read, runtime.Build, runtime.Change, runtime.Destroy} {
		ran, asked := 0, 0
		r := &run{opts: Options{MayDestroy: func(_ context.Context, op runtime.Op) error {
			asked++
			return fmt.Errorf("%w: %s", runtime.ErrHeld, op.Name)
		}}}
		do := confirmed(r, func(context.Context, runtime.Op) (runtime.Result, error) {
			ran++
			return runtime.Result{}, nil
		})
		_, err := do(t.Context(), runtime.Op{Name: "x", Effect: e})
		if destroys := e == runtime.Destroy; destroys != (err != nil) || destroys != (asked == 1) || destroys == (ran == 1) {
			t.Errorf("%s: %v, asked %d times, ran %d times", e, err, asked, ran)
		}
	}
}

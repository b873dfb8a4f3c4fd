package file

import (
	"context"
	"io"
	"strings"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// A Replacement makes a file what it shall be, wherever that file is. Where it
// is that already, nothing is written.
type Replacement struct {
	Kind    string                                  // of the result
	Path    string                                  // as the plan named it
	Compare func(context.Context) ([]string, error) // a line for everything in which the file is different
	Foresee func(context.Context) ([]string, error) // what else Write would alter, or why it would fail
	Write   func(context.Context) error             // is called after Compare, where that found something
}

// Predict compares, and asks what a write would meet with.
func (r Replacement) Predict(ctx context.Context) (runtime.Prediction, error) {
	differs, err := r.Compare(ctx)
	if err != nil {
		return runtime.Prediction{}, err
	}
	if len(differs) == 0 {
		return runtime.Prediction{Verdict: runtime.NoChange, Value: r.result(false)}, nil
	}
	more, err := r.Foresee(ctx)
	if err != nil {
		return runtime.Prediction{}, err
	}
	return runtime.Prediction{Verdict: runtime.WillChange, Value: r.result(true), Detail: strings.Join(append(differs, more...), "\n")}, nil
}

// Run compares, and writes where something is different.
func (r Replacement) Run(ctx context.Context, _ io.Writer) (runtime.Result, error) {
	differs, err := r.Compare(ctx)
	if err != nil || len(differs) == 0 {
		return runtime.Result{Value: r.result(false)}, err
	}
	if err := r.Write(ctx); err != nil {
		return runtime.Result{}, err
	}
	return runtime.Result{Changed: true, Value: r.result(true)}, nil
}

// Settle reads the file back. One that is as it shall be counts as changed: it
// may not have been so before, and what waits for a change must not miss it.
func (r Replacement) Settle(ctx context.Context, _ io.Writer) (runtime.Fate, runtime.Result, error) {
	differs, err := r.Compare(ctx)
	switch {
	case err != nil:
		return runtime.Untold, runtime.Result{}, err
	case len(differs) > 0:
		return runtime.NotDone, runtime.Result{}, nil
	}
	return runtime.Done, runtime.Result{Changed: true, Value: r.result(true)}, nil
}

func (r Replacement) result(changed bool) *runtime.Record {
	return runtime.NewRecord(r.Kind, runtime.Field{Name: "changed", Value: starlark.Bool(changed)},
		runtime.Field{Name: "path", Value: starlark.String(r.Path)})
}

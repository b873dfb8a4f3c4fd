package engine

import (
	"context"

	"infra/runtime"
)

// confirmed holds what cannot be taken back until a person has named what it
// destroys. The answer of a question that a plan asks is not enough: it may be
// given in advance for all of them.
func confirmed(r *run, next runtime.Do) runtime.Do {
	return func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		if op.Effect == runtime.Destroy && r.opts.MayDestroy != nil {
			if err := r.opts.MayDestroy(ctx, op); err != nil {
				return runtime.Result{}, err
			}
		}
		return next(ctx, op)
	}
}

package runtime

import (
	"context"

	"go.starlark.net/starlark"
)

// contextKey is the one thread-local that infra uses. Nothing else rides on a
// thread: what a builtin works with is given to it when it is made.
const contextKey = "context"

// SetContext gives a new thread the context that builtins will see.
func SetContext(t *starlark.Thread, ctx context.Context) { t.SetLocal(contextKey, ctx) }

// ContextOf returns the context of a thread that interp made.
func ContextOf(t *starlark.Thread) context.Context {
	ctx, ok := t.Local(contextKey).(context.Context)
	if !ok {
		return context.Background()
	}
	return ctx
}

type printKey struct{}

// WithPrint gives ctx the function that a plan's print and log go to.
func WithPrint(ctx context.Context, print func(text string)) context.Context {
	return context.WithValue(ctx, printKey{}, print)
}

// Print hands a plan's line to whom WithPrint named; while a file is read
// there is nobody, and reading has no effect.
func Print(ctx context.Context, text string) {
	if print, ok := ctx.Value(printKey{}).(func(string)); ok {
		print(text)
	}
}

// Prints says whether Print has somebody to hand a line to.
func Prints(ctx context.Context) bool {
	_, ok := ctx.Value(printKey{}).(func(string))
	return ok
}

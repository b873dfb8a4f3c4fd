package runtime

import (
	"context"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
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

type statementsKey struct{}

// WithStatements gives ctx what tells of a call in a plan, by its parenthesis, whether it is
// a statement of its own.
func WithStatements(ctx context.Context, is func(syntax.Position) bool) context.Context {
	return context.WithValue(ctx, statementsKey{}, is)
}

// StatementOf is from where the builtin that t runs is called, if that is a statement of its
// own; else nil.
func StatementOf(t *starlark.Thread) starlark.CallStack {
	is, ok := ContextOf(t).Value(statementsKey{}).(func(syntax.Position) bool)
	if !ok || !is(t.CallFrame(1).Pos) {
		return nil
	}
	return t.CallStack()
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

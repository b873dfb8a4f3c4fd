package runtime

import (
	"context"
	"io"
)

// A Fate is what became of an operation that was in flight when the process
// that carried it out ended.
type Fate uint8

// The fates.
const (
	Untold  Fate = iota // nothing tells
	NotDone             // it did not begin, or left nothing: it may be carried out
	Done                // it was carried out, be it in vain
)

// Settle finds out the fate of an operation; where that operation still goes
// on, once it has ended. Of what is [Done] it returns how it ended, the result
// or the error, as [Op.Run] would have. An error of what is not says why it
// could not be found out. What a tool prints, or has printed, goes to log.
// Without a Settle, what was in flight is repeated where it may be, and put to
// a person otherwise.
type Settle func(ctx context.Context, log io.Writer) (Fate, Result, error)

type opIDKey struct{}

// WithOpID gives what is called with the context the name of the operation that
// it is about.
func WithOpID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, opIDKey{}, id)
}

// OpID is the name of the operation that [Op.Run], [Op.Settle] or [Op.Forget]
// is called for: of all runs of all projects only this one has it, and a run
// that is resumed gives it the same one. It has letters, digits and hyphens.
func OpID(ctx context.Context) string {
	id, _ := ctx.Value(opIDKey{}).(string)
	return id
}

type attemptKey struct{}

// WithAttempt makes ctx that of one attempt of a step, with which it ends.
func WithAttempt(ctx context.Context) context.Context {
	return context.WithValue(ctx, attemptKey{}, ctx)
}

// AttemptOf is the context of the attempt of a step that asks, which tells it from all
// others; nil where none does.
func AttemptOf(ctx context.Context) context.Context {
	attempt, _ := ctx.Value(attemptKey{}).(context.Context)
	return attempt
}

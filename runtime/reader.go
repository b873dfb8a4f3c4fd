package runtime

import (
	"context"
	"io"
)

// A Reader carries out a read while a plan file is read.
type Reader func(context.Context, Op) (Result, error)

type readerKey struct{}

// WithReader lets read carry out what is read for plan files that are read with the
// context, clan.machines() at the top of one say. Without it every read is carried out.
func WithReader(ctx context.Context, read Reader) context.Context {
	return context.WithValue(ctx, readerKey{}, read)
}

// ReaderFrom is the context's reader, or one that carries out what it is given.
func ReaderFrom(ctx context.Context) Reader {
	if read, ok := ctx.Value(readerKey{}).(Reader); ok {
		return read
	}
	return func(ctx context.Context, op Op) (Result, error) { return op.Run(ctx, io.Discard) }
}

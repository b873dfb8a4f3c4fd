package sops

import (
	"context"
	"errors"
)

type quietKey struct{}

// WithoutAsking makes a context in which files are decrypted only with what
// needs nobody: no touch, no passphrase, no key command, no plugin, no cloud.
// No process is started then. Of what only these could decrypt the error is one
// of [WouldAsk].
func WithoutAsking(ctx context.Context) context.Context {
	return context.WithValue(ctx, quietKey{}, true)
}

func quiet(ctx context.Context) bool { return ctx.Value(quietKey{}) != nil }

// WouldAsk says whether a file was not decrypted because nobody was to be asked.
func WouldAsk(err error) bool {
	var none *noKeyError
	return errors.As(err, &none) && none.wouldAsk
}

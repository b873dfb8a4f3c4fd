package runtime

import "context"

type readsOnlyKey struct{}

// WithReadsOnly lets what is called with the context only observe; who says what
// that is: "a check".
func WithReadsOnly(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, readsOnlyKey{}, who)
}

// ReadsOnly is who may only observe, or "".
func ReadsOnly(ctx context.Context) string {
	who, _ := ctx.Value(readsOnlyKey{}).(string)
	return who
}

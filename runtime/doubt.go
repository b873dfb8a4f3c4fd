package runtime

import "context"

// A Doubt tells code that catches failures whether what it calls could fail in
// a run although it did not in the preview: an operation was foreseen there,
// and not carried out.
type Doubt struct {
	first  *Unknown
	outer  *Doubt
	raised func()
}

type doubtKey struct{}

// WithDoubt returns a context whose operations raise the doubt. raised is
// called whenever one does.
func WithDoubt(ctx context.Context, raised func()) (context.Context, *Doubt) {
	outer, _ := ctx.Value(doubtKey{}).(*Doubt)
	d := &Doubt{outer: outer, raised: raised}
	return context.WithValue(ctx, doubtKey{}, d), d
}

// RaiseDoubt says that an operation was foreseen and not carried out. It is
// called by the goroutine of the step that asked for it.
func RaiseDoubt(ctx context.Context, foreseen Unknown) {
	d, _ := ctx.Value(doubtKey{}).(*Doubt)
	for ; d != nil; d = d.outer {
		if d.first == nil {
			d.first = &foreseen
		}
		d.raised()
	}
}

// Raised returns the first operation that was foreseen only, or nil.
func (d *Doubt) Raised() *Unknown { return d.first }

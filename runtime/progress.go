package runtime

import (
	"context"
	"time"
)

// A Part is a piece of what an operation does that takes a time of its own: a
// resource of terraform, a derivation, a path that is copied. Without a name it
// only tells how far all parts are together.
type Part struct {
	Name   string        // "hcloud_server.cinnabar"
	Does   string        // what is done with it, "creating"; where Over, what was done, "created"
	Over   bool          // it has ended
	Took   time.Duration // of what is Over; of what is not, how long it is at work already
	Detail string        // "id 42"; of what is not Over, how far it is: "buildPhase", "1.2 of 3.4 GiB"
	Sum    string        // how far all parts are together, "3 of 12 builds, 1.2 of 3.4 GiB"; "" where Nth and Of say it
	Nth    int           // of what is Over: how many have ended; 0 where nobody counts
	Of     int           // how many there are; 0 where that is not known
}

type progressKey struct{}

// WithProgress gives ctx the function that parts of an operation are told to.
func WithProgress(ctx context.Context, tell func(Part)) context.Context {
	return context.WithValue(ctx, progressKey{}, tell)
}

// Progress tells people that a part of the operation that ctx is about began,
// came further, or ended. It is not kept. Nobody may be there to be told.
func Progress(ctx context.Context, p Part) {
	if tell, ok := ctx.Value(progressKey{}).(func(Part)); ok {
		tell(p)
	}
}

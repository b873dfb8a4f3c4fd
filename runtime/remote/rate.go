package remote

import (
	"context"
	"io"
	"sync"
	"time"
)

// A Rate bounds how many bytes a second all who share it send together. They
// send in small pieces, each when its turn has come, so that all get the same
// of it. It holds up who sends, never a connection. nil bounds nothing.
type Rate struct {
	perSecond int64

	mu   sync.Mutex
	next time.Time // when what was let through is sent
}

// NewRate makes a rate of so many bytes a second; 0 is no bound.
func NewRate(perSecond int64) *Rate {
	if perSecond <= 0 {
		return nil
	}
	return &Rate{perSecond: perSecond}
}

// rateBurst is how long what was not used is had for later.
const rateBurst = 100 * time.Millisecond

// piece is how much goes at a time: so little that nobody's turn takes long.
func (r *Rate) piece() int64 { return min(max(r.perSecond/50, 512), 32<<10) }

// spend waits until n bytes may be sent, or ctx ends.
func (r *Rate) spend(ctx context.Context, n int) error {
	r.mu.Lock()
	now := time.Now()
	if least := now.Add(-rateBurst); r.next.Before(least) {
		r.next = least
	}
	r.next = r.next.Add(time.Duration(float64(n) / float64(r.perSecond) * float64(time.Second)))
	after := r.next.Sub(now)
	r.mu.Unlock()
	if after <= 0 {
		return nil
	}
	turn := time.NewTimer(after)
	defer turn.Stop()
	select {
	case <-turn.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// bound is from, read no faster than r lets it be sent.
func (r *Rate) bound(ctx context.Context, from io.Reader) io.Reader {
	if r == nil {
		return from
	}
	return bounded{r, ctx, from}
}

type bounded struct {
	rate *Rate
	ctx  context.Context
	from io.Reader
}

// Read waits before it hands on what it has read: what was not there takes nothing of the rate.
func (b bounded) Read(p []byte) (int, error) {
	n, err := b.from.Read(p[:min(int64(len(p)), b.rate.piece())])
	if n == 0 {
		return n, err
	}
	if ended := b.rate.spend(b.ctx, n); ended != nil {
		return 0, ended
	}
	return n, err
}

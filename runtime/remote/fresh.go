package remote

import (
	"context"

	"infra/runtime"
)

// Fresh connects to h anew, whatever connection there is: that one may live on
// where nobody could make another. What is asked of h from now on goes over the
// new one; what is under way stays where it is.
func (p *Pool) Fresh(ctx context.Context, h *runtime.Host) error {
	if p.ctx.Err() != nil {
		return errClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.ctx, func() { cancel(errClosed) })()
	e, err := p.endpoint(ctx, h)
	if err != nil {
		return err
	}
	c, err := p.dial(ctx, e)
	if err != nil {
		return err
	}
	if old := p.pooled(e.key()); old != nil {
		p.mu.Lock()
		p.aside[e.key()] = append(p.aside[e.key()], old)
		p.mu.Unlock()
		context.AfterFunc(p.ctx, func() { old.client.Close() })
	}
	return p.keep(e.key(), c)
}

package clan

import (
	"context"
	"sync"
)

// turns lets one operation at a time write to a clan's folder: clan and git
// lock what they write, but what one of them changed is found out by looking
// before and after. Operations of other processes are kept apart by the locks
// of hosts alone.
var turns = struct {
	mu sync.Mutex
	of map[string]chan struct{}
}{of: map[string]chan struct{}{}}

func takeTurn(ctx context.Context, dir string) (done func(), err error) {
	turns.mu.Lock()
	turn := turns.of[dir]
	if turn == nil {
		turn = make(chan struct{}, 1)
		turns.of[dir] = turn
	}
	turns.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

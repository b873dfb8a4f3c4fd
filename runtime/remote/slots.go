package remote

import (
	"context"
	"sync"
)

// slots bounds how many sessions a connection has open. The bound shrinks when
// the host refuses one: other clients or its configuration leave us less.
type slots struct {
	free chan struct{}

	mu    sync.Mutex
	bound int
}

func newSlots(n int) *slots {
	s := &slots{free: make(chan struct{}, n), bound: n}
	for range n {
		s.free <- struct{}{}
	}
	return s
}

// take waits for a slot, until ctx ends.
func (s *slots) take(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case <-s.free:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// none says whether no slot is free.
func (s *slots) none() bool { return len(s.free) == 0 }

// release gives a slot back.
func (s *slots) release() { s.free <- struct{}{} }

// forfeit gives a slot up for good. The last one cannot be: it says no.
func (s *slots) forfeit() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound == 1 {
		return false
	}
	s.bound--
	return true
}

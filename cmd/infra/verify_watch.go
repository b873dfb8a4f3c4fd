package main

import (
	"context"
	"time"

	"infra/runtime/clock"
)

// A watch looks again and again.
type watch struct {
	every time.Duration
	now   func() clock.Instant
	rest  func(time.Duration) bool // false: it is to end
	round func() int               // its exit code
}

// nap is how long it rests until it asks the clock again: while the machine sleeps, a
// timer may stand still.
const nap = 30 * time.Second

// stay returns the exit code with which it ends. What a round comes to ends nothing,
// unless it was interrupted. However many rounds a machine slept through, one follows.
func (w watch) stay() int {
	for {
		began := w.now()
		if w.round() == exitInterrupted {
			return exitInterrupted
		}
		for left := w.every; left > 0; left = w.every - since(began, w.now()) {
			if !w.rest(min(left, nap)) {
				return exitOK
			}
		}
	}
}

// since is how much time went by, also where the machine does not tell its boot:
// nobody who sets its clock delays a round.
func since(began, now clock.Instant) time.Duration {
	if now.SameBoot(began) {
		return now.Sub(began)
	}
	return now.Wall.Sub(began.Wall)
}

// rest waits until ctx ends.
func rest(ctx context.Context) func(time.Duration) bool {
	return func(d time.Duration) bool {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

package main

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"infra/runtime"
)

// signals returns the context of operations, which the second signal ends, and
// the one of starting anything, which the first ends. Once detach is called, the end
// of the terminal is no signal to stop, and what is said to one that is gone is lost.
// It is none either where infra was started so, as by nohup.
func signals(ctx context.Context) (hard, stop context.Context, detach, release func()) {
	hard, kill := context.WithCancelCause(ctx)
	stop, halt := context.WithCancelCause(hard)
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(ch, syscall.SIGHUP)
	}
	var detached atomic.Bool
	go func() {
		for asked := 0; asked < 2; {
			if s := <-ch; s == syscall.SIGHUP && detached.Load() || s == syscall.SIGPIPE {
				continue
			}
			if asked++; asked == 1 {
				halt(runtime.ErrInterrupted)
			} else {
				kill(runtime.ErrInterrupted)
			}
		}
	}()
	detach = func() {
		detached.Store(true)
		signal.Notify(ch, syscall.SIGPIPE) // not ignored: that would be handed on to every command
	}
	return hard, stop, detach, func() { signal.Stop(ch); kill(nil) }
}

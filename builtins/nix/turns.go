package nix

import (
	"context"
	"fmt"
	"io"
	goruntime "runtime"
	"sync"

	"infra/runtime"
)

// Turns bounds how many nix evaluate at a time on this machine: of a real system
// each takes gigabytes. Modules that are given the same share them.
type Turns struct {
	workers func() int
	stop    <-chan struct{} // nothing begins after it is closed; nil never is

	once sync.Once
	free chan struct{}
}

// NewTurns lets so many evaluate at a time; 0: as many as memory and cores allow.
// Who waits when stop is closed has no turn any more.
func NewTurns(workers int, stop <-chan struct{}) *Turns {
	if workers > 0 {
		return &Turns{workers: func() int { return workers }, stop: stop}
	}
	return &Turns{workers: foundWorkers, stop: stop}
}

// evaluationMemory is what the evaluation of a real system takes at most, as a rule.
const evaluationMemory = 4 << 30

// foundWorkers is how many evaluations this machine has memory and cores for.
func foundWorkers() int {
	return workersFor(availableMemory(), goruntime.NumCPU())
}

// workersFor is at least one. Where the memory is not known, 0, the cores decide.
func workersFor(memory int64, cores int) int {
	if memory <= 0 {
		return max(1, cores)
	}
	return max(1, int(min(memory/evaluationMemory, int64(cores))))
}

// begin finds out how many there are, when that matters for the first time.
func (t *Turns) begin() {
	t.once.Do(func() { t.free = make(chan struct{}, t.workers()) })
}

// take waits for a turn, and says so. Who has it calls done.
func (t *Turns) take(ctx context.Context, log io.Writer) (done func(), err error) {
	if t == nil {
		return func() {}, nil
	}
	t.begin()
	done = func() { <-t.free }
	select {
	case <-t.stop:
		return nil, noTurn(runtime.ErrInterrupted)
	case <-ctx.Done():
		return nil, noTurn(context.Cause(ctx))
	default:
	}
	select {
	case t.free <- struct{}{}:
		return done, nil
	default:
	}
	why := count(cap(t.free), "evaluation") + " at a time (--eval-workers)"
	_, _ = fmt.Fprintln(log, "waiting: "+why)
	runtime.Progress(ctx, runtime.Part{Name: "evaluation", Does: "waiting", Detail: why})
	defer runtime.Progress(ctx, runtime.Part{Name: "evaluation", Does: "waited", Over: true})
	select {
	case t.free <- struct{}{}:
		return done, nil
	case <-t.stop:
		return nil, noTurn(runtime.ErrInterrupted)
	case <-ctx.Done():
		return nil, noTurn(context.Cause(ctx))
	}
}

func noTurn(why error) error { return fmt.Errorf("nix was not started: %w", why) }

// several says whether who keeps a turn for long leaves others one.
func (t *Turns) several() bool {
	if t == nil {
		return true
	}
	t.begin()
	return cap(t.free) > 1
}

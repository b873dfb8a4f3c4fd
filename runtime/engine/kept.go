package engine

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"time"

	"infra/runtime"
)

// keptLocks are the locks that operations of this process name, and the tasks
// that have them. The file of each keeps other processes away.
type keptLocks struct {
	mu    sync.Mutex
	by    map[string]*keptLock
	wants map[*task]string // what a task waits for
}

// A keptLock is held by the task whose operation named it first, until that
// ends.
type keptLock struct {
	holder *task
	over   chan struct{} // is closed when the holder has ended
	unlock func()        // gives the file back
}

// kept gives a task the locks that its operations name, and lets it keep them
// to its end: what one operation of a step saw, another one builds on. A check
// needs none: it only looks, and no step runs any more.
func kept(r *run, next runtime.Do) runtime.Do {
	return func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		t := taskOf(ctx)
		if t.check != nil {
			return next(ctx, op)
		}
		for _, name := range op.Locks {
			if err := r.keep(ctx, t, name); err != nil {
				return runtime.Result{}, notStarted{fmt.Errorf("%s was not started: %w", op.Name, err)}
			}
		}
		return next(ctx, op)
	}
}

// keep returns once the task has the lock.
func (r *run) keep(ctx context.Context, t *task, name string) error {
	ctx, done := endingWith(ctx, r.stop)
	defer done()
	for {
		held, err := r.kept.claim(t, name)
		if err != nil {
			return err
		}
		if held == nil {
			return r.keepFile(ctx, t, name)
		}
		if held.holder == t {
			return nil
		}
		waits := t.event(runtime.Waiting)
		waits.Text = fmt.Sprintf("step %s works on %s; it is waited for", held.holder.name(), name)
		r.tell(waits)
		select {
		case <-held.over:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// claim gives the lock to the task where nobody has it, and returns who has it
// otherwise. Two tasks never wait for each other.
func (k *keptLocks) claim(t *task, name string) (*keptLock, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.wants, t)
	if k.by == nil {
		k.by, k.wants = map[string]*keptLock{}, map[*task]string{}
	}
	held := k.by[name]
	switch {
	case held == nil:
		k.by[name] = &keptLock{holder: t, over: make(chan struct{}), unlock: func() {}}
		return nil, nil
	case held.holder == t:
		return held, nil
	}
	for h := held; h != nil; h = k.by[k.wants[h.holder]] {
		if h.holder == t {
			return nil, runtime.WithHint(fmt.Errorf("step %s has %s and waits for what this step has", held.holder.name(), name),
				"give the two steps an order, by needs")
		}
	}
	k.wants[t] = name
	return held, nil
}

// keepFile keeps other processes away. A preview takes no file: it changes
// nothing.
func (r *run) keepFile(ctx context.Context, t *task, name string) error {
	if r.file.Preview {
		return nil
	}
	file := fileLock{"kept-" + url.PathEscape(name), "works on " + name, "wait with --wait 5m, or stop it; infra log shows what it does"}
	unlock, err := r.takeFiles(ctx, new(time.Time), t.event(runtime.Waiting), []fileLock{file})
	r.kept.mu.Lock()
	defer r.kept.mu.Unlock()
	r.kept.by[name].unlock = unlock
	if err != nil {
		r.kept.free(name)
	}
	return err
}

// release gives back all that the task has.
func (k *keptLocks) release(t *task) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, l := range k.by {
		if l.holder == t {
			k.free(name)
		}
	}
}

func (k *keptLocks) free(name string) {
	k.by[name].unlock()
	close(k.by[name].over)
	delete(k.by, name)
}

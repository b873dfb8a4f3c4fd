package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"infra/runtime"
)

// A HostLock is the lock of a host, held on the host itself.
type HostLock struct {
	Lost    <-chan struct{} // is closed when the lock cannot be vouched for any more
	Err     func() error    // says why
	Release func() error
	Boot    string // is another one after each boot of the host; "" where that is not known
}

// A TakeLock takes the lock of a host for a run of a plan file, and does not
// wait. Where another run has it, the error is a [runtime.ErrLocked]; one that
// has a method HeldBy() string tells which run, and one that has a method
// HeldFor() time.Duration for how long that has had it, 0 where that is not known.
type TakeLock func(ctx context.Context, h *runtime.Host, run, plan string) (HostLock, error)

// hostLocks are the locks that a run holds on the hosts that it may change, from
// its start, or from when they are first reached, to its end.
type hostLocks struct {
	run    *run
	ctx    context.Context // of taking them; ends with the run
	cancel context.CancelCauseFunc
	taking sync.WaitGroup // those of the start

	mu sync.Mutex
	by map[claimed]*hostClaim
}

const (
	// stragglers bounds how long a run's start waits for the answer of any
	// further host.
	stragglers = 3 * time.Second
	// locksAtOnce bounds how many are taken side by side.
	locksAtOnce = 64
	// rightOfWay bounds how long the older of two runs that each hold a lock which
	// the other wants waits for the younger to give it up, after the last lock that
	// it got itself.
	rightOfWay = 3 * time.Second
)

// lockHosts takes the lock of every host that the run may change, on the host
// itself. Where another run has one, none is kept. With a time to wait, the one
// is waited for that was refused, while no other is held: runs that wait do not
// keep each other from going on.
func (r *run) lockHosts(ctx context.Context, until *time.Time) error {
	if r.opts.TakeLock == nil {
		return nil
	}
	stoppable, done := endingWith(ctx, r.opts.Stop)
	defer done()
	refused := ""
	return r.await(stoppable, until, runtime.Event{}, func(waiting context.Context) (err error) {
		l := &hostLocks{run: r, by: map[claimed]*hostClaim{}}
		l.ctx, l.cancel = context.WithCancelCause(ctx)
		refused, err = l.takeAll(waiting, refused)
		if err != nil {
			l.release()
			return err
		}
		r.locks = l
		return nil
	})
}

// takeAll takes the locks side by side; before them the one that was refused
// last, if any. The error is that another run has one, and the name of its host,
// or that ctx ended. Any other trouble is left to the first operation that would
// change the host: most steps of a plan may do without a host that is down.
func (l *hostLocks) takeAll(ctx context.Context, refused string) (string, error) {
	hosts := l.run.touched()
	if i := slices.IndexFunc(hosts, func(h *runtime.Host) bool { return h.Name == refused }); i >= 0 {
		if refused, err := l.takeSome(ctx, hosts[i:i+1]); err != nil {
			return refused, err
		}
		hosts = slices.Delete(hosts, i, i+1)
	}
	slices.SortFunc(hosts, func(a, b *runtime.Host) int { return strings.Compare(a.Name, b.Name) })
	return l.takeSome(ctx, hosts)
}

// takeSome takes locks side by side, and returns early where one is refused.
// Two runs that take some of the same may each have one that the other wants:
// the older then tries again, for a time, and the younger gives up at once. So
// of two runs that want the same locks at the same time one gets all.
func (l *hostLocks) takeSome(ctx context.Context, hosts []*runtime.Host) (refused string, err error) {
	type answer struct {
		host *runtime.Host
		err  error
	}
	answers, slots := make(chan answer, len(hosts)), make(chan struct{}, locksAtOnce)
	begin := func(h *runtime.Host, after time.Duration) {
		l.taking.Go(func() {
			sleep(l.ctx, after)
			slots <- struct{}{}
			_, err := l.hold(l.ctx, h)
			<-slots
			answers <- answer{h, err}
		})
	}
	for _, h := range hosts {
		begin(h, 0)
	}
	patience := time.NewTimer(stragglers)
	defer patience.Stop()
	began := time.Now()
	progress := began
	for left := len(hosts); left > 0; {
		select {
		case a := <-answers:
			patience.Reset(stragglers)
			switch {
			case !errors.Is(a.err, runtime.ErrLocked):
				left--
				progress = time.Now()
			case len(hosts) > 1 && l.run.mayGet(a.err, time.Since(began)) && time.Since(progress) < rightOfWay:
				begin(a.host, firstPause)
			default:
				return a.host.Name, a.err
			}
		case <-patience.C:
			return "", nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	return "", nil
}

// mayGet says whether who holds a lock may be about to give it up to the run,
// which has been taking locks for some time: a younger run may, but not one
// that had the lock well before. That one is at work.
func (r *run) mayGet(refusal error, taking time.Duration) bool {
	var holder interface{ HeldBy() string }
	var since interface{ HeldFor() time.Duration }
	if !errors.As(refusal, &holder) || r.id >= holder.HeldBy() {
		return false
	}
	return !errors.As(refusal, &since) || since.HeldFor() < taking+rightOfWay
}

// hold returns the claim to a host's lock once it is held. Nobody else has had
// it since it was first taken: one that was lost is only taken again where the
// host has been booted since, which is what ended it.
func (l *hostLocks) hold(ctx context.Context, h *runtime.Host) (*HostLock, error) {
	c := l.claim(h)
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	switch {
	case c.gone != nil:
		return nil, c.gone
	case c.lock != nil && c.lock.why() == nil:
		return c.lock, nil
	}
	lock, err := l.run.opts.TakeLock(ctx, h, l.run.id, l.run.file.Path)
	switch {
	case c.lock == nil:
	case err != nil:
		return nil, fmt.Errorf("%w; taking it again: %w", c.lock.why(), err)
	case lock.Boot == "" || lock.Boot == c.lock.Boot:
		_ = lock.Release() // that it was lost is the error
		c.gone = runtime.WithHint(c.lock.why(), "another run may have been at work since: look at infra log and at the host; infra resume %s takes the lock again and goes on", l.run.id)
		return nil, c.gone
	}
	if err != nil {
		return nil, err
	}
	c.lock = &lock
	return c.lock, nil
}

// release gives all of them back, and returns when the hosts have said so.
func (l *hostLocks) release() {
	if l == nil {
		return
	}
	l.cancel(runtime.ErrInterrupted)
	l.taking.Wait()
	var all sync.WaitGroup
	for _, c := range l.by {
		if c.lock != nil {
			all.Go(func() { _ = c.lock.Release() }) // the host lets go of it all the same, a lease later
		}
	}
	all.Wait()
}

// why says why the lock was lost; nil while it is held.
func (l *HostLock) why() error {
	select {
	case <-l.Lost:
		return l.Err()
	default:
		return nil
	}
}

// guard is ctx until the lock is lost: what runs under it is ended then, and
// whether it finished is not known.
func (l *HostLock) guard(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-l.Lost:
			why := l.Err()
			if !errors.Is(why, runtime.ErrUntold) {
				why = fmt.Errorf("%w; %w", why, runtime.ErrUntold)
			}
			cancel(why)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// locked starts nothing that changes a host whose lock the run does not hold.
// It is held from the start where the host could be reached then, and is taken
// here where it could not. To read needs none.
func locked(r *run, next runtime.Do) runtime.Do {
	return func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		if op.Effect == runtime.Read || op.Host == "" || op.Needs != nil || r.locks == nil {
			return next(ctx, op)
		}
		lock, err := r.heldFor(ctx, op)
		if err != nil && op.EndsHost && cutOf(ctx) != nil && !errors.Is(err, runtime.ErrLocked) && !isStop(err) {
			// The host may be down by what is looked for, which begins no more
			// without the lock.
			defer r.locks.ended(op.Host)
			return next(ctx, op)
		}
		if err != nil {
			return runtime.Result{}, notStarted{fmt.Errorf("%s on %s was not started: %w", op.Name, op.Host, err)}
		}
		if op.EndsHost {
			defer r.locks.ended(op.Host)
			return next(ctx, op)
		}
		ctx, done := lock.guard(ctx)
		defer done()
		res, err := next(ctx, op)
		if why := lock.why(); why != nil && isStop(err) { // nobody else has stopped it
			err = fmt.Errorf("%s on %s: %w", op.Name, op.Host, context.Cause(ctx))
		}
		return res, err
	}
}

// holdsFor takes the lock for an operation that was looked for without it, since its
// host was down.
func (r *run) holdsFor(ctx context.Context, op runtime.Op) error {
	if !op.EndsHost || r.locks == nil {
		return nil
	}
	_, err := r.heldFor(ctx, op)
	return err
}

// notStarted is why an operation was not even begun: whatever it does, to try
// it again does no harm.
type notStarted struct{ error }

func (n notStarted) Unwrap() error { return n.error }

// heldFor returns the lock of the operation's host, and waits for it where
// another run has it.
func (r *run) heldFor(ctx context.Context, op runtime.Op) (lock *HostLock, err error) {
	ctx, done := endingWith(ctx, r.stop)
	defer done()
	h := r.host(op.Host)
	if op.At != nil {
		h = op.At
	}
	err = r.await(ctx, new(time.Time), taskOf(ctx).event(runtime.Waiting), func(ctx context.Context) (err error) {
		lock, err = r.locks.hold(ctx, h)
		return err
	})
	return lock, err
}

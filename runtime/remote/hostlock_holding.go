package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"infra/runtime"
)

// errReleased ends a holding that is not needed any more.
var errReleased = errors.New("the lock was released")

// A holding is the lock of one machine, and the session of the process that
// has it.
type holding struct {
	pool   *Pool
	host   string
	holder Holder
	lease  lease

	ctx   context.Context // ends with the pool too
	end   context.CancelCauseFunc
	said  *lockReport
	taken chan struct{} // closed when the host has said that it is ours
	lost  chan struct{}
	ended chan struct{} // closed when the session has ended
	err   error         // how, once it has

	mu      sync.Mutex
	shares  int
	sent    []time.Duration // when the renewals were sent, by unsleepingClock
	vouched time.Duration   // when the last answered one was
	why     error
}

func newHolding(p *Pool, h *runtime.Host, holder Holder, l lease) *holding {
	g := &holding{pool: p, host: h.Name, holder: holder, lease: l, shares: 1,
		taken: make(chan struct{}), lost: make(chan struct{}), ended: make(chan struct{})}
	g.said = &lockReport{held: func() { close(g.taken) }, renewed: g.answered}
	g.ctx, g.end = context.WithCancelCause(p.ctx)
	holdings.add(g)
	return g
}

// now is the reading of a clock that a suspended machine does not stop: its
// hosts have gone on too.
func now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unsleepingClock, &t); err != nil {
		panic(err) // no argument of ours can fail
	}
	return time.Duration(t.Nano())
}

// run takes the lock and holds it until the holding is ended.
func (g *holding) run(c *conn, head string) {
	renewals, in := io.Pipe()
	go g.renew(in)
	go g.watch()
	_, err := c.run(g.ctx, job{
		script: lockScript, input: io.MultiReader(atFirst(g.begin), strings.NewReader(head), renewals), stderr: g.said,
		grace: g.pool.config.Grace + 2*time.Second, // the host waits for commands of the connection
	})
	renewals.Close()
	g.err = err
	g.lose(err)
	holdings.remove(g)
	close(g.ended)
	g.end(errReleased)
}

// atFirst is an empty input that tells when it is read.
type atFirst func()

func (f atFirst) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}

// begin notes when the host was asked: it cannot count from before that.
func (g *holding) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.vouched = now()
}

// await returns nil once the lock is taken, and ends what is not.
func (g *holding) await(ctx context.Context) error {
	select {
	case <-g.taken:
		return nil
	case <-g.ended:
		return g.refusal()
	case <-ctx.Done():
		g.drop()
		return context.Cause(ctx)
	}
}

// refusal is why the session ended without the lock.
func (g *holding) refusal() error {
	switch {
	case g.err != nil:
		return fmt.Errorf("locking %s: %w", g.host, g.err)
	case g.said.is("busy"):
		return lockedError(g.host, g.said.holder())
	}
	return runtime.WithHint(fmt.Errorf("locking %s: %s", g.host, g.said.complaint()),
		"the lock is the folder /tmp/infra.lock on the host, or what INFRA_LOCK_DIR names there")
}

// renew lets the host hear of us.
func (g *holding) renew(to io.WriteCloser) {
	defer to.Close()
	select {
	case <-g.taken:
	case <-g.ctx.Done():
		return
	}
	ticker := time.NewTicker(g.lease.renewal)
	defer ticker.Stop()
	for {
		g.mu.Lock()
		n := len(g.sent)
		g.sent = append(g.sent, now())
		g.mu.Unlock()
		if _, err := fmt.Fprintln(to, n); err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-g.ctx.Done():
			return
		}
	}
}

// answered notes that the host has read a renewal: it counts from then, which
// was later than the sending.
func (g *holding) answered(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if 0 <= n && n < len(g.sent) {
		g.vouched = max(g.vouched, g.sent[n])
	}
}

// watch gives the lock up when the host may have.
func (g *holding) watch() {
	select {
	case <-g.taken:
	case <-g.ctx.Done():
		return
	}
	ticker := time.NewTicker(min(time.Second, g.lease.length/20))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-g.ctx.Done():
			return
		}
		g.mu.Lock()
		silent := now() - g.vouched
		g.mu.Unlock()
		if silent >= g.lease.length {
			err := fmt.Errorf("%s has not answered for %s", g.host, silent.Round(time.Second))
			g.lose(err)
			g.end(err)
			return
		}
	}
}

// lose says that the lock cannot be vouched for any more, unless nobody wants
// it to be.
func (g *holding) lose(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.why != nil || g.shares == 0 {
		return
	}
	if err == nil {
		err = errors.New("its process on the host has ended")
	}
	g.why = fmt.Errorf("the lock of %s was lost: %w", g.host, err)
	close(g.lost)
}

func (g *holding) reason() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.why
}

// drop gives up one share, and with the last one the lock.
func (g *holding) drop() (last bool) {
	g.mu.Lock()
	if g.shares > 0 {
		g.shares--
		last = g.shares == 0
	}
	g.mu.Unlock()
	if last {
		g.end(errReleased)
	}
	return last
}

func (g *holding) release() error {
	if !g.drop() {
		return g.reason()
	}
	if err := g.reason(); err != nil {
		return err
	}
	<-g.ended
	if g.err == nil || g.err == errReleased { // that alone: an error that wraps it says that the host was silent
		return nil
	}
	return fmt.Errorf("releasing the lock of %s: %w", g.host, g.err)
}

// holdings are those of this process. A pool that comes to a machine by two
// names finds it locked by itself.
var holdings = &holdingsByToken{all: map[string]*holding{}}

type holdingsByToken struct {
	mu  sync.Mutex
	all map[string]*holding
}

func (s *holdingsByToken) add(g *holding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[g.holder.Token] = g
}

func (s *holdingsByToken) remove(g *holding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, g.holder.Token)
}

// share returns p's holding with the token, one share more of it, or nil.
func (s *holdingsByToken) share(p *Pool, token string) *holding {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.all[token]
	if g == nil || g.pool != p {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shares == 0 || g.why != nil {
		return nil
	}
	g.shares++
	return g
}

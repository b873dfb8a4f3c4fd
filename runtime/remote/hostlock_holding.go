package remote

import (
	"context"
	"errors"
	"fmt"
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
	shell  *shell      // its session
	alone  func() bool // says that no command of ours is under way on the host

	ctx   context.Context // ends with the pool too
	end   context.CancelCauseFunc
	said  *lockReport
	taken chan struct{} // closed when the host has said that it is ours
	freed chan struct{} // closed when the host is to be told at once that it is free
	told  chan struct{} // closed when the host has been told all that there is to say
	lost  chan struct{}
	ended chan struct{} // closed when the session has ended
	err   error         // how, once it has

	mu      sync.Mutex
	shares  int
	vouched time.Duration // when the last renewal was sent that was answered, by unsleepingClock
	why     error
}

func newHolding(c *conn, h *runtime.Host, holder Holder, l lease) *holding {
	p := c.pool
	g := &holding{pool: p, host: h.Name, holder: holder, lease: l, shell: c.newShell(), shares: 1,
		taken: make(chan struct{}), freed: make(chan struct{}), told: make(chan struct{}), lost: make(chan struct{}), ended: make(chan struct{})}
	g.said = &lockReport{held: func() { close(g.taken) }, refused: func() { g.end(errReleased) }}
	g.shell.lock = g.said
	g.alone = func() bool {
		c.dropShell()
		return p.underWay.alone(c.endpoint)
	}
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
func (g *holding) run(args []string) {
	go g.hold()
	g.begin()
	g.err = g.shell.last(g.ctx, oneWord(lockScript, false, args...), g.pool.config.Grace+2*time.Second) // the host waits for commands of the connection
	g.lose(g.err)
	holdings.remove(g)
	close(g.ended)
	g.end(errReleased)
}

// begin notes when the host is asked: it cannot count from before that.
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
	case g.said.is("busy"):
		return lockedError(g.host, g.said.holder(), g.said.heldFor())
	case g.err != nil && !g.said.is("fail"):
		return fmt.Errorf("locking %s: %w", g.host, g.err)
	}
	return runtime.WithHint(fmt.Errorf("locking %s: %s", g.host, g.said.complaint()),
		"the lock is the folder /tmp/infra.lock on the host, or what INFRA_LOCK_DIR names there")
}

// hold lets the host hear of us, the first time when it last has by the taking of the
// lock, and gives the lock up when the host may have. What is said last is that it is free.
func (g *holding) hold() {
	select {
	case <-g.taken:
	case <-g.ctx.Done():
		return
	}
	next, look := time.NewTimer(g.lease.renewal-g.silence()), time.NewTicker(min(time.Second, g.lease.length/20))
	defer next.Stop()
	defer look.Stop()
	for {
		select {
		case <-next.C:
			next.Reset(g.lease.renewal)
			go g.renew()
		case <-look.C:
			if silent := g.silence(); silent >= g.lease.length {
				err := fmt.Errorf("%s has not answered for %s", g.host, silent.Round(time.Second))
				g.lose(err)
				g.end(err)
				return
			}
		case <-g.freed:
			if _, err := g.shell.session.input.Write([]byte("free\n")); err == nil {
				close(g.told)
			}
			return
		case <-g.ctx.Done():
			return
		}
	}
}

// renew lets the host hear of us. The renewal is there when the question behind it is
// answered, which no output of a command can hold up: the host counts from then, which
// is later than the sending.
func (g *holding) renew() {
	sent := now()
	if _, err := g.shell.session.input.Write([]byte("renew\n")); err != nil {
		return
	}
	if _, _, err := g.shell.session.conn.client.SendRequest(keepaliveRequest, true, nil); err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.vouched = max(g.vouched, sent)
}

// silence is how long the host may count since it last heard of us.
func (g *holding) silence() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return now() - g.vouched
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

// unshare gives up one share, and says whether it was the last one.
func (g *holding) unshare() (last bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shares > 0 {
		g.shares--
		last = g.shares == 0
	}
	return last
}

// drop gives up one share, and with the last one the lock.
func (g *holding) drop() {
	if g.unshare() {
		g.end(errReleased)
	}
}

func (g *holding) release() error {
	if !g.unshare() {
		return g.reason()
	}
	if err := g.reason(); err != nil {
		g.end(errReleased)
		return err
	}
	if g.alone() && g.free() {
		return nil
	}
	g.end(errReleased)
	<-g.ended
	if g.err == nil || g.err == errReleased { // that alone: an error that wraps it says that the host was silent
		return nil
	}
	return fmt.Errorf("releasing the lock of %s: %w", g.host, g.err)
}

// free tells the host that nothing of ours is left to wait for, and says whether that is
// on its way: the answer, a round trip later, is not waited for. Where none comes, the end
// of the session tells the host the rest.
func (g *holding) free() bool {
	close(g.freed)
	end := time.AfterFunc(afterGrace, func() { g.end(errReleased) })
	context.AfterFunc(g.ctx, func() { end.Stop() })
	select {
	case <-g.told:
		return true
	case <-g.ended:
	}
	return false
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

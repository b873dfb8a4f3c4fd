package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
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
	sent    []time.Duration // when the renewals were sent, by unsleepingClock
	vouched time.Duration   // when the last answered one was
	why     error
}

func newHolding(p *Pool, h *runtime.Host, holder Holder, l lease) *holding {
	g := &holding{pool: p, host: h.Name, holder: holder, lease: l, shares: 1,
		taken: make(chan struct{}), freed: make(chan struct{}), told: make(chan struct{}), lost: make(chan struct{}), ended: make(chan struct{})}
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
func (g *holding) run(c *conn, args []string) {
	renewals := lines{make(chan string, renewalsAhead), sync.OnceFunc(func() { close(g.told) })}
	go g.hold(renewals.ahead)
	g.begin()
	_, err := c.run(g.ctx, job{
		script: lockScript, args: args, input: renewals, stderr: g.said,
		grace: g.pool.config.Grace + 2*time.Second, // the host waits for commands of the connection
	})
	g.err = err
	g.lose(err)
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
	case g.err != nil:
		return fmt.Errorf("locking %s: %w", g.host, g.err)
	case g.said.is("busy"):
		return lockedError(g.host, g.said.holder(), g.said.heldFor())
	}
	return runtime.WithHint(fmt.Errorf("locking %s: %s", g.host, g.said.complaint()),
		"the lock is the folder /tmp/infra.lock on the host, or what INFRA_LOCK_DIR names there")
}

// lines are an input, line by line.
type lines struct {
	ahead chan string
	over  func() // is called when all of them have been passed on
}

// Read needs room for a line, as whoever transfers an input has.
func (l lines) Read(p []byte) (int, error) {
	line, open := <-l.ahead
	if !open {
		l.over()
		return 0, io.EOF
	}
	return copy(p, line), nil
}

// renewalsAhead is how many renewals may wait for a network that is stuck: the lock is
// lost before there are more.
const renewalsAhead = 8

// hold lets the host hear of us, the first time when it last has by the taking of the
// lock, and gives the lock up when the host may have. What is said last is that it is free.
func (g *holding) hold(renewals chan<- string) {
	defer close(renewals)
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
			g.renew(renewals)
		case <-look.C:
			if silent := g.silence(); silent >= g.lease.length {
				err := fmt.Errorf("%s has not answered for %s", g.host, silent.Round(time.Second))
				g.lose(err)
				g.end(err)
				return
			}
		case <-g.freed:
			select {
			case renewals <- "free\n":
			case <-g.ctx.Done():
			}
			return
		case <-g.ctx.Done():
			return
		}
	}
}

// renew asks the host for an answer.
func (g *holding) renew(renewals chan<- string) {
	g.mu.Lock()
	n := len(g.sent)
	g.sent = append(g.sent, now())
	g.mu.Unlock()
	select {
	case renewals <- strconv.Itoa(n) + "\n":
	default: // nor will the host answer those before it
	}
}

// silence is how long the host may count since it last heard of us.
func (g *holding) silence() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return now() - g.vouched
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

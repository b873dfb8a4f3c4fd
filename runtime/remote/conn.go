package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"infra/runtime"
)

// sessionsPerConnection is sshd's own default of MaxSessions.
const sessionsPerConnection = 10

// A conn is one connection to a host, shared by all commands on it.
type conn struct {
	pool     *Pool
	client   *ssh.Client
	stream   *stream
	endpoint *Endpoint
	slots    *slots
	gone     chan struct{} // closed when the connection is dead

	shellMu sync.Mutex
	idle    *shell // that nobody uses; nil: there is none
	era     int    // counts changes of the host
}

// newConn takes a connection over and watches it.
func (p *Pool) newConn(in *opened, ep *Endpoint) *conn {
	c := &conn{pool: p, client: in.client, stream: in.stream, endpoint: ep, slots: newSlots(sessionsPerConnection), gone: make(chan struct{})}
	time.AfterFunc(p.keepalive, c.keepAlive)
	go c.serve(in.channels, in.requests)
	return c
}

// serve refuses what the host asks for, until the connection is dead; why it ended is
// said where it is noticed.
func (c *conn) serve(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	defer close(c.gone)
	for channels != nil || requests != nil {
		select {
		case asked, open := <-channels:
			if !open {
				channels = nil
				continue
			}
			_ = asked.Reject(ssh.UnknownChannelType, "unknown channel type: "+asked.ChannelType())
		case asked, open := <-requests:
			if !open {
				requests = nil
				continue
			}
			if asked.WantReply {
				_ = asked.Reply(false, nil)
			}
		}
	}
}

func (c *conn) dead() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// keepaliveRequest is answered by every server, if only by a refusal.
const keepaliveRequest = "keepalive@openssh.com"

// missedKeepalives is after how many silent intervals a connection is dead.
const missedKeepalives = 3

// keepAlive asks the host for a sign of life, and is called again after the interval: in
// between, a connection has no goroutine for it. It closes the connection when the host
// stops answering. The question stands in line behind what else is being sent:
// as long as that gets there, be it slowly, the host is not silent.
func (c *conn) keepAlive() {
	if c.dead() {
		return
	}
	answered := make(chan struct{})
	go c.closeWhenSilent(answered, c.pool.keepalive)
	_, _, err := c.client.SendRequest(keepaliveRequest, true, nil)
	close(answered)
	if err != nil {
		c.client.Close()
		return
	}
	time.AfterFunc(c.pool.keepalive, c.keepAlive)
}

// closeWhenSilent closes the connection after as many intervals without a sign
// of life, unless there is an answer.
func (c *conn) closeWhenSilent(answered <-chan struct{}, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	last := c.stream.progress()
	for silent := 0; silent < missedKeepalives; silent++ {
		select {
		case <-answered:
			return
		case <-ticker.C:
		}
		if now := c.stream.progress(); now > last {
			last, silent = now, -1
		}
	}
	c.client.Close()
}

// lost is the error of a command that was under way when the connection ended.
func (c *conn) lost(why error) error {
	if why == nil {
		return fmt.Errorf("the connection to %s was lost; %w", c.endpoint, runtime.ErrUntold)
	}
	return fmt.Errorf("the connection to %s was lost (%w); %w", c.endpoint, why, runtime.ErrUntold)
}

// A channel is a session on which a command line was started.
type channel struct {
	ssh.Channel
	on       *conn
	requests <-chan *ssh.Request
}

// notBegunError: the connection was lost before the host could have begun.
type notBegunError struct {
	endpoint *Endpoint
	err      error
}

func (e *notBegunError) Error() string {
	return fmt.Sprintf("the connection to %s was lost before the command began: %v", e.endpoint, e.err)
}

func (e *notBegunError) Unwrap() error { return e.err }

// freshConnections bounds how often a command that did not begin is tried on
// another connection.
const freshConnections = 2

// begin starts a command line in a session of its own; end ends that. A
// connection may have died unnoticed since it was used, as when the host was
// booted anew. Scripts act only on what they read, which is sent when they have
// begun: until then nothing has happened, and another connection will do.
func (c *conn) begin(ctx context.Context, line string) (*channel, error) {
	for fresh := 0; ; fresh++ {
		ch, err := c.beginHere(ctx, line)
		var lost *notBegunError
		if err == nil || !errors.As(err, &lost) || fresh == freshConnections {
			return ch, err
		}
		c.client.Close()
		<-c.gone
		next, problem := c.pool.connect(ctx, c.endpoint)
		if problem != nil {
			return nil, fmt.Errorf("%w; and then: %w", err, problem)
		}
		c = next
	}
}

func (c *conn) beginHere(ctx context.Context, line string) (*channel, error) {
	const patience = 20 // refusals with no other session of ours open, 100 ms apart
	for refusals := 0; ; {
		if c.slots.none() {
			c.makeRoom()
		}
		if err := c.slots.take(ctx); err != nil {
			return nil, err
		}
		ch, err := c.tryBegin(ctx, line)
		if err == nil {
			return ch, nil
		}
		if refused(err) {
			c.makeRoom()
		}
		if refused(err) && c.slots.forfeit() {
			continue
		}
		c.slots.release()
		if !refused(err) {
			return nil, err
		}
		if refusals++; refusals == patience {
			return nil, fmt.Errorf("%s opens no session on the connection: %w", c.endpoint, err)
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// end closes the channel, then frees its slot. It does not wait for a network
// that is stuck. sshd counts a session until it has dealt with all packets that
// came together with its end: only after a round trip there is surely room
// again.
func (c *conn) end(ch *channel) {
	go func() {
		ch.Close()
		_, _, _ = ch.on.client.SendRequest(keepaliveRequest, true, nil)
		ch.on.slots.release()
	}()
}

func refused(err error) bool {
	var e *ssh.OpenChannelError
	return errors.As(err, &e)
}

// tryBegin does not outlast ctx.
func (c *conn) tryBegin(ctx context.Context, line string) (*channel, error) {
	type result struct {
		ch  *channel
		err error
	}
	done := make(chan result, 1)
	go func() {
		ch, err := c.exec(line)
		done <- result{ch, err}
	}()
	select {
	case r := <-done:
		return r.ch, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				go ssh.DiscardRequests(r.ch.requests)
				r.ch.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

func (c *conn) exec(line string) (*channel, error) {
	ch, requests, err := c.client.OpenChannel("session", nil)
	if refused(err) {
		return nil, err
	}
	if err != nil {
		return nil, &notBegunError{c.endpoint, err}
	}
	ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{line}))
	switch {
	case err != nil:
		err = &notBegunError{c.endpoint, err}
	case !ok:
		err = fmt.Errorf("%s refuses to run commands", c.endpoint)
	}
	if err != nil {
		go ssh.DiscardRequests(requests)
		ch.Close()
		return nil, err
	}
	return &channel{ch, c, requests}, nil
}

// sleep returns early, with the cause, when ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

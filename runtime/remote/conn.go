package remote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"
)

// sessionsPerConnection is sshd's own default of MaxSessions.
const sessionsPerConnection = 10

// A conn is one connection to a host, shared by all commands on it.
type conn struct {
	client   *ssh.Client
	endpoint *Endpoint
	slots    *slots
	gone     chan struct{} // closed when the connection is dead
}

// newConn takes the connection over and watches it.
func newConn(client *ssh.Client, ep *Endpoint, keepalive time.Duration) *conn {
	c := &conn{client: client, endpoint: ep, slots: newSlots(sessionsPerConnection), gone: make(chan struct{})}
	go func() {
		_ = client.Wait() // why it ended is said where it is noticed
		close(c.gone)
	}()
	go c.keepAlive(keepalive)
	return c
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

// missedKeepalives is after how many unanswered intervals a connection is dead.
const missedKeepalives = 3

// keepAlive closes the connection when the host stops answering.
func (c *conn) keepAlive(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-c.gone:
			return
		case <-ticker.C:
		}
		silent := time.AfterFunc(missedKeepalives*interval, func() { c.client.Close() })
		_, _, err := c.client.SendRequest(keepaliveRequest, true, nil)
		silent.Stop()
		if err != nil {
			c.client.Close()
			return
		}
	}
}

// lost is the error of a command that was under way when the connection ended.
func (c *conn) lost(why error) error {
	if why == nil {
		return fmt.Errorf("the connection to %s was lost; %w", c.endpoint, ErrLost)
	}
	return fmt.Errorf("the connection to %s was lost (%w); %w", c.endpoint, why, ErrLost)
}

// A channel is a session on which a command line was started.
type channel struct {
	ssh.Channel
	requests <-chan *ssh.Request
}

// begin starts a command line in a session of its own; end ends that.
func (c *conn) begin(ctx context.Context, line string) (*channel, error) {
	const patience = 20 // refusals with no other session of ours open, 100 ms apart
	for refusals := 0; ; {
		if err := c.slots.take(ctx); err != nil {
			return nil, err
		}
		ch, err := c.tryBegin(ctx, line)
		if err == nil {
			return ch, nil
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
		_, _, _ = c.client.SendRequest(keepaliveRequest, true, nil)
		c.slots.release()
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
		return nil, fmt.Errorf("the connection to %s was lost before the command began: %w", c.endpoint, err)
	}
	ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{line}))
	if err == nil && !ok {
		err = fmt.Errorf("%s refuses to run commands", c.endpoint)
	}
	if err != nil {
		go ssh.DiscardRequests(requests)
		ch.Close()
		return nil, err
	}
	return &channel{ch, requests}, nil
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

package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"infra/runtime"
)

// handshakesAtOnce is how many a server gets at a time; sshd's MaxStartups
// drops some from the tenth on.
const handshakesAtOnce = 8

// dialAttempts bounds the tries of a dial that was dropped before anything was
// said.
const dialAttempts = 4

// How far a dial got.
const (
	stageConnect int32 = iota
	stageGreeting
	stageLogin
)

var errConnectTimeout = errors.New("connect timeout")

// dial connects and logs in. It tries again only where the server hung up
// without a word, which is how sshd treats too many at once.
func (p *Pool) dial(ctx context.Context, e *Endpoint) (*conn, error) {
	var jump *conn
	if e.jump != nil {
		var err error
		if jump, err = p.connect(ctx, e.jump); err != nil {
			return nil, err
		}
	}
	for attempt := 1; ; attempt++ {
		in, err := p.tryDial(ctx, e, jump)
		if err == nil {
			return p.newConn(in, e), nil
		}
		var hungUp *hungUpError
		if !errors.As(err, &hungUp) || attempt == dialAttempts {
			return nil, err
		}
		pause := time.Duration(attempt) * 200 * time.Millisecond
		if err := sleep(ctx, pause/2+rand.N(pause)); err != nil {
			return nil, err
		}
	}
}

// hungUpError is a connection that ended before the server showed a key.
type hungUpError struct {
	endpoint *Endpoint
	err      error
}

func (h *hungUpError) Error() string {
	return fmt.Sprintf("%s hung up before it greeted: %v", h.endpoint, h.err)
}

func (h *hungUpError) Unwrap() error { return h.err }

// Is makes it ErrUnreachable: a server with too many logins says nothing else.
func (h *hungUpError) Is(target error) bool { return target == ErrUnreachable }

// slowLogin is how many connect timeouts a login may take where the server goes
// on answering, as over a link that loses packets.
const slowLogin = 6

// An opened is a connection that a server has let in, and what comes over it unasked.
type opened struct {
	client   *ssh.Client
	stream   *stream
	channels <-chan ssh.NewChannel
	requests <-chan *ssh.Request
}

func (p *Pool) tryDial(ctx context.Context, e *Endpoint, jump *conn) (*opened, error) {
	leave, err := p.enter(ctx, e, jump)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(e.ConnectTimeout, func() { cancel(errConnectTimeout) })
	defer silent.Stop()
	defer time.AfterFunc(slowLogin*e.ConnectTimeout, func() { cancel(errConnectTimeout) }).Stop()
	d := &dialing{pool: p, endpoint: e, heard: func() { silent.Reset(e.ConnectTimeout) }}
	in, err := d.dial(ctx, jump)
	if err == nil && !p.crowded(e, jump) {
		leave()
		return in, nil
	}
	if err == nil {
		go func() { // sshd counts a login as unfinished until it answers behind it
			_, _, _ = in.client.SendRequest(keepaliveRequest, true, nil)
			leave()
		}()
		return in, nil
	}
	leave()
	if ctx.Err() == nil {
		return nil, err
	}
	if errors.Is(context.Cause(ctx), errConnectTimeout) {
		return nil, unreachable{d.timedOut()}
	}
	return nil, context.Cause(ctx)
}

// A dialing is one try to connect.
type dialing struct {
	pool     *Pool
	endpoint *Endpoint
	heard    func() // the server said something
	stage    atomic.Int32
}

func (d *dialing) dial(ctx context.Context, jump *conn) (*opened, error) {
	e := d.endpoint
	check, err := d.pool.newHostKeyCheck(e, func() { d.stage.Store(stageLogin) })
	if err != nil {
		return nil, err
	}
	bytes, err := transport(ctx, e, jump)
	if err != nil {
		return nil, unreachable{d.unreachable(err)}
	}
	d.heard()
	d.stage.Store(stageGreeting)
	stream := watch(bytes, d.heard)
	stop := context.AfterFunc(ctx, func() { stream.Close() })
	defer stop()
	offers := gather(e, &d.pool.keys)
	defer offers.close()
	defer offers.dropWith(ctx)()
	connection, channels, requests, err := ssh.NewClientConn(stream, e.Address(), &ssh.ClientConfig{
		User:              e.User,
		Auth:              offers.method(),
		HostKeyCallback:   check.callback,
		HostKeyAlgorithms: check.algorithms(),
	})
	if err != nil {
		stream.Close()
		return nil, d.failed(err, check, offers)
	}
	if !stop() {
		connection.Close()
		return nil, context.Cause(ctx)
	}
	stream.heard.Store(nil)
	// Not ssh.NewClient, which starts three goroutines for what one does here.
	return &opened{&ssh.Client{Conn: connection}, stream, channels, requests}, nil
}

// failed says what a handshake's error means.
func (d *dialing) failed(err error, check *hostKeyCheck, offers *credentials) error {
	switch {
	case check.problem != nil:
		return check.problem
	case d.stage.Load() == stageLogin:
		return offers.refusedBy(d.endpoint, err)
	case d.endpoint.ProxyCommand == "" && hungUp(err):
		return &hungUpError{d.endpoint, err}
	}
	return fmt.Errorf("no ssh connection to %s: %w", d.endpoint, err)
}

func hungUp(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (d *dialing) unreachable(err error) error {
	err = fmt.Errorf("cannot reach %s: %w", d.endpoint, err)
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNRESET):
		return &hungUpError{d.endpoint, err}
	case errors.As(err, &dns):
		return runtime.WithHint(err, "is the name right? ssh -G %s shows what ssh makes of it", d.endpoint.Destination)
	case errors.Is(err, syscall.ECONNREFUSED):
		return runtime.WithHint(err, "the machine is up, but nothing listens on port %d: is sshd running there?", d.endpoint.Port)
	}
	return err
}

func (d *dialing) timedOut() error {
	e := d.endpoint
	switch d.stage.Load() {
	case stageConnect:
		return runtime.WithHint(fmt.Errorf("cannot reach %s: no answer within %s", e, e.ConnectTimeout),
			"is the machine up, and does a firewall let port %d through?", e.Port)
	case stageGreeting:
		return runtime.WithHint(fmt.Errorf("%s accepts the connection, but no ssh server greets within %s", e, e.ConnectTimeout),
			"is it sshd that listens on port %d? A machine that hangs or is overloaded looks the same", e.Port)
	}
	return runtime.WithHint(fmt.Errorf("%s did not finish the login: it was silent for %s, or took %d times as long", e, e.ConnectTimeout, slowLogin),
		"over a bad link, a longer ConnectTimeout in the ssh configuration gives it more time")
}

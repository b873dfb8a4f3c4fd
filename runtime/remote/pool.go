package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/singleflight"

	"infra/runtime"
)

// A Pool reaches hosts, by one connection each, which is opened when it is
// first needed and shared by all commands.
type Pool struct {
	config    Config
	keepalive time.Duration
	ctx       context.Context // ends with Close
	stop      context.CancelCauseFunc
	flights   singleflight.Group
	contacts  *contacts
	known     knownFiles
	keys      fileCache[keyFile] // by the IdentityFile
	own       ownAddresses
	classes   classes
	underWay  underWay
	numbers   sync.Map // of units that were settled not to have begun: the next one's, by host and name
	traceless sync.Map // units of which nothing is on their hosts, by that too

	mu       sync.Mutex
	lookedUp map[string]*Endpoint     // by destination
	conns    map[string]*conn         // by the endpoint's key
	aside    map[string][]*conn       // by that too: older ones, on which something may be under way
	gates    map[string]chan struct{} // by the address that shakes hands
	shown    map[string]ssh.PublicKey // the keys that were accepted last, by the endpoint's key
	notes    map[string][]string      // what there is to say of them
}

var errClosed = errors.New("the connections to the hosts are closed")

// NewPool makes a pool. It opens nothing.
func NewPool(config Config) *Pool {
	ctx, stop := context.WithCancelCause(context.Background())
	return &Pool{
		config: config.withDefaults(), keepalive: 15 * time.Second, ctx: ctx, stop: stop,
		contacts: &contacts{file: config.Contacts, lookOn: config.LookOn},
		lookedUp: map[string]*Endpoint{}, conns: map[string]*conn{}, aside: map[string][]*conn{}, gates: map[string]chan struct{}{},
		shown: map[string]ssh.PublicKey{}, notes: map[string][]string{},
	}
}

// Close closes every connection, which ends the commands on them.
func (p *Pool) Close() error {
	p.stop(errClosed)
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, c := range p.conns {
		c.client.Close()
		delete(p.conns, key)
	}
	return nil
}

// Endpoint says how h would be reached. It connects to nothing.
func (p *Pool) Endpoint(ctx context.Context, h *runtime.Host) (Endpoint, error) {
	e, err := p.endpoint(ctx, h)
	if err != nil {
		return Endpoint{}, err
	}
	return *e, nil
}

// Reach connects to h, logs in and runs true there.
func (p *Pool) Reach(ctx context.Context, h *runtime.Host) error {
	_, err := p.Output(ctx, h, "true")
	return err
}

func destinationOf(h *runtime.Host) string {
	if h.SSH != "" {
		return h.SSH
	}
	return h.Name
}

// to returns a connection to h.
func (p *Pool) to(ctx context.Context, h *runtime.Host) (*conn, error) {
	e, err := p.endpoint(ctx, h)
	if err != nil {
		return nil, err
	}
	c, err := p.connect(ctx, e)
	p.tell(ctx, e)
	return c, err
}

// resolve looks a destination up, and the hops on the way to it. The trail is
// what those behind it are called.
func (p *Pool) resolve(ctx context.Context, destination string, trail []string) (*Endpoint, error) {
	e, err := p.lookUp(ctx, destination)
	if err != nil {
		return nil, err
	}
	return p.resolveJump(ctx, e, e.ProxyJump, trail)
}

// resolveJump returns e behind the hops. Only the first hop is reached as its
// own configuration says, as with ssh -J.
func (p *Pool) resolveJump(ctx context.Context, e *Endpoint, hops, trail []string) (*Endpoint, error) {
	name := e.User + "@" + e.Address()
	if slices.Contains(trail, name) {
		return nil, fmt.Errorf("the ProxyJump of %s leads in a circle", name)
	}
	trail = append(slices.Clip(trail), name)
	behind := *e
	behind.jump = nil
	if len(hops) == 0 {
		return &behind, nil
	}
	hop, before := hops[len(hops)-1], hops[:len(hops)-1]
	behind.ProxyCommand = ""
	var err error
	if len(before) == 0 {
		behind.jump, err = p.resolve(ctx, hop, trail)
		return &behind, err
	}
	through, err := p.lookUp(ctx, hop)
	if err != nil {
		return nil, err
	}
	behind.jump, err = p.resolveJump(ctx, through, before, trail)
	return &behind, err
}

// lookUp finds out once for each destination what ssh's configuration says.
func (p *Pool) lookUp(ctx context.Context, destination string) (*Endpoint, error) {
	p.mu.Lock()
	e := p.lookedUp[destination]
	p.mu.Unlock()
	if e != nil {
		return e, nil
	}
	return flight(ctx, p, "look up "+destination, func() (*Endpoint, error) {
		e, err := p.ask(destination)
		if err == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.lookedUp[destination] = e
		}
		return e, err
	})
}

// connect returns the connection to an endpoint, and makes it where there is
// none.
func (p *Pool) connect(ctx context.Context, e *Endpoint) (*conn, error) {
	key := e.key()
	if c := p.pooled(key); c != nil {
		return c, nil
	}
	return flight(ctx, p, "connect "+key, func() (*conn, error) {
		if c := p.pooled(key); c != nil {
			return c, nil
		}
		c, err := p.dial(p.ctx, e)
		if err != nil {
			return nil, err
		}
		return c, p.keep(key, c)
	})
}

// pooled returns a living connection, or nil.
func (p *Pool) pooled(key string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.conns[key]; c != nil && !c.dead() {
		return c
	}
	delete(p.conns, key)
	return nil
}

func (p *Pool) keep(key string, c *conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		c.client.Close()
		return errClosed
	}
	p.conns[key] = c
	return nil
}

// flight does something once for all who ask for it at the same time. It goes
// on when one of them leaves, until the pool is closed.
func flight[T any](ctx context.Context, p *Pool, key string, do func() (T, error)) (T, error) {
	var none T
	if p.ctx.Err() != nil {
		return none, errClosed
	}
	result := p.flights.DoChan(key, func() (any, error) { return do() })
	select {
	case r := <-result:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(T), nil
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

// enter waits for leave to shake hands with a server, or with any server
// through a jump host: that one's sshd opens the connections.
func (p *Pool) enter(ctx context.Context, e *Endpoint, jump *conn) (leave func(), err error) {
	gate := p.gate(e, jump)
	select {
	case gate <- struct{}{}:
		return func() { <-gate }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// crowded says whether somebody else shakes hands there.
func (p *Pool) crowded(e *Endpoint, jump *conn) bool { return len(p.gate(e, jump)) > 1 }

func (p *Pool) gate(e *Endpoint, jump *conn) chan struct{} {
	address := e.Address()
	if jump != nil {
		address = jump.endpoint.Address()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	gate := p.gates[address]
	if gate == nil {
		gate = make(chan struct{}, handshakesAtOnce)
		p.gates[address] = gate
	}
	return gate
}

// Run runs cmd on h. The host ends the command when ctx ends, when the
// connection is lost and when infra dies: TERM to its process group, KILL
// after the grace. Run then returns ctx's cause, or an error that is
// [runtime.ErrUntold].
//
// All of the input is on the host before the command starts. Output that what is
// left of the command's process group holds open is read for 2 seconds more.
//
// A command that runs as a unit goes on where the run is interrupted, the
// connection lost or infra dead, and only another end of ctx ends it. A lost
// connection is made again; the error of a command that goes on is [runtime.ErrUntold].
func (p *Pool) Run(ctx context.Context, h *runtime.Host, cmd Command) (Exit, error) {
	if ctx.Err() != nil {
		return Exit{}, context.Cause(ctx)
	}
	line, err := prelude(cmd)
	if err != nil {
		return Exit{}, err
	}
	if cmd.Unit != "" {
		return p.runUnit(ctx, h, cmd, line)
	}
	c, err := p.to(ctx, h)
	if err != nil {
		return Exit{}, err
	}
	if exit, ran, err := c.inShell(ctx, cmd, line); ran {
		return exit, err
	}
	if !cmd.Reads {
		defer c.changed()
	}
	status, err := c.run(ctx, job{script: wrapper, sudo: cmd.Sudo, input: wrapperInput(cmd, line, p.config.Grace),
		stdout: cmd.Stdout, stderr: cmd.Stderr, grace: p.config.Grace})
	return Exit{Code: status, Signal: signalOf(status)}, err
}

// outputLimit bounds what [Pool.Output] keeps, errorLimit what an error shows
// of standard error.
const (
	outputLimit = 64 << 20
	errorLimit  = 4 << 10
)

// Output runs a command that observes, and returns what it prints. It fails
// where the command fails.
func (p *Pool) Output(ctx context.Context, h *runtime.Host, argv ...string) (string, error) {
	return p.output(ctx, h, Command{Argv: argv}, outputLimit)
}

func (p *Pool) output(ctx context.Context, h *runtime.Host, cmd Command, limit int64) (string, error) {
	stdout, stderr := &whole{limit: limit}, &tail{limit: errorLimit}
	cmd.Stdout, cmd.Stderr, cmd.Reads = stdout, stderr, true
	exit, err := p.Run(ctx, h, cmd)
	switch {
	case err != nil:
		return "", err
	case exit.Code != 0:
		return "", &exitError{h.Name, cmd.Argv, exit.Code, strings.TrimSpace(stderr.String())}
	case stdout.over:
		return "", fmt.Errorf("%s on %s printed more than %d bytes", cmd.Argv[0], h.Name, limit)
	}
	return string(stdout.buf), nil
}

// exitError is a read that failed on its host.
type exitError struct {
	host   string
	argv   []string
	code   int
	stderr string
}

func (e *exitError) Error() string {
	text := fmt.Sprintf("%s on %s exited with %d", strings.Join(e.argv, " "), e.host, e.code)
	if e.stderr != "" {
		text += ": " + e.stderr
	}
	return text
}

// signalOf names the signal that a shell reports as 128 + n; only those whose
// number is the same on every system.
func signalOf(status int) string {
	return map[int]string{1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 8: "FPE", 9: "KILL",
		11: "SEGV", 13: "PIPE", 14: "ALRM", 15: "TERM"}[status-128]
}

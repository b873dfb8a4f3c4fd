package remote

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"infra/runtime"
)

// After a command has ended, a daemon that it left behind may hold its output
// open. Output is read on until it ends, until nothing came for drainQuiet, or
// for drainLimit.
const (
	drainQuiet = 2 * time.Second
	drainLimit = 30 * time.Second
)

// afterGrace is how much longer than the grace a cancelled command may take to
// end on its host before it is given up.
const afterGrace = 2 * time.Second

// A job is one script run in a session of a connection. The script announces
// itself by [started].
type job struct {
	script         string
	args           []string  // of the script, which any login shell takes in single quotes
	sudo           bool      // as root, unless the login is root already
	input          io.Reader // what the script reads first; nil is nothing
	stdout, stderr io.Writer
	grace          time.Duration
	// farewell is what the script is told when ctx ends early, and has read all
	// of its input; nil is nothing. The end of its input follows.
	farewell func(cause error) string
}

// A report is what came back of a job that the host carried out.
type report struct {
	status  int
	started bool
	noise   string // what was said on standard error before the start
}

// run carries out a job and returns its exit status; one that did not start is
// an error.
func (c *conn) run(ctx context.Context, j job) (int, error) {
	j.sudo = j.sudo && c.endpoint.User != "root"
	r, err := c.carryOut(ctx, j)
	if err != nil {
		return 0, err
	}
	if r.started {
		return r.status, nil
	}
	return 0, c.notStarted(j, r)
}

// notStarted says why a script did not announce itself.
func (c *conn) notStarted(j job, r report) error {
	err := fmt.Errorf("%s did not start the command (exit status %d): %s", c.endpoint, r.status, r.noise)
	switch {
	case r.status == exitNotFound:
		return fmt.Errorf("%w: %w", err, exec.ErrNotFound)
	case j.sudo && strings.Contains(r.noise, "sudo:"):
		return runtime.WithHint(
			fmt.Errorf("%s may not use sudo without a password on %s: %s", c.endpoint.User, c.endpoint.Address(), r.noise),
			"give %s NOPASSWD in the sudoers of the host, or reach it as root", c.endpoint.User)
	case r.noise == "":
		return runtime.WithHint(err, "does the login shell of %s run commands? ssh %s true", c.endpoint.User, c.endpoint.Destination)
	}
	return err
}

// exitNotFound is a shell's exit status for a program that is not there.
const exitNotFound = 127

// carryOut runs a job. It returns an error where no exit status came back, with
// what was heard of the job all the same.
func (c *conn) carryOut(ctx context.Context, j job) (report, error) {
	ch, err := c.begin(ctx, oneWord(j.script, j.sudo, j.args...))
	if err != nil {
		return report{}, err
	}
	defer c.end(ch)
	ended := c.pool.underWay.begin(c.endpoint)
	s := &session{conn: c, ch: ch, input: input{ch: ch}, ended: make(chan ending, 1)}
	go s.listen()
	sent := make(chan struct{})
	go s.send(j, sent)
	s.leave = func() {
		if j.farewell != nil && ready(sent) {
			io.WriteString(&s.input, j.farewell(context.Cause(ctx)))
		}
		s.input.close()
	}
	gate := &gate{}
	defer gate.shut()
	stderr := &announced{next: gate.writer(j.stderr, &s.output), answer: func() { s.answer(sent) }}
	copied := make(chan struct{})
	go s.copyOutput(gate.writer(j.stdout, &s.output), stderr, copied)
	end, err := s.await(ctx, j.grace)
	ended(end)
	if end.exited {
		s.drain(copied, func() bool {
			begun, _ := stderr.heard()
			return begun
		})
	}
	gate.shut()
	begun, noise := stderr.heard()
	return report{end.status, begun, noise}, err
}

func ready(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// An input is the standard input of a script. A channel's own Write and
// CloseWrite may not be called at once.
type input struct {
	mu     sync.Mutex
	ch     *channel
	closed bool
}

func (i *input) Write(p []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return 0, io.ErrClosedPipe
	}
	return i.ch.Write(p)
}

func (i *input) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	i.ch.CloseWrite()
}

// A session is one channel on which a script runs.
type session struct {
	conn   *conn
	ch     *channel
	input  input
	leave  func()      // tells the script that nobody waits for it any more
	ended  chan ending // gets one ending
	output atomic.Int64
}

// An ending is how the host says that a session ended.
type ending struct {
	exited bool // there is a status, not an error
	status int
	err    error
}

// answer sends a newline, which scripts ignore behind their input. Its packet
// acknowledges the announcement, without which Nagle's algorithm at the host
// would hold back what follows for 40 ms.
func (s *session) answer(sent <-chan struct{}) {
	if ready(sent) { // else more than an acknowledgement is on its way
		s.input.Write([]byte("\n"))
	}
}

// listen waits for the exit status; the channel ends without one when the
// connection is lost.
func (s *session) listen() {
	sent := false
	for r := range s.ch.requests {
		if e, ok := s.ending(r); ok && !sent {
			s.ended <- e
			sent = true
		}
		if r.WantReply {
			r.Reply(false, nil)
		}
	}
	if !sent {
		s.ended <- ending{err: s.conn.lost(nil)}
	}
}

func (s *session) ending(r *ssh.Request) (ending, bool) {
	switch r.Type {
	case "exit-status":
		var status struct{ Status uint32 }
		if err := ssh.Unmarshal(r.Payload, &status); err != nil {
			return ending{err: fmt.Errorf("%s sent a broken exit status: %w", s.conn.endpoint, err)}, true
		}
		return ending{exited: true, status: int(status.Status)}, true
	case "exit-signal":
		var signal struct {
			Name       string
			CoreDumped bool
			Message    string
			Lang       string
		}
		_ = ssh.Unmarshal(r.Payload, &signal) // an unnamed signal is one too
		return ending{err: fmt.Errorf("the shell that ran the command on %s was ended by SIG%s; %w",
			s.conn.endpoint, signal.Name, runtime.ErrUntold)}, true
	}
	return ending{}, false
}

// send sends a job its input, the head of which is in one packet.
func (s *session) send(j job, sent chan<- struct{}) {
	defer close(sent)
	if j.input != nil {
		transfer(&s.input, j.input, headRead) // its end is no end of the stream: that would end the command
	}
}

func (s *session) copyOutput(stdout, stderr io.Writer, done chan<- struct{}) {
	diag := make(chan struct{})
	go func() {
		pour(stderr, s.ch.Stderr())
		close(diag)
	}()
	pour(stdout, s.ch)
	<-diag
	close(done)
}

// pour reads on when w fails: a command must not hang for it.
func pour(w io.Writer, r io.Reader) {
	if transfer(w, r, smallRead) != nil {
		transfer(io.Discard, r, smallRead)
	}
}

// await returns how the session ended. When ctx ends first, it closes the
// script's standard input, by which a command is told to end, and waits for that.
func (s *session) await(ctx context.Context, grace time.Duration) (ending, error) {
	select {
	case e := <-s.ended:
		return e, e.err
	case <-ctx.Done():
	}
	go s.leave() // blocks while the network does
	late := time.NewTimer(grace + afterGrace)
	defer late.Stop()
	select {
	case e := <-s.ended:
		if e.err != nil {
			return e, fmt.Errorf("%w; %w", context.Cause(ctx), e.err)
		}
		return e, context.Cause(ctx)
	case <-late.C:
		return ending{}, s.silent(ctx)
	}
}

// silent is the error of a command that ctx ended, of which nothing is heard any more.
func (s *session) silent(ctx context.Context) error {
	return fmt.Errorf("%w; the command was told to end, but %s does not say that it did; %w",
		context.Cause(ctx), s.conn.endpoint, runtime.ErrUntold)
}

// drain waits for the rest of the output. The announcement is waited for even where all
// is quiet, on a machine that is very busy: what ran must not count as not begun.
func (s *session) drain(copied <-chan struct{}, begun func() bool) {
	limit := time.NewTimer(drainLimit)
	defer limit.Stop()
	for {
		before := s.output.Load()
		quiet := time.NewTimer(drainQuiet)
		select {
		case <-copied:
		case <-limit.C:
		case <-quiet.C:
			if s.output.Load() != before || !begun() {
				continue
			}
		}
		quiet.Stop()
		return
	}
}

// A gate lets one write through at a time, and none after it was shut: the
// caller's writers are not used once Run has returned.
type gate struct {
	mu     sync.Mutex
	closed bool
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// writer passes on to w, which may be nil, and counts.
func (g *gate) writer(w io.Writer, count *atomic.Int64) io.Writer {
	return writerFunc(func(p []byte) (int, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.closed {
			return 0, io.ErrClosedPipe
		}
		count.Add(int64(len(p)))
		if w == nil {
			return len(p), nil
		}
		return w.Write(p)
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// announced is standard error until and after the line [started].
type announced struct {
	next   io.Writer
	answer func() // called at the start

	mu     sync.Mutex // of what follows; who asks may not wait for who writes
	before []byte
	done   bool
}

// noiseLimit bounds what is kept of standard error before the start.
const noiseLimit = 8 << 10

func (a *announced) Write(p []byte) (int, error) {
	rest, begins := a.take(p)
	if begins {
		a.answer()
	}
	if len(rest) > 0 {
		if _, err := a.next.Write(rest); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// take returns what of p is behind the announcement, and whether that is in p.
func (a *announced) take(p []byte) (rest []byte, begins bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done {
		return p, false
	}
	a.before = append(a.before, p...)
	noise, rest, found := bytes.Cut(a.before, []byte(started+"\n"))
	if !found {
		a.before = a.before[max(0, len(a.before)-noiseLimit):]
		return nil, false
	}
	a.before, a.done = noise, true
	return rest, true
}

// heard is whether the announcement came, and what was said before it.
func (a *announced) heard() (done bool, noise string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.done, strings.TrimSpace(string(a.before))
}

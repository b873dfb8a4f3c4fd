package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"infra/runtime"
)

// A shell is a session of a connection in which commands run one after another, as
// [shellRuns] says. It saves a session for each: those that only observe share one,
// as do those of one attempt of a step. The first shell of a host shares that of the
// holder of its lock, which outlasts it.
//
// What changes the host may change what its logins find, their environment say. So of
// a shell from before a change only the step that made it has further use; any other
// command logs in anew.
type shell struct {
	conn  *conn // whose idle shell it is
	mark  string
	lock  *lockReport // hears the holder of a lock, in whose session it is; nil: the session is its own
	era   int         // of its connection, when it began
	ready chan struct{}
	once  sync.Once       // makes it ready
	owner context.Context // the attempt of a step that has changed the host by it; nil is none
	err   error           // why it did not start, once it is ready
	units bool            // a command of its login can be a unit of systemd

	session session
	streams [2]marked     // by stdout and stderr
	copied  chan struct{} // closed when they have ended
	gone    chan struct{} // closed when it has ended
	over    sync.Once
	ending  ending // how it did

	mu      sync.Mutex
	started int // how many streams have
	parted  int // how many are of no further use
	noise   tail
	sent    []*shellCommand // one after another, since nothing was under way
	at      [2]int          // which of them each stream belongs to
	ends    [2]int          // how many of them have ended, as each stream says
	left    bool            // something of them may still print, or the shell is spoilt
	worst   int             // the highest exit status of them
	halted  bool            // it begins no more
	nothing func(ending)    // notes that nothing of them is left
	heard   time.Duration   // when it said last that nothing is under way, by the unsleeping clock
	outbox  []byte          // what it is to be told, and what
	telling bool            // somebody tells it already
}

// freshFor is how long after its last word a shell is taken to be there. Later it is
// asked: what is sent to a host that has gone down in between is lost, and whether it
// was carried out is not known.
const freshFor = 100 * time.Millisecond

// The two streams of a shell.
const (
	stdout = iota
	stderr
)

// A shellCommand is one command of a shell, and what became of it.
type shellCommand struct {
	shell *shell
	line  string
	after bool // it is begun only where the one before it has ended well
	to    [2]io.Writer
	told  chan struct{} // closed when the host has said what became of it

	begun  bool
	noise  tail // what was said before it began
	status int
	vain   bool // it was not even tried
	away   bool // since it needs another shell
	last   bool // nothing else was under way when it had ended
}

func newShellCommand(s *shell, line string, cmd Command, gate *gate) *shellCommand {
	out, diag := gate.writer(cmd.Stdout, &s.session.output), gate.writer(cmd.Stderr, &s.session.output)
	return &shellCommand{shell: s, line: line, to: [2]io.Writer{out, diag}, told: make(chan struct{}), noise: tail{limit: noiseLimit}}
}

func (c *conn) newShell() *shell {
	s := &shell{conn: c, mark: rand.Text(), era: c.eraNow(), ready: make(chan struct{}), gone: make(chan struct{}), noise: tail{limit: noiseLimit}}
	for i := range s.streams {
		s.streams[i] = marked{mark: []byte("\x1e" + s.mark), text: func(p []byte) { s.text(i, p) }, says: func(word, rest string) { s.says(i, word, rest) }}
	}
	return s
}

// openShell begins a shell in a session of its own.
func (c *conn) openShell(ctx context.Context) *shell {
	s := c.newShell()
	go func() {
		tenths := max(1, c.pool.config.Grace/(100*time.Millisecond))
		if s.open(ctx, oneWord(shellRuns, false, s.mark, strconv.FormatInt(int64(tenths), 10))) == nil {
			s.close(<-s.session.ended)
		}
	}()
	return s
}

// last begins a shell in the session of the holder of a lock, and returns when that has
// ended, as it is told to when ctx does.
func (s *shell) last(ctx context.Context, line string, grace time.Duration) error {
	if err := s.open(ctx, line); err != nil {
		return err
	}
	ended := s.session.conn.pool.underWay.begin(s.session.conn.endpoint)
	end, err := s.session.await(ctx, grace)
	ended(end)
	s.close(end)
	if err == nil && ready(s.ready) {
		err = s.err // it has not even started
	}
	return err
}

// open begins the session.
func (s *shell) open(ctx context.Context, line string) error {
	ch, err := s.conn.begin(ctx, line)
	if err != nil {
		s.fail(err)
		return err
	}
	s.session = session{conn: ch.on, ch: ch, input: input{ch: ch}, ended: make(chan ending, 1)}
	s.session.leave = s.session.input.close
	s.copied = make(chan struct{})
	go s.session.listen()
	go s.session.copyOutput(&s.streams[stdout], &s.streams[stderr], s.copied)
	return nil
}

// close notes how the session ended.
func (s *shell) close(how ending) {
	if how.exited {
		s.session.drain(s.copied, func() bool { return true })
	}
	s.end(how)
	s.session.conn.end(s.session.ch)
	s.mu.Lock()
	started := s.started == len(s.streams)
	s.mu.Unlock()
	switch {
	case started:
	case how.err != nil:
		s.fail(how.err)
	default:
		s.fail(s.session.conn.notStarted(job{}, report{status: how.status, noise: strings.TrimSpace(s.noise.String())}))
	}
}

// end notes how the shell ended: with its session, or before it.
func (s *shell) end(how ending) {
	s.over.Do(func() {
		s.ending = how
		close(s.gone)
	})
}

func (s *shell) fail(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.ready)
	})
}

// text takes what a command prints.
func (s *shell) text(stream int, p []byte) {
	if w := s.writer(stream); w != nil {
		_, _ = w.Write(p) // a command must not hang because its output cannot be kept
	}
}

func (s *shell) writer(stream int) io.Writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.started < len(s.streams):
		return &s.noise
	case s.at[stream] >= len(s.sent):
		return nil // of a daemon that a command has left
	}
	c := s.sent[s.at[stream]]
	if stream == stderr && !c.begun {
		return &c.noise
	}
	return c.to[stream]
}

// says takes what the shell itself says.
func (s *shell) says(stream int, word, rest string) {
	if word == "lock" && s.lock != nil {
		s.lock.says(rest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch word {
	case "start":
		s.units = s.units || rest == "units"
		if s.started++; s.started == len(s.streams) {
			s.heard = now()
			s.once.Do(func() { close(s.ready) })
		}
		return
	case "gone":
		if s.parted++; s.parted == len(s.streams) {
			go s.part(s.left)
		}
		return
	}
	if s.at[stream] >= len(s.sent) || s.ends[stream] >= len(s.sent) {
		return // it says more than it was asked
	}
	switch word {
	case "next":
		s.at[stream]++
	case "begin":
		s.sent[s.at[stream]].begun = true
		s.tell("\n") // see answer
	case "end":
		c := s.sent[s.ends[stream]]
		if status, left, told := strings.Cut(rest, " "); told {
			c.status, _ = strconv.Atoi(status) // the shell's own words
			s.worst = max(s.worst, c.status)
			s.left = left != "0"
		}
		s.ended(stream, c)
	case "skip", "away":
		c := s.sent[s.ends[stream]]
		c.vain, c.away = true, word == "away"
		s.ended(stream, c)
	}
}

// ended notes what a stream says of the end of a command. The caller holds mu.
func (s *shell) ended(stream int, c *shellCommand) {
	s.ends[stream]++
	n := s.ends[stream]
	if s.ends[1-stream] < n {
		return // that stream may have more of it
	}
	if n == len(s.sent) {
		c.last, s.heard = true, now()
		if !s.left {
			s.nothing(ending{exited: true, status: s.worst})
			s.sent = nil
		}
	}
	close(c.told)
}

// part ends a shell whose session goes on, where something is left when that is quiet.
func (s *shell) part(left bool) {
	if left {
		s.session.drain(s.copied, func() bool { return true })
	}
	s.end(ending{exited: true})
}

// retire ends a shell that runs nothing, without waiting for it.
func (s *shell) retire() {
	go func() {
		<-s.ready
		if s.err == nil {
			s.quit()
		}
	}()
}

// quit ends the shell, and a command that is under way.
func (s *shell) quit() {
	if s.lock == nil {
		s.session.input.close()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell("quit\n")
}

// send has a command run. Nothing is under way.
func (s *shell) send(c *shellCommand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent, s.at, s.ends, s.left, s.worst = []*shellCommand{c}, [2]int{}, [2]int{}, false, 0
	s.nothing = s.session.conn.pool.underWay.begin(s.session.conn.endpoint)
	s.tell("first " + c.line + "\n")
}

// waitingLimit bounds, in bytes, what waits on a host for the commands before it. A pipe
// must hold it, so that what we say behind it is heard.
const waitingLimit = 12 << 10

// sendAfter has a command run where the one before it ends well, if that was sent last and
// may still be under way. Otherwise it says no.
func (s *shell) sendAfter(before, c *shellCommand) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.sent)
	if n == 0 || s.sent[n-1] != before || s.left || s.halted {
		return false
	}
	waiting := len(c.line)
	for _, x := range s.sent[min(s.at[stderr]+1, n):] {
		waiting += len(x.line)
	}
	if waiting > waitingLimit {
		return false
	}
	c.after = true
	s.sent = append(s.sent, c)
	s.tell("after " + c.line + "\n")
	return true
}

// halt has no further command begun.
func (s *shell) halt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.halted {
		s.halted = true
		s.tell("halt\n")
	}
}

// tell writes to the shell without waiting for the network. The caller holds mu.
func (s *shell) tell(text string) {
	s.outbox = append(s.outbox, text...)
	if s.telling {
		return
	}
	s.telling = true
	go func() {
		for {
			s.mu.Lock()
			text := s.outbox
			s.outbox, s.telling = nil, len(text) > 0
			s.mu.Unlock()
			if len(text) == 0 {
				return
			}
			_, _ = s.session.input.Write(text) // its end is told by the session
		}
	}()
}

// await waits until the host has said what became of a command. Where ctx ends first,
// it is ended, and with it the shell; where stop does, what was not begun is not.
func (c *shellCommand) await(ctx context.Context, stop <-chan struct{}) error {
	s := c.shell
	for {
		select {
		case <-c.told:
			return nil
		case <-s.gone: // what it has said before counts, and who has ended it
			if ready(c.told) {
				return nil
			}
			if ctx.Err() == nil {
				return s.lost(c)
			}
		case <-stop:
			stop = nil
			if c.after {
				s.halt()
			}
			continue
		case <-ctx.Done():
		}
		break
	}
	go s.quit() // blocks while the network does
	late := time.NewTimer(s.session.conn.pool.config.Grace + afterGrace)
	defer late.Stop()
	select {
	case <-s.gone:
		switch err := s.lost(c); {
		case errors.Is(err, runtime.ErrPassedOver):
			return err
		case s.ending.err != nil:
			return fmt.Errorf("%w; %w", context.Cause(ctx), err)
		}
		return context.Cause(ctx)
	case <-late.C:
		if s.lock == nil {
			s.session.ch.Close()
		}
		return s.session.silent(ctx)
	}
}

// lost is the error of a command whose shell ended before it said how the command did.
func (s *shell) lost(c *shellCommand) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ending.err != nil:
		return s.ending.err
	case c.after && !c.begun:
		return runtime.ErrPassedOver
	}
	return fmt.Errorf("the shell that ran the command on %s has ended; %w", s.session.conn.endpoint, runtime.ErrUntold)
}

// report is what is known of a command that did not begin.
func (c *shellCommand) report() report {
	return report{c.status, c.begun, strings.TrimSpace(c.noise.String())}
}

package remote

import (
	"context"
	"crypto/rand"
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
// as do those of one attempt of a step.
//
// What changes the host may change what its logins find, their environment say. So of
// a shell from before a change only the step that made it has further use; any other
// command logs in anew.
type shell struct {
	conn  *conn // whose idle shell it is
	era   int   // of its connection, when it began
	ready chan struct{}
	once  sync.Once       // makes it ready
	owner context.Context // the attempt of a step that has changed the host by it; nil is none
	err   error           // why it did not start, once it is ready
	units bool            // a command of its login can be a unit of systemd

	session session
	streams [2]marked     // by stdout and stderr
	over    chan struct{} // closed when the session has ended
	ending  ending        // how

	mu      sync.Mutex
	started int // how many streams have
	noise   tail
	job     *shellJob
	ended   func(ending)  // notes that nothing of the job is left
	heard   time.Duration // when the last job ended, by the unsleeping clock
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

// A shellJob is commands that a shell runs one after another, each where the one before
// it has ended well.
type shellJob struct {
	commands []*shellCommand
	at       [2]int // which command each stream belongs to
	ended    int    // how many streams are at their end
	all      chan struct{}
	left     bool // something of it may still print
}

// A shellCommand is one command of a job, and what became of it.
type shellCommand struct {
	line   string
	to     [2]io.Writer
	passed int           // how many streams are behind it
	told   chan struct{} // closed when the host has said what became of it
	begun  bool
	noise  tail // what was said before it began
	status int
	vain   bool // it was not even tried
}

func newShellCommand(line string, out, diag io.Writer) *shellCommand {
	return &shellCommand{line: line, to: [2]io.Writer{out, diag}, told: make(chan struct{}), noise: tail{limit: noiseLimit}}
}

// openShell begins a shell in a session that begin makes.
func (c *conn) openShell(ctx context.Context, begin func(context.Context, string) (*channel, error)) *shell {
	s := &shell{conn: c, era: c.eraNow(), ready: make(chan struct{}), over: make(chan struct{}), noise: tail{limit: noiseLimit}}
	mark := "\x1e" + rand.Text()
	for i := range s.streams {
		s.streams[i] = marked{mark: []byte(mark), text: func(p []byte) { s.text(i, p) }, says: func(words []string) { s.says(i, words) }}
	}
	go func() {
		ch, err := begin(ctx, shellLine())
		if err != nil {
			s.fail(err)
			return
		}
		s.session = session{conn: ch.on, ch: ch, input: input{ch: ch}, ended: make(chan ending, 1)}
		go s.session.listen()
		copied := make(chan struct{})
		go s.session.copyOutput(&s.streams[stdout], &s.streams[stderr], copied)
		fmt.Fprintf(&s.session.input, "%s %d\n", mark, max(1, ch.on.pool.config.Grace/(100*time.Millisecond)))
		s.follow(copied)
	}()
	return s
}

var shellLine = sync.OnceValue(func() string { return oneWord(shellRuns, false) })

// follow waits for the session's end.
func (s *shell) follow(copied <-chan struct{}) {
	s.ending = <-s.session.ended
	if s.ending.exited {
		s.session.drain(copied, func() bool { return true })
	}
	close(s.over)
	s.session.conn.end(s.session.ch)
	s.mu.Lock()
	started := s.started == len(s.streams)
	s.mu.Unlock()
	switch {
	case started:
	case s.ending.err != nil:
		s.fail(s.ending.err)
	default:
		s.fail(s.session.conn.notStarted(job{}, report{status: s.ending.status, noise: strings.TrimSpace(s.noise.String())}))
	}
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
	case s.job == nil:
		return nil // of a daemon that a command has left
	}
	c := s.job.commands[s.job.at[stream]]
	if stream == stderr && !c.begun {
		return &c.noise
	}
	return c.to[stream]
}

// says takes what the shell itself says.
func (s *shell) says(stream int, words []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if words[0] == "start" {
		s.units = s.units || len(words) > 1 && words[1] == "units"
		if s.started++; s.started == len(s.streams) {
			s.heard = now()
			s.once.Do(func() { close(s.ready) })
		}
		return
	}
	j := s.job
	if j == nil {
		return
	}
	switch c := j.commands[j.at[stream]]; words[0] {
	case "begin":
		c.begun = true
		go s.session.input.Write([]byte("\n")) // see answer
	case "next":
		j.at[stream]++
		c.pass()
	case "end":
		if len(words) == 3 {
			c.status, _ = strconv.Atoi(words[1]) // the shell's own words
			j.left = words[2] != "0"
		}
		c.pass()
		if j.ended++; j.ended == len(s.streams) {
			s.heard = now()
			j.end()
			if !j.left {
				s.ended(ending{exited: true, status: c.status})
				s.job = nil
			}
		}
	}
}

// pass notes that a stream is behind the command.
func (c *shellCommand) pass() {
	if c.passed++; c.passed == 2 {
		close(c.told)
	}
}

// end tells those whose command was not reached.
func (j *shellJob) end() {
	for _, c := range j.commands[j.at[stdout]+1:] {
		c.vain = true
		close(c.told)
	}
	close(j.all)
}

// retire ends a shell that runs nothing, without waiting for it.
func (s *shell) retire() {
	go func() {
		<-s.ready
		if s.err == nil {
			s.session.input.close()
		}
	}()
}

// send hands a job over.
func (s *shell) send(commands []*shellCommand) *shellJob {
	j := &shellJob{commands: commands, all: make(chan struct{})}
	s.mu.Lock()
	s.job, s.ended = j, s.session.conn.pool.underWay.begin(s.session.conn.endpoint)
	s.mu.Unlock()
	var lines strings.Builder
	fmt.Fprintln(&lines, len(commands))
	for _, c := range commands {
		fmt.Fprintln(&lines, c.line)
	}
	go io.WriteString(&s.session.input, lines.String()) // blocks while the network does
	return j
}

// await waits until the host has said what became of a command. Where ctx ends first,
// it is ended, and with it the shell.
func (s *shell) await(ctx context.Context, c *shellCommand) error {
	select {
	case <-c.told:
		return nil
	case <-s.over:
		return s.lost()
	case <-ctx.Done():
	}
	go s.session.input.close() // blocks while the network does
	late := time.NewTimer(s.session.conn.pool.config.Grace + afterGrace)
	defer late.Stop()
	select {
	case <-s.over:
		if s.ending.err != nil {
			return fmt.Errorf("%w; %w", context.Cause(ctx), s.ending.err)
		}
		return context.Cause(ctx)
	case <-late.C:
		s.session.ch.Close()
		return s.session.silent(ctx)
	}
}

// lost is the error of a command whose shell ended before it said how the command did.
func (s *shell) lost() error {
	if s.ending.err != nil {
		return s.ending.err
	}
	return fmt.Errorf("the shell that ran the command on %s has ended; %w", s.session.conn.endpoint, runtime.ErrUntold)
}

// report is what is known of a command that did not begin.
func (c *shellCommand) report() report {
	return report{c.status, c.begun, strings.TrimSpace(c.noise.String())}
}

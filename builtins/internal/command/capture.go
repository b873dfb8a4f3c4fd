package command

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Limit is how much of a command's standard output is kept in memory.
const Limit = 8 << 20

// tailLimit is how much of the end of standard error is kept.
const tailLimit = 256 << 10

// head keeps the first [Limit] bytes written to it and counts the rest. It
// takes everything, so that a command is never stopped by what it prints.
type head struct {
	kept    bytes.Buffer
	dropped int64
}

func (h *head) Write(p []byte) (int, error) {
	fits := min(len(p), Limit-h.kept.Len())
	h.kept.Write(p[:fits])
	h.dropped += int64(len(p) - fits)
	return len(p), nil
}

// tail keeps the last bytes written to it: at least tailLimit of them.
type tail struct {
	kept    []byte
	dropped int64
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - tailLimit; over > tailLimit {
		t.kept = append(t.kept[:0], t.kept[over:]...)
		t.dropped += int64(over)
	}
	return len(p), nil
}

func (t *tail) String() string {
	if t.dropped == 0 {
		return string(t.kept)
	}
	return fmt.Sprintf("[%d bytes before this were not kept]\n%s", t.dropped, t.kept)
}

// A lockedLog is one log for the two streams of a command.
type lockedLog struct {
	mu sync.Mutex
	w  io.Writer
}

// lineLimit bounds what a stream holds back of a line without an end.
const lineLimit = 64 << 10

// A stream passes whole lines on to the log: parts of two streams' lines in
// between each other could neither be read nor scrubbed.
type stream struct {
	log     *lockedLog
	pending []byte
}

func (s *stream) Write(p []byte) (int, error) {
	s.pending = append(s.pending, p...)
	end := bytes.LastIndexByte(s.pending, '\n') + 1
	if end == 0 && len(s.pending) > lineLimit {
		end = len(s.pending)
	}
	s.pass(end)
	return len(p), nil
}

func (s *stream) flush() { s.pass(len(s.pending)) }

func (s *stream) pass(n int) {
	if n == 0 {
		return
	}
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	// A log that cannot be written must not end what the command is at.
	_, _ = s.log.w.Write(s.pending[:n])
	s.pending = append(s.pending[:0], s.pending[n:]...)
}

// LastLines returns the last n lines of what a tool said, without blank ones
// and cut to a length that fits into an error.
func LastLines(text string, n int) string {
	const widest = 400
	var lines []string
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, " \t\r\n")
		if l == "" {
			continue
		}
		if len(l) > widest {
			l = strings.ToValidUTF8(l[:widest], "") + "…"
		}
		lines = append(lines, l)
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

package remote

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A lockReport is what a script about a lock says, line by line: one word of
// what it found first, or "fail" and why.
type lockReport struct {
	held    func() // told of the line "held", which says the host's boot too
	refused func() // told of any other line

	mu    sync.Mutex
	rest  []byte
	lines []string
	boot  string
}

// lockReportLimit bounds the lines that are kept.
const lockReportLimit = 100

func (r *lockReport) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rest = append(r.rest, p...)
	for {
		line, rest, found := bytes.Cut(r.rest, []byte("\n"))
		if !found {
			r.rest = r.rest[max(0, len(r.rest)-noiseLimit):]
			return len(p), nil
		}
		r.rest = rest
		r.take(string(line))
	}
}

// says takes a line that is led by a shell's mark.
func (r *lockReport) says(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.take(line)
}

func (r *lockReport) take(line string) {
	word, boot, _ := strings.Cut(line, " ")
	if word == "held" && r.held != nil {
		r.boot = printable(boot)
		r.held()
		r.held = nil
		return
	}
	if len(r.lines) < lockReportLimit {
		r.lines = append(r.lines, line)
	}
	if r.refused != nil {
		r.refused()
	}
}

// is says whether a line begins with the word.
func (r *lockReport) is(word string) bool {
	_, found := r.after(word)
	return found
}

// after returns what follows the word on the first line that begins with it.
func (r *lockReport) after(word string) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		if first, rest, _ := strings.Cut(line, " "); first == word {
			return rest, true
		}
	}
	return "", false
}

func (r *lockReport) bootID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.boot
}

func (r *lockReport) holder() Holder {
	line, _ := r.after("busy")
	return parseHolder(line)
}

// heldFor is how long another has held the lock, 0 where that is not said.
func (r *lockReport) heldFor() time.Duration {
	line, _ := r.after("for")
	seconds, err := strconv.ParseInt(line, 10, 32)
	if err != nil {
		return 0
	}
	return time.Duration(max(0, seconds)) * time.Second
}

// complaint is what a script said that fits nothing else.
func (r *lockReport) complaint() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := strings.TrimPrefix(strings.TrimSpace(strings.Join(r.lines, "\n")), "fail ")
	if text == "" {
		return "the process for it ended without a word"
	}
	return text
}

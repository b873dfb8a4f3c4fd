package terraform

import (
	"fmt"
	"io"
	"sync"

	"infra/runtime"
)

// A lineLog writes plain lines, each at once and without a secret.
type lineLog struct {
	mu sync.Mutex
	w  io.Writer
}

func newLog(w io.Writer) *lineLog {
	if w == nil {
		w = io.Discard
	}
	return &lineLog{w: w}
}

func (l *lineLog) printf(format string, args ...any) {
	line := runtime.Scrub(fmt.Sprintf(format, args...))
	l.mu.Lock()
	defer l.mu.Unlock()
	// A log that cannot be written must not end what terraform is at.
	_, _ = io.WriteString(l.w, line+"\n")
}

package sops

import (
	"fmt"
	"io"
	"sync"
)

// An opLog is an operation's log for as long as the operation runs. A plugin
// that hangs may speak later: then nobody listens.
type opLog struct {
	mu sync.Mutex
	w  io.Writer // nil: closed
}

// Write implements io.Writer and never fails: a message that cannot be shown
// is no reason not to decrypt.
func (l *opLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.w != nil {
		_, _ = l.w.Write(p)
	}
	return len(p), nil
}

func (l *opLog) printf(format string, args ...any) { fmt.Fprintf(l, format+"\n", args...) }

func (l *opLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w = nil
}

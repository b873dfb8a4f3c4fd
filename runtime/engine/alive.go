package engine

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// Alive says whether a process of this machine works on a run now. It is in the way of
// none: a lock that is held cannot be taken, and one of a dead process is not tried.
func (e *Engine) Alive(run string) bool {
	f, err := os.Open(filepath.Join(e.root, ".infra", "locks", runFile(run).name))
	if err != nil {
		return false // who ends removes it
	}
	defer func() { _ = f.Close() }() // it was only read
	var h fileHolder
	if json.NewDecoder(f).Decode(&h) != nil || h.Process <= 0 {
		return true // who has just taken it may not have written that yet
	}
	if errors.Is(syscall.Kill(h.Process, 0), syscall.ESRCH) {
		return false
	}
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK) // another may have its number by now
}

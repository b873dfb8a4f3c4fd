package watch

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxLocked is how long git may hold a change back. An index.lock that is older was
// left behind by a git that ended too early.
const maxLocked = 10 * time.Second

// locked says whether git is at work in a repository that an input is in: what is
// there will soon be something else.
func (w *Watcher) locked(now time.Time) bool {
	if !w.held.IsZero() && now.Sub(w.held) > maxLocked {
		return false
	}
	if !w.locksKnown {
		w.locks, w.locksKnown = w.findLocks(), true
	}
	for _, lock := range w.locks {
		if info, err := os.Lstat(lock); err == nil && now.Sub(info.ModTime()).Abs() < maxLocked {
			return true
		}
	}
	return false
}

// findLocks is where git makes its lock in each of the repositories.
func (w *Watcher) findLocks() []string {
	locks := map[string]string{} // by folder
	found := map[string]bool{}
	for _, in := range w.inputs {
		folder := in.way.end
		if folder == "" && len(in.way.points) > 0 {
			folder = in.way.points[len(in.way.points)-1]
		}
		if lock := findLock(folder, locks); lock != "" {
			found[lock] = true
		}
	}
	var all []string
	for lock := range found {
		all = append(all, lock)
	}
	return all
}

// findLock looks for the repository upwards; known is what was found before.
func findLock(folder string, known map[string]string) string {
	lock, ok := known[folder]
	if ok {
		return lock
	}
	if dir := gitDir(folder); dir != "" {
		lock = filepath.Join(dir, "index.lock")
	} else if up := filepath.Dir(folder); up != folder {
		lock = findLock(up, known)
	}
	known[folder] = lock
	return lock
}

// gitDir is git's own folder of the work tree at folder; "" where that is none.
func gitDir(folder string) string {
	path := filepath.Join(folder, ".git")
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return ""
	case info.IsDir():
		return path
	}
	content, err := os.ReadFile(path) // of a linked work tree, or a submodule
	dir, ok := strings.CutPrefix(strings.TrimSpace(string(content)), "gitdir: ")
	if err != nil || !ok {
		return ""
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(folder, dir)
	}
	return dir
}

package watch

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// What stands in place of a hash where there is no content.
const (
	aFolder    = "folder"
	unreadable = "unreadable"
	special    = "special" // a device, a pipe, a socket
)

var empty = hex.EncodeToString(sha256.New().Sum(nil))

// coarse is how far apart two changes of a file may be and still have the same
// times, on any file system.
const coarse = 2 * time.Second

// A stamp changes whenever a file does, but for changes at about the same time.
type stamp struct {
	dev, inode, size int64
	mode             fs.FileMode
	modified         int64
	changed          int64
}

func stampOf(info fs.FileInfo) stamp {
	if info == nil {
		return stamp{}
	}
	s := stamp{size: info.Size(), mode: info.Mode(), modified: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.dev, s.inode, s.changed = int64(st.Dev), int64(st.Ino), changedAt(st)
	}
	return s
}

// age is how long ago the file was changed.
func (s stamp) age() time.Duration { return time.Since(time.Unix(0, s.changed)) }

// isStill says whether the file is what it was at the last look for sure.
func (r *record) isStill(info fs.FileInfo) bool {
	return r != nil && r.sure && r.stamp == stampOf(info)
}

// How a look ended.
type looked int

const (
	steadily   looked = iota
	unsteadily        // it is being written
	missing           // it is gone, or emptied, as between two halves of a save
)

// lookAtStirred looks at all that was touched. What is being written is left for
// later where we are patient, and so is what is missing where it may come again.
func (w *Watcher) lookAtStirred(patient, again bool) (unsteady, missed bool) {
	for in := range w.stirred {
		if in.stale {
			w.find(in)
		}
		if in.stale && !patient {
			w.pollInstead(in, pathError(in.path, errMoving))
		}
		unsteady = unsteady || in.stale
		left := map[string]bool{}
		for len(in.touched) > 0 {
			for rel := range in.touched {
				delete(in.touched, rel)
				how := w.look(in, rel, patient, again)
				unsteady = unsteady || how == unsteadily
				missed = missed || how == missing
				if how != steadily {
					left[rel] = true
				}
			}
		}
		in.touched = left
		if len(left) == 0 {
			delete(w.stirred, in)
		}
	}
	return unsteady, missed
}

// look brings the record of a file up to date, unless it is said to be looked at
// another time.
func (w *Watcher) look(in *input, rel string, patient, again bool) looked {
	path, stat := in.path, os.Stat
	if rel != "" {
		path, stat = filepath.Join(in.way.end, rel), os.Lstat
	}
	info, err := stat(path)
	if err != nil {
		info = nil
	}
	if rel != "" && info != nil && info.IsDir() && !in.polled && !in.folders[path] {
		w.scan(in, rel)
	}
	if rel != "" && info != nil && (info.IsDir() || isResult(info.Name(), info.Mode())) {
		info = nil
	}
	if rel != "" && info == nil && in.files[rel] == nil {
		return steadily
	}
	r := in.record(rel)
	if r.isStill(info) {
		return steadily
	}
	digest, now, steady := w.digest(path, info)
	if in.polled && now.age().Abs() < w.opts.Quiet {
		steady = false // no event tells us that it was written since
	}
	switch {
	case patient && !steady && digest != r.told:
		return unsteadily
	case again && (digest == Absent || digest == empty) && digest != r.told:
		return missing
	}
	r.digest, r.stamp = digest, now
	r.sure = steady && now.age() > coarse
	w.compare(r)
	return steadily
}

// digest is that of the content of path, with the stamp of when it was read, and
// whether it was the same before and after.
func (w *Watcher) digest(path string, info fs.FileInfo) (string, stamp, bool) {
	s := stampOf(info)
	switch {
	case info == nil:
		return Absent, s, true
	case info.IsDir():
		return aFolder, s, true
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return unreadable, s, false
		}
		hash := sha256.Sum256([]byte("link\x00" + target))
		return hex.EncodeToString(hash[:]), s, true
	case !info.Mode().IsRegular():
		return special, s, true
	}
	return w.hash(path, s)
}

// hash does not wait for what may have become a pipe.
func (w *Watcher) hash(path string, before stamp) (string, stamp, bool) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if isGone(err) {
			return Absent, stamp{}, false
		}
		return unreadable, before, true
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || stampOf(info) != before {
		return unreadable, before, false
	}
	hash := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{hash}, struct{ io.Reader }{f}, w.buffer); err != nil {
		return unreadable, before, true
	}
	info, err := f.Stat()
	return hex.EncodeToString(hash.Sum(nil)), before, err == nil && stampOf(info) == before
}

// lookEverywhere has everything looked at that is not polled, and watched anew:
// events were lost, so that any folder may be another one.
func (w *Watcher) lookEverywhere() {
	w.lose("/")
	for _, in := range w.inputs {
		if in.polled {
			continue
		}
		w.find(in)
		w.touch(in, "")
		w.scan(in, "")
	}
}

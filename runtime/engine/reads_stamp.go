package engine

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"infra/runtime/preview"
)

// A stamp is how a file was, as far as that shows without reading it.
type stamp struct {
	path string
	link unix.Stat_t // of the name itself
	file unix.Stat_t // of where it leads
	none bool        // nothing is there
}

// made are the folders of files that the kernel makes up when they are read.
var made = []string{"/proc", "/sys", "/dev"}

// stampOf is false for what shows no change of its content, a folder say.
func stampOf(path string) (stamp, bool) {
	s := stamp{path: path}
	if slices.ContainsFunc(made, func(dir string) bool { return preview.Within(path, dir) }) {
		return s, false
	}
	for _, of := range []struct {
		stat func(string, *unix.Stat_t) error
		into *unix.Stat_t
	}{{unix.Lstat, &s.link}, {unix.Stat, &s.file}} {
		err := of.stat(path, of.into)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			s.none = true
			continue
		}
		if err != nil {
			return s, false
		}
		of.into.Atim = unix.Timespec{} // to read it is no change
	}
	return s, s.none || s.file.Mode&unix.S_IFMT == unix.S_IFREG
}

// stamps are those of the files that an answer is made of. aged: there is more.
func (l looks) stamps() (files []stamp, aged bool) {
	aged = l.more || l.all || len(l.paths) == 0
	for _, path := range l.paths {
		s, ok := stampOf(path)
		if ok {
			files = append(files, s)
		}
		aged = aged || !ok
	}
	return files, aged
}

// unchanged says whether all the files still are as they were.
func unchanged(files []stamp) bool {
	for _, was := range files {
		if is, ok := stampOf(was.path); !ok || is != was {
			return false
		}
	}
	return true
}

// tick is more than the time within which a file can be written twice and show it once.
const tick = 50 * time.Millisecond

// racy says whether a file was written so shortly before that it could have been
// written again without showing it.
func racy(files []stamp, asked time.Time) bool {
	for _, s := range files {
		for _, t := range []unix.Timespec{s.link.Ctim, s.file.Ctim} {
			if asked.Sub(time.Unix(t.Unix())) < tick {
				return true
			}
		}
	}
	return false
}

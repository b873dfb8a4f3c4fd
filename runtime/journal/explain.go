package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"infra/runtime"
)

// explain adds what a person can do about an error of SQLite.
func explain(err error, path string) error {
	if full(err, filepath.Dir(path)) {
		return noSpace(err, path)
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff { // the rest says where it happened
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return damaged(err, path)
	case sqlite3.SQLITE_ERROR: // the file is sound, but lacks a table or a column
		return damaged(err, path)
	case sqlite3.SQLITE_IOERR:
		return runtime.WithHint(err, "the disk that holds %s fails, or is full: see dmesg, df and df -i", path)
	case sqlite3.SQLITE_BUSY:
		return runtime.WithHint(err, "another process has held the journal for more than ten seconds: fuser %s names it", path)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN:
		return runtime.WithHint(err, "the folder that holds %s must exist and be writable", path)
	}
	return err
}

// leastSpace is what SQLite takes at once for the index beside its log. Where
// there is less, it does not say that the disk is full.
const leastSpace = 32 << 10

// full says whether err came of a disk that has no room left.
func full(err error, dir string) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return true
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		var fs unix.Statfs_t
		return unix.Statfs(dir, &fs) == nil && fs.Bavail*uint64(fs.Bsize) < leastSpace
	}
	return false
}

func noSpace(err error, path string) error {
	return runtime.WithHint(fmt.Errorf("the disk is full: %w", err), "free some space where %s is", path)
}

func damaged(err error, path string) error {
	return runtime.WithHint(err, "nothing was changed. Put a backup of it back, or move it and its -wal aside "+
		"(mv %[1]s %[1]s.damaged) and a new one is made; sqlite3 %[1]s.damaged .recover can save what is left", path)
}

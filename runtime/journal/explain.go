package journal

import (
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"infra/runtime"
)

// explain adds what a person can do about an error of SQLite.
func explain(err error, path string) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff { // the rest says where it happened
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return damaged(err, path)
	case sqlite3.SQLITE_ERROR: // the file is sound, but lacks a table or a column
		return damaged(err, path)
	case sqlite3.SQLITE_FULL:
		return runtime.WithHint(err, "free some space where %s is", path)
	case sqlite3.SQLITE_IOERR:
		return runtime.WithHint(err, "the disk that holds %s is full or fails: see df and dmesg", path)
	case sqlite3.SQLITE_BUSY:
		return runtime.WithHint(err, "another process has held the journal for more than ten seconds: fuser %s names it", path)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN:
		return runtime.WithHint(err, "the folder that holds %s must exist and be writable", path)
	}
	return err
}

func damaged(err error, path string) error {
	return runtime.WithHint(err, "nothing was changed. Put a backup of it back, or move it and its -wal aside "+
		"(mv %[1]s %[1]s.damaged) and a new one is made; sqlite3 %[1]s.damaged .recover can save what is left", path)
}

// Package journal keeps the record of runs, their steps and their operations
// in one SQLite file in the project's folder .infra. What has been recorded is
// on disk: a killed process, or a lost machine, takes nothing of it away.
package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"infra/runtime"
)

// A Journal is where a run is recorded. Its methods may be called from many
// goroutines, and other processes may record their runs at the same time.
type Journal struct {
	db  *sql.DB
	dir string

	mu      sync.Mutex
	waiting []*request
	busy    bool // someone gathers them, and writes

	writing sync.Mutex
	writer  writer
}

const (
	dirName  = ".infra"
	fileName = "journal.db"

	// recording has a commit wait until the disk has it.
	recording = "mode=rw&_pragma=synchronous(FULL)&_pragma=fullfsync(1)"
)

// Open opens the journal of the project at root for recording, and makes one
// where there is none. A file that is damaged, newer or none of ours is
// refused and left as it is.
func Open(root string) (*Journal, error) {
	dir, err := dirOf(root)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, fileName)
	if err := prepareFiles(dir, path); err != nil {
		err = fmt.Errorf("prepare the journal: %w", err)
		if full(err, dir) {
			return nil, noSpace(err, path)
		}
		return nil, runtime.WithHint(err, "every operation is recorded before it is carried out: %s must be a folder that you can write to", dir)
	}
	version, err := inspect(dir, path)
	if err == nil && version < schemaVersion {
		err = migrate(dir, path)
	}
	if err != nil {
		return nil, err
	}
	db, _, err := connect(path, recording+"&_pragma=foreign_keys(1)")
	if err != nil {
		return nil, err
	}
	j := &Journal{db: db, dir: dir}
	if err := j.begin(); err != nil {
		return nil, errors.Join(explain(fmt.Errorf("open the journal %s: %w", path, err), path), j.writer.close(), db.Close())
	}
	return j, nil
}

// begin takes the one connection, and makes sure that it can write all.
func (j *Journal) begin() error {
	conn, err := j.db.Conn(context.Background())
	if err != nil {
		return err
	}
	j.writer = writer{conn: conn, stmts: map[string]*sql.Stmt{}}
	if err := j.writer.exec("PRAGMA journal_mode = WAL"); err != nil {
		return err
	}
	if _, err := conn.ExecContext(context.Background(), indexes); err != nil {
		return err
	}
	for _, text := range everyWrite {
		if _, err := j.writer.prepare(text); err != nil {
			return err
		}
	}
	return nil
}

// everyWrite is what recording writes with. A journal that lacks a table or a
// column for it is refused before the first operation.
var everyWrite = []string{
	insertRun, endRun, insertResume, reopenRun, insertStep, insertDone, endStep, insertLog, insertOp, endOp, insertEntry,
}

// Close ends recording.
func (j *Journal) Close() error {
	if err := errors.Join(j.writer.close(), j.db.Close()); err != nil {
		return fmt.Errorf("close the journal: %w", err)
	}
	return nil
}

// Folder is where the outputs of a run's operations are kept. It exists once
// the run's start has been recorded.
func (j *Journal) Folder(run string) string { return runDir(j.dir, run) }

func runDir(dir, run string) string { return filepath.Join(dir, "runs", run) }

func dirOf(root string) (string, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return "", fmt.Errorf("find the project's folder: %w", err)
	}
	return filepath.Join(abs, dirName), nil
}

// prepareFiles makes what is missing: the folder, which git shall ignore, and
// an empty journal.
func prepareFiles(dir, path string) error {
	if err := os.MkdirAll(filepath.Join(dir, "runs"), 0o700); err != nil {
		return err
	}
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.Join(ignoreByGit(dir), create(dir, path))
	}
	if err != nil {
		return err
	}
	for _, name := range []string{path, dir} {
		if err := syscall.Access(name, writeAccess); err != nil {
			return &fs.PathError{Op: "write to", Path: name, Err: err}
		}
	}
	return nil
}

// writeAccess is W_OK of access(2). SQLite alone would open a file that it
// cannot write to, and say so only when the first operation is asked for.
const writeAccess = 2

func ignoreByGit(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, ".gitignore"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString("*\n")
	return errors.Join(err, f.Close())
}

// create makes an empty journal under another name first, so that no one ever
// sees half of one, and two processes that create it at once share it. A -wal
// that an earlier journal left would be replayed into the new one.
func create(dir, path string) error {
	if left, err := os.Stat(path + "-wal"); err == nil && left.Size() > 0 {
		if _, err := os.Stat(path); err == nil { // another process has just made it, and writes
			return nil
		}
		return fmt.Errorf("%s is gone but %s-wal is still there: put the former back, or move the latter away", path, path)
	}
	tmp, err := os.CreateTemp(dir, fileName+".new-*") // its mode is 0600, and SQLite's other files take theirs from it
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	if err := errors.Join(tmp.Close(), fill(tmp.Name())); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// fill writes the schema into an empty file.
func fill(path string) error {
	db, err := sql.Open("sqlite", dsn(path, recording))
	if err != nil {
		return err
	}
	_, err = db.Exec(fmt.Sprintf("BEGIN; PRAGMA application_id = %d; PRAGMA user_version = %d; %s; COMMIT; PRAGMA journal_mode = WAL",
		applicationID, schemaVersion, schema))
	return errors.Join(err, db.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// dsn names the file at path to the driver. Whoever finds it locked by another
// process waits for up to ten seconds.
func dsn(path, options string) string {
	u := url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=busy_timeout(10000)&" + options}
	return u.String()
}

// connect opens the file at path on one connection and makes sure that it is
// a journal which this program understands, before anything is written to it.
// It does not open the file itself: closing it again would take away the locks
// of this process's other connections.
func connect(path, options string) (*sql.DB, int, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, fmt.Errorf("open the journal: %w", err)
	}
	db, err := sql.Open("sqlite", dsn(path, options))
	if err != nil {
		return nil, 0, fmt.Errorf("open the journal %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	var id, version int
	err = db.QueryRow(identify).Scan(&id, &version)
	switch {
	case err != nil:
		err = explain(fmt.Errorf("open the journal %s: %w", path, err), path)
	case info.Size() == 0:
		err = damaged(fmt.Errorf("open the journal %s: the file is empty", path), path)
	case id != applicationID:
		err = damaged(fmt.Errorf("open the journal %s: this is a database, but no journal of infra", path), path)
	case version > schemaVersion:
		err = runtime.WithHint(fmt.Errorf("open the journal %s: a newer infra wrote it (schema %d, this one knows %d)", path, version, schemaVersion),
			"use the newer infra here; nothing was changed")
	case version < 1:
		err = damaged(fmt.Errorf("open the journal %s: it says that its schema is %d", path, version), path)
	}
	if err != nil {
		return nil, 0, errors.Join(err, db.Close())
	}
	return db, version, nil
}

package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// A request is a fact whose caller waits for it to be on disk.
type request struct {
	*fact
	err  error
	told chan bool // whether the caller must now commit for those who wait
}

// commit returns once the record is on disk. Who finds nobody committing does
// it for everybody who waits, in one transaction; who comes meanwhile waits
// for the next one, which the first of them commits. So there is one wait for
// the disk for many records, and no goroutine of the journal's own.
func (j *Journal) commit(r *fact) error {
	me := &request{fact: r, told: make(chan bool, 1)}
	if !j.lead(me) {
		return me.err
	}
	batch := j.gather()
	j.writing.Lock()
	j.writer.writeAll(batch)
	j.writing.Unlock()
	for _, other := range batch {
		if other != me {
			other.told <- false
		}
	}
	j.handOver()
	return me.err
}

// lead returns true once the caller alone may write, and false if its request
// was committed by another one meanwhile.
func (j *Journal) lead(me *request) bool {
	j.mu.Lock()
	j.waiting = append(j.waiting, me)
	busy := j.busy
	j.busy = true
	j.mu.Unlock()
	return !busy || <-me.told
}

// handOver lets the first of those who wait lead.
func (j *Journal) handOver() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.busy = len(j.waiting) > 0; j.busy {
		j.waiting[0].told <- true
	}
}

// gather takes all that wait. Who was just answered often has the next event
// ready: it lets them run first, as long as that brings more.
func (j *Journal) gather() []*request {
	for seen := 0; ; runtime.Gosched() {
		j.mu.Lock()
		if len(j.waiting) == seen {
			batch := j.waiting
			j.waiting = nil
			j.mu.Unlock()
			return batch
		}
		seen = len(j.waiting)
		j.mu.Unlock()
	}
}

// A writer writes records on one connection. One goroutine uses it at a time.
type writer struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	known known
}

// writeAll writes records in one transaction and tells each how it went. One
// that is refused changes nothing and leaves the others alone; when the
// transaction itself fails, so do all that were in it.
func (w *writer) writeAll(batch []*request) {
	err := w.transact(func() error {
		var entries []*entry
		for _, r := range batch {
			r.err = w.write(r.fact)
			if r.err != nil && !refusal(r.err) {
				return r.err
			}
			if r.err == nil && r.digest != nil {
				entries = append(entries, &r.entry)
			}
		}
		return w.append(entries)
	})
	if err == nil {
		return
	}
	for _, r := range batch {
		if r.err == nil {
			r.err = err
		}
	}
}

// transact does all that work writes, or nothing.
func (w *writer) transact(work func() error) error {
	err := w.exec("BEGIN IMMEDIATE")
	if err != nil {
		return err
	}
	if err = work(); err == nil {
		err = w.exec("COMMIT")
	}
	if err != nil {
		w.known = known{}      // it may hold what is not there now
		_ = w.exec("ROLLBACK") // SQLite may have done so already, and says that as an error
	}
	return err
}

// append puts entries at the end of the chain.
func (w *writer) append(entries []*entry) error {
	if len(entries) == 0 {
		return nil
	}
	var h head
	if err := w.row(newestEntry).Scan(&h.seq, &h.chain); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	for _, e := range entries {
		h.link(e)
		if err := w.exec(insertEntry, e.seq, e.run, e.kind, e.step, e.host, e.check, e.item, e.time, e.digest, e.chain); err != nil {
			return fmt.Errorf("chain it: %w", err)
		}
	}
	return nil
}

// close lets go of the connection. Statements that are left would keep it open.
func (w *writer) close() error {
	var errs []error
	for _, stmt := range w.stmts {
		errs = append(errs, stmt.Close())
	}
	if w.conn != nil {
		errs = append(errs, w.conn.Close())
	}
	return errors.Join(errs...)
}

// prepare keeps a statement for as long as the connection lasts.
func (w *writer) prepare(text string) (*sql.Stmt, error) {
	if stmt, ok := w.stmts[text]; ok {
		return stmt, nil
	}
	stmt, err := w.conn.PrepareContext(context.Background(), text)
	if err == nil {
		w.stmts[text] = stmt
	}
	return stmt, err
}

func (w *writer) exec(text string, args ...any) error {
	stmt, err := w.prepare(text)
	if err != nil {
		return err
	}
	_, err = stmt.Exec(args...)
	return err
}

// put executes a statement that must concern exactly one row, and returns the
// number of the row that it made, if it did.
func (w *writer) put(text string, args ...any) (seq int64, err error) {
	stmt, err := w.prepare(text)
	if err != nil {
		return 0, err
	}
	done, err := stmt.Exec(args...)
	if err != nil {
		return 0, err
	}
	n, err := done.RowsAffected()
	if err != nil {
		return 0, err
	}
	if n != 1 {
		return 0, errRefused
	}
	return done.LastInsertId()
}

// A one is a row that is read at once.
type one struct {
	row *sql.Row
	err error
}

func (o one) Scan(into ...any) error {
	if o.err != nil {
		return o.err
	}
	return o.row.Scan(into...)
}

func (w *writer) row(text string, args ...any) one {
	stmt, err := w.prepare(text)
	if err != nil {
		return one{err: err}
	}
	return one{row: stmt.QueryRow(args...)}
}

// errRefused: the tables say that the event cannot have happened.
var errRefused = errors.New("it did not begin, or has ended before")

// refusal says whether err is about the one record: its statement changed
// nothing, and the transaction goes on.
func refusal(err error) bool {
	if errors.Is(err, errRefused) {
		return true
	}
	var e *sqlite.Error
	return errors.As(err, &e) && slices.Contains([]int{
		sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE,
	}, e.Code()&0xff)
}

package journal

import (
	"database/sql"
	"errors"
	"fmt"
	"os"

	"infra/runtime"
)

const (
	// checkWhole is the size up to which the whole file is checked when it is
	// opened for recording, which takes a few milliseconds.
	checkWhole = 4 << 20
	// checkNewest is how many of the newest records are compared with the
	// tables: what a lost machine or a full disk left half-written is there.
	checkNewest = 20
)

// inspect makes sure that a journal is sound before it is opened for recording,
// and returns the version of its schema.
// It looks through a connection that cannot write: one that can would also
// move what its -wal holds into a damaged file.
func inspect(dir, path string) (version int, err error) {
	db, version, err := connect(path, readOptions(dir, path))
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close() }() // nothing was written
	found := "ok"
	if info, err := os.Stat(path); err == nil && info.Size() <= checkWhole {
		if err := db.QueryRow("PRAGMA quick_check(1)").Scan(&found); err != nil {
			return 0, explain(fmt.Errorf("check the journal %s: %w", path, err), path)
		}
	}
	if found == "ok" && version == schemaVersion { // an older one has no chain
		broken, err := newest(db)
		if err != nil {
			return 0, explain(fmt.Errorf("check the journal %s: %w", path, err), path)
		}
		if broken != nil {
			found = broken.String()
		}
	}
	if found != "ok" {
		return 0, damaged(fmt.Errorf("check the journal %s: %s", path, found), path)
	}
	return version, nil
}

// newest verifies the newest entries: that they follow from one another, and
// that the tables have what they are about.
func newest(db *sql.DB) (*Break, error) {
	tx, err := db.Begin()
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	v := verifier{asker: asker{tx, map[string]*sql.Stmt{}}, counts: map[runtime.EventKind]int{}, runs: map[int64]keptRun{}}
	err = tx.QueryRow(newestEntry).Scan(&v.head.seq, &v.head.chain)
	if errors.Is(err, sql.ErrNoRows) {
		return v.lost()
	}
	if err != nil {
		return nil, err
	}
	err = tx.QueryRow("SELECT seq, chain FROM entries WHERE seq <= ? ORDER BY seq DESC LIMIT 1", v.head.seq-checkNewest).Scan(&v.head.seq, &v.head.chain)
	if errors.Is(err, sql.ErrNoRows) {
		v.head, err = head{}, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := query(v, scanEntry, entriesAfter, v.head.seq)
	for _, e := range entries {
		if _, known := v.runs[e.run]; !known {
			if err := v.learnRuns(oneRun, e.run); err != nil {
				return nil, err
			}
		}
		b, err := v.entry(e)
		if b != nil || err != nil {
			return b, err
		}
		v.head = head{e.seq, e.chain}
	}
	return nil, err
}

package journal

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"infra/runtime"
)

// prunable are the runs that ended before a time and that nothing needs. What stays
// whatever its age: the newest run, a run that has not ended, and what gates go by,
// which is of each plan all since the last whole run that was ok and changed something
// (or, where none did, since the first that was ok), decisions and rollbacks. Of
// observations, of which there are many, those that failed stay since that run, and the
// others for 90 days before the newest run. Newest and last are by the order of
// starting: a clock may have been wrong.
const prunable = `
	WITH since AS (
		SELECT plan, coalesce(max(seq) FILTER (WHERE EXISTS (SELECT 1 FROM ops WHERE run = runs.id AND changed)), min(seq)) AS seq
		FROM runs WHERE ` + kind + ` IS NOT 'verify' AND ` + kind + ` IS NULL AND status = 'ok' AND NOT ` + partial + ` GROUP BY plan),
	newest AS (SELECT seq, started FROM runs ORDER BY seq DESC LIMIT 1)
	SELECT r.seq, id, r.plan, r.started, ended, status FROM runs AS r JOIN newest LEFT JOIN since ON since.plan = r.plan
	WHERE status IS NOT NULL AND ended < ?1 AND r.seq < newest.seq AND CASE
		WHEN ` + kind + ` IS 'decide' OR file LIKE 'infra rollback %' THEN FALSE
		WHEN ` + kind + ` IS 'verify' THEN
			ended < newest.started - 90 * 86400 * 1000000000 AND NOT (status = 'failed' AND r.seq > coalesce(since.seq, 0))
		ELSE since.seq IS NULL OR r.seq < since.seq END
	ORDER BY r.seq`

// partial says of a run that it was of a part of its plan, or takes another run back.
const partial = `coalesce(CASE WHEN json_valid(options) THEN coalesce(json_extract(options, '$.steps'),
	json_extract(options, '$.hosts'), json_extract(options, '$.undoes')) END <> '[]', FALSE)`

const (
	insertPrunes = `
		WITH had AS (SELECT run, count(*) AS n FROM entries WHERE run IN (SELECT value FROM json_each(?1)) GROUP BY run)
		INSERT INTO prunes (run, id, plan, started, ended, status, entries, time, user, host)
		SELECT seq, id, plan, started, ended, status, n, ?2, ?3, ?4 FROM had JOIN runs ON runs.seq = had.run`
	blankEntries = `
		UPDATE entries SET kind = '', step = '', host = '', is_check = 0, item = 0, time = NULL
		WHERE run IN (SELECT value FROM json_each(?))`
)

// An OldRun is a run that pruning removes.
type OldRun struct {
	ID      string
	Plan    string
	Started time.Time
	Ended   time.Time
	Status  runtime.Status
	Bytes   int64 // of the outputs in its folder
	seq     int64
}

// Pruned is what pruning removed.
type Pruned struct {
	Runs  []OldRun
	Bytes int64 // that the disk got back
	Left  error // why the journal's file did not become smaller; runs to come use the space
}

// Prunable returns what Prune would remove.
func (l *Ledger) Prunable(before time.Time) ([]OldRun, error) {
	runs, err := query(l.db, scanOld, prunable, before.UnixNano())
	for i, r := range runs {
		runs[i].Bytes = folderSize(l.Folder(r.ID))
	}
	return runs, l.explain("find old runs", err)
}

func scanOld(row scanner) (r OldRun, err error) {
	var started, ended sql.NullInt64
	err = row.Scan(&r.seq, &r.ID, &r.Plan, &started, &ended, &r.Status)
	r.Started, r.Ended = timeOf(started), timeOf(ended)
	return r, err
}

// Prune removes the runs that ended before a time and that nothing needs: their
// rows and the folders of their outputs. Of each it keeps that it was there,
// and the digests of its records, without which the chain would break.
func (j *Journal) Prune(before, now time.Time) (Pruned, error) {
	j.writing.Lock()
	defer j.writing.Unlock()
	size := j.size()
	var runs []OldRun
	err := j.writer.transact(func() (err error) {
		runs, err = query(held{j.writer.conn}, scanOld, prunable, before.UnixNano())
		if err != nil || len(runs) == 0 {
			return err
		}
		return j.writer.prune(runs, now)
	})
	if err != nil {
		return Pruned{}, explain(fmt.Errorf("prune the journal: %w", err), filepath.Join(j.dir, fileName))
	}
	done := Pruned{Runs: runs}
	freed, err := j.sweep(runs)
	if len(runs) > 0 {
		done.Left = errors.Join(j.writer.exec("VACUUM"), j.writer.exec("PRAGMA wal_checkpoint(TRUNCATE)"))
	}
	done.Bytes = freed + max(0, size-j.size())
	return done, err
}

// prune writes that the runs were removed, and removes them.
func (w *writer) prune(runs []OldRun, now time.Time) error {
	var seqs []int64
	for _, r := range runs {
		seqs = append(seqs, r.seq)
	}
	list, err := json.Marshal(seqs)
	if err != nil {
		return err
	}
	machine, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find the name of this machine: %w", err)
	}
	w.known = known{}
	if err := w.exec(insertPrunes, string(list), now.UnixNano(), Person(), machine); err != nil {
		return err
	}
	for _, text := range []string{blankEntries, `DELETE FROM runs WHERE seq IN (SELECT value FROM json_each(?))`} {
		if err := w.exec(text, string(list)); err != nil {
			return err
		}
	}
	var entries []*entry
	for _, r := range runs {
		e := &entry{run: r.seq, kind: runPruned, time: now.UnixNano()}
		content, err := contentOf(held{w.conn}, e, 0)
		if err == nil {
			e.digest, err = digestOf(e, content)
		}
		if err != nil {
			return err
		}
		entries = append(entries, e)
	}
	return w.append(entries)
}

// sweep removes the folders of pruned runs, also those that a process which was
// killed while pruning left, and returns what they took up.
func (j *Journal) sweep(runs []OldRun) (freed int64, err error) {
	gone, err := query(held{j.writer.conn}, func(row scanner) (id string, err error) { return id, row.Scan(&id) },
		`SELECT id FROM prunes WHERE id NOT IN (SELECT id FROM runs)`)
	if err != nil {
		return 0, err
	}
	at := map[string]int{}
	for i, r := range runs {
		at[r.ID] = i
	}
	for _, id := range gone {
		if !folderName(id) {
			continue // what else it may be, it is no run's folder
		}
		size := folderSize(j.Folder(id))
		if i, ok := at[id]; ok {
			runs[i].Bytes = size
		}
		if lost := os.RemoveAll(j.Folder(id)); lost != nil {
			err = errors.Join(err, runtime.WithHint(fmt.Errorf("remove the outputs of a pruned run: %w", lost), "run infra log --prune again"))
			continue
		}
		freed += size
	}
	return freed, err
}

// size is what the journal's files take up, without the runs' folders.
func (j *Journal) size() (bytes int64) {
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(filepath.Join(j.dir, fileName+suffix)); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}

// folderSize is what the files below dir hold; what cannot be looked at is not
// counted.
func folderSize(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			bytes += info.Size()
		}
		return nil
	})
	return bytes
}

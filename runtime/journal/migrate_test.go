package journal

import (
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"infra/runtime"
)

// version1 is a project with a journal as the program of version 1 made it.
func version1(t *testing.T) (root, path string) {
	t.Helper()
	root = t.TempDir()
	path = filepath.Join(root, ".infra", "journal.db")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("testdata/v1.sql")
	if err != nil {
		t.Fatal(err)
	}
	alter(t, path, string(script)+"; PRAGMA journal_mode = WAL")
	return root, path
}

// alter executes a statement behind the journal's back.
func alter(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestVersion1IsReadAndBroughtUpToDate(t *testing.T) {
	root, path := version1(t)
	before := content(t, path)
	old := wholeLedger(t, root)
	if len(old) != 3 || old[0].ID != "r3" || old[2].Steps[0].Attempts != 2 || old[2].Steps[0].Ops[0].Attempt != 2 || len(old[2].Logs) != 1 {
		t.Errorf("version 1 is read as %+v", old)
	}
	l := read(t, root)
	if _, err := l.Verify(); err == nil || !strings.Contains(runtime.HintOf(err), "next infra run") {
		t.Errorf("a journal without a chain was verified: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if content(t, path) != before {
		t.Error("reading changed the file")
	}
	j := open(t, root)
	if diff := cmp.Diff(old, wholeLedger(t, root), cmp.Comparer(samePos)); diff != "" {
		t.Errorf("it is not the same any more (-old +new):\n%s", diff)
	}
	if p, err := read(t, root).Verify(); err != nil || p.Broken != nil || p.Entries != 22 {
		t.Errorf("%+v, %v, %v", p, p.Broken, err)
	}
	done := asked("r3", "update", 1)
	done.Kind = runtime.OpEnded
	record(t, j, done, runtime.Event{Kind: runtime.RunResumed, Run: "r1", Time: noon}, started("next", noon))
	if p, err := read(t, root).Verify(); err != nil || p.Broken != nil || p.Entries != 25 {
		t.Errorf("%+v, %v, %v", p, p.Broken, err)
	}
}

// wholeLedger is all that a journal holds.
func wholeLedger(t *testing.T, root string) []Run {
	t.Helper()
	l := read(t, root)
	list, err := l.Runs(1000)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range list {
		if list[i], err = l.Run(r.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestFailedMigrationChangesNothing lacks a table half-way.
func TestFailedMigrationChangesNothing(t *testing.T) {
	root, path := version1(t)
	alter(t, path, "DROP TABLE logs")
	before := content(t, path)
	if _, err := Open(root); err == nil || !strings.Contains(err.Error(), "from schema 1 to 2") || !strings.Contains(runtime.HintOf(err), "move it") {
		t.Errorf("got %v", err)
	}
	if content(t, path) != before {
		t.Error("the file was changed")
	}
}

// TestTwoWhoMigrateShareIt opens an old journal in several processes at once.
func TestTwoWhoMigrateShareIt(t *testing.T) {
	root, _ := version1(t)
	var running []*exec.Cmd
	for i := range 3 {
		c := helper(t, root, "p"+string(rune('0'+i)), 10, 1)
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, c)
	}
	for _, c := range running {
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	}
	if p, err := read(t, root).Verify(); err != nil || p.Broken != nil || len(wholeLedger(t, root)) != 6 {
		t.Errorf("%v, %v", p, err)
	}
}

// TestMigrationWaitsForOthers: a process of the older program still records.
func TestMigrationWaitsForOthers(t *testing.T) {
	root, path := version1(t)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("UPDATE runs SET status = 'ok' WHERE id = 'r3'"); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		j, err := Open(root)
		if err == nil {
			err = j.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		t.Fatalf("it was changed under a process that records: %v", err)
	case <-time.After(300 * time.Millisecond): // the longer, the surer
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

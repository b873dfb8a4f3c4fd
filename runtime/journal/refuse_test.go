package journal

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"infra/runtime"
)

// TestForeignFilesAreRefused puts files in the journal's place that must be
// neither read as a journal nor written to.
func TestForeignFilesAreRefused(t *testing.T) {
	alter := func(statement string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec(statement); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func(text string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	truncate := func(t *testing.T, path string) {
		if err := os.Truncate(path, 3*4096); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, path string)
		err   string
		hint  string
	}{
		{"newer", alter("PRAGMA user_version = 99"), "a newer infra wrote it (schema 99, this one knows 2)", "use the newer infra"},
		{"garbage", write(strings.Repeat("not a database. ", 1000)), "file is not a database", "move it and its -wal aside"},
		{"a few bytes", write("SQLite"), "file is not a database", "move it and its -wal aside"},
		{"empty", write(""), "the file is empty", "move it and its -wal aside"},
		{"cut off", truncate, "malformed", "move it and its -wal aside"},
		{"another program's database", alter("PRAGMA application_id = 7"), "no journal of infra", "move it and its -wal aside"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			j := open(t, root)
			record(t, j, wholeRun()...)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(root, ".infra", "journal.db")
			c.spoil(t, path)
			before := content(t, path)
			_, err := Open(root)
			_, err2 := Read(root)
			for _, err := range []error{err, err2} {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(runtime.HintOf(err), c.hint) {
					t.Errorf("got %v (%s)\nwant %s (%s)", err, runtime.HintOf(err), c.err, c.hint)
				}
			}
			if content(t, path) != before {
				t.Error("the file was changed")
			}
		})
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestMissingTableIsRefused(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, ".infra", "journal.db")
	j := open(t, root)
	if _, err := j.writer.conn.ExecContext(t.Context(), "DROP TABLE logs"); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	before := content(t, path)
	if _, err := Open(root); err == nil || !strings.Contains(runtime.HintOf(err), "move it") {
		t.Errorf("got %v", err)
	}
	if content(t, path) != before {
		t.Error("the file was changed")
	}
}

// TestLeftoversAreNotAdopted: a -wal without its file would be replayed into
// a new one.
func TestLeftoversAreNotAdopted(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	record(t, j, wholeRun()...)
	if err := os.Remove(filepath.Join(root, ".infra", "journal.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root); err == nil || !strings.Contains(err.Error(), "journal.db-wal is still there") {
		t.Errorf("got %v", err)
	}
}

// TestTheFirstTwoAtOnce: whoever finds no journal, and then that another process has
// made one and writes, takes that one.
func TestTheFirstTwoAtOnce(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	record(t, j, wholeRun()...)
	dir := filepath.Join(root, ".infra")
	before := content(t, filepath.Join(dir, "journal.db"))
	if err := create(dir, filepath.Join(dir, "journal.db")); err != nil || content(t, filepath.Join(dir, "journal.db")) != before {
		t.Errorf("it is refused, or made anew: %v", err)
	}
}

func TestPathsNeedNoQuoting(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a ?b#c%20d;e")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	record(t, open(t, root), started("r1", noon))
	if runs, err := read(t, root).Runs(1); err != nil || len(runs) != 1 {
		t.Errorf("%v, %v", runs, err)
	}
}

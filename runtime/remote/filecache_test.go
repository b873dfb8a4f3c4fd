package remote

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What was made of a file is used again only while the file cannot have changed.
func TestFileCache(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	old := time.Now().Add(-time.Hour)
	var c fileCache[string]
	parsed := 0
	for _, step := range []struct {
		name, text string
		changed    time.Time
		want       int // how often it has been parsed then
	}{
		{"first", "one", old, 1},
		{"again", "one", old, 1},
		{"of the same size", "two", old.Add(time.Nanosecond), 2},
		{"of another size", "three", old.Add(time.Nanosecond), 3},
		{"changed just now", "four", time.Now(), 4},
		{"and perhaps again within the tick", "five", time.Now(), 5},
	} {
		must(t, os.WriteFile(path, []byte(step.text), 0o600))
		must(t, os.Chtimes(path, step.changed, step.changed))
		got, err := c.of(path, func(text []byte) string { parsed++; return string(text) })
		if err != nil || got != step.text || parsed != step.want {
			t.Errorf("%s: %q, %v, parsed %d times, not %d", step.name, got, err, parsed, step.want)
		}
	}
	must(t, os.Remove(path))
	if _, err := c.of(path, func(text []byte) string { return string(text) }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a file that is gone: %v", err)
	}
}

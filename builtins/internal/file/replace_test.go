package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestReplace(t *testing.T) {
	refused := errors.New("refused")
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string) // of dir/file and dir/link
		path    string
		check   error
		want    string // of dir/file
		mode    fs.FileMode
	}{
		{"new", func(*testing.T, string) {}, "file", nil, "new", 0o640},
		{"old", old, "file", nil, "new", 0o640},
		{"through a link", link, "link", nil, "new", 0o640},
		{"refused", old, "file", refused, "old", 0o600},
		{"half written by a killed process", func(t *testing.T, dir string) {
			old(t, dir)
			put(t, filepath.Join(dir, ".infra-file"), "ha", 0o444)
		}, "file", nil, "new", 0o640},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.prepare(t, dir)
			before, _ := os.ReadFile(filepath.Join(dir, "file"))
			err := Replace(filepath.Join(dir, c.path), []byte("new"), 0o640, func() error {
				if now, _ := os.ReadFile(filepath.Join(dir, "file")); string(now) != string(before) {
					t.Errorf("it held %q when it was asked for", now)
				}
				return c.check
			})
			if !errors.Is(err, c.check) {
				t.Fatal(err)
			}
			data, err := os.ReadFile(filepath.Join(dir, "file"))
			if err != nil || string(data) != c.want {
				t.Errorf("it holds %q, %v", data, err)
			}
			if info, err := os.Stat(filepath.Join(dir, "file")); err != nil || info.Mode() != c.mode {
				t.Errorf("its mode is %v, %v", info.Mode(), err)
			}
			if info, err := os.Lstat(filepath.Join(dir, c.path)); err != nil || (info.Mode()&fs.ModeSymlink != 0) != (c.path == "link") {
				t.Errorf("%s is %v, %v", c.path, info.Mode(), err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".infra-*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func old(t *testing.T, dir string) { put(t, filepath.Join(dir, "file"), "old", 0o600) }

func link(t *testing.T, dir string) {
	old(t, dir)
	if err := os.Symlink("file", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

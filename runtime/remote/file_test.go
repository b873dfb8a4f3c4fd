package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"infra/runtime"
)

func TestPutGetStat(t *testing.T) {
	p := newServer(t).pool(t)
	dir := t.TempDir()
	me, err := user.Current()
	must(t, err)
	group, err := user.LookupGroupId(me.Gid)
	must(t, err)
	owner := me.Username + ":" + group.Name
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, c := range []struct {
		name    string
		content []byte
		mode    fs.FileMode
	}{
		{"plain", []byte("hello\n"), 0o644}, {"empty", nil, 0o600}, {"every byte", bytes.Repeat(all, 4), 0o400},
		{"odd 'name' \"$x\" `y` \\ \n ☃", []byte("x"), 0o755}, {"-n", []byte("\x00"), 0o640}, {"setuid", []byte("x"), 0o755 | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky},
		{"big", bytes.Repeat(all, 64<<10), 0o600},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := inTime(t)
			path := filepath.Join(dir, c.name)
			for _, before := range []string{"nothing", "old"} {
				if before == "old" {
					must(t, p.Put(ctx, target, File{Path: path, Content: runtime.PlainText("old content"), Mode: 0o777}))
				}
				must(t, p.Put(ctx, target, File{Path: path, Content: runtime.PlainText(string(c.content)), Mode: c.mode, Owner: owner}))
			}
			info, err := p.Stat(ctx, target, path, false)
			must(t, err)
			want := Info{true, digest(t, path), int64(len(c.content)), c.mode, owner}
			if info != want {
				t.Errorf("Stat: got %v, want %v", info, want)
			}
			got, mode, err := p.Get(ctx, target, path, false, int64(len(c.content)))
			if err != nil || !bytes.Equal(got, c.content) || mode != c.mode {
				t.Errorf("Get: %d bytes, %v, %v", len(got), mode, err)
			}
			if len(c.content) > 1 {
				_, _, err = p.Get(ctx, target, path, false, int64(len(c.content))-1)
				complains(t, err, "larger than", "")
			}
		})
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".infra.*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func digest(t *testing.T, path string) string {
	t.Helper()
	var out bytes.Buffer
	_, err := Run(t.Context(), Command{Argv: []string{"sha256sum", "--", path}, Stdout: &out})
	must(t, err)
	sum, _, _ := strings.Cut(strings.TrimPrefix(out.String(), `\`), " ") // a backslash: the name is escaped
	return sum
}

func TestFileThatIsNot(t *testing.T) {
	p := newServer(t).pool(t)
	ctx := inTime(t)
	dir := t.TempDir()
	must(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	for _, path := range []string{filepath.Join(dir, "no"), filepath.Join(dir, "no", "such"), filepath.Join(dir, "dangling")} {
		info, err := p.Stat(ctx, target, path, false)
		if err != nil || info != (Info{}) {
			t.Errorf("Stat %s: %v, %v", path, info, err)
		}
		if _, _, err := p.Get(ctx, target, path, false, 0); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Get %s: %v", path, err)
		}
	}
	info, err := p.Stat(ctx, target, dir, false)
	if err != nil || !info.Exists || !info.Mode.IsDir() || info.SHA256 != "" {
		t.Errorf("a folder: %v, %v", info, err)
	}
	_, _, err = p.Get(ctx, target, dir, false, 0)
	complains(t, err, "not a regular file", "")
	complains(t, p.Put(ctx, target, File{Path: dir, Mode: 0o600}), "writing "+dir+" on target|is a directory", "")
	complains(t, p.Put(ctx, target, File{Path: filepath.Join(dir, "file", "below"), Mode: 0o600}), "writing |/file/below|file", "")
	complains(t, p.Put(ctx, target, File{Path: filepath.Join(dir, "x"), Mode: 0o600, Owner: "no-such-user"}), "no-such-user", "")
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("left behind: %q", left)
	}
}

// The folders that a file lacks are as closed as the file.
func TestPutMakesFolders(t *testing.T) {
	p := newServer(t).pool(t)
	dir := t.TempDir()
	for mode, want := range map[fs.FileMode]fs.FileMode{0o600: 0o700, 0o640: 0o755, 0o644: 0o755} {
		parent := filepath.Join(dir, mode.String())
		must(t, p.Put(inTime(t), target, File{Path: filepath.Join(parent, "a", "b"), Mode: mode}))
		for _, folder := range []string{parent, filepath.Join(parent, "a")} {
			if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != want {
				t.Errorf("for a file of mode %v: %v, %v", mode, info, err)
			}
		}
	}
}

// A content that comes in part does not touch the target.
func TestPutIsWhole(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for name, cut := range map[string]func(p *Pool, cancel func()){
		"connection lost": func(p *Pool, _ func()) { p.Close() },
		"cancelled":       func(_ *Pool, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			p := s.pool(t)
			must(t, p.Put(inTime(t), target, File{Path: path, Content: runtime.PlainText("old"), Mode: 0o600}))
			c, err := p.to(t.Context(), target)
			must(t, err)
			ctx, cancel := context.WithCancel(inTime(t))
			head := putHead(File{Path: path, Mode: 0o644}, 1<<20)
			half := io.MultiReader(strings.NewReader(head), strings.NewReader(strings.Repeat("x", 1<<19)), readerFunc(func([]byte) (int, error) {
				eventually(t, "a part is there", func() bool {
					parts, _ := filepath.Glob(filepath.Join(dir, ".infra.*"))
					if len(parts) != 1 {
						return false
					}
					info, err := os.Stat(parts[0])
					if err == nil && info.Mode() != 0o600 {
						t.Errorf("while it is written it has mode %v", info.Mode())
					}
					return err == nil && info.Size() >= 1<<18
				})
				cut(p, cancel)
				<-ctx.Done()
				return 0, io.EOF
			}))
			done := make(chan error, 1)
			go func() {
				_, err := c.run(ctx, job{script: putScript, input: half, grace: time.Second})
				done <- err
			}()
			if err := <-done; err == nil {
				t.Error("no error")
			}
			cancel()
			eventually(t, "the part is gone", func() bool { left, _ := os.ReadDir(dir); return len(left) == 1 })
			if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestPutIsFast(t *testing.T) {
	p := newServer(t).pool(t)
	path := filepath.Join(t.TempDir(), "file")
	content := runtime.PlainText(strings.Repeat("0123456789abcdef", 4<<20))
	began := time.Now()
	must(t, p.Put(inTime(t), target, File{Path: path, Content: content, Mode: 0o600}))
	if took := time.Since(began); took > time.Minute {
		t.Errorf("64 MiB took %s", took)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 64<<20 {
		t.Errorf("got %v, %v", info, err)
	}
}

func TestParseDescription(t *testing.T) {
	for out, want := range map[string]Info{
		"":                                  {}, // no such file
		"file\n644\n12\nroot:root\n":        {Exists: true, Size: 12, Mode: 0o644, Owner: "root:root"},
		"file\n0644\n12\nme:staff\n":        {Exists: true, Size: 12, Mode: 0o644, Owner: "me:staff"}, // macOS
		"file\n4755\n12\nme:domain users\n": {Exists: true, Size: 12, Mode: 0o755 | fs.ModeSetuid, Owner: "me:domain users"},
		"directory\n755\n4096\na:b\n":       {Exists: true, Size: 4096, Mode: 0o755 | fs.ModeDir, Owner: "a:b"},
	} {
		got, _, err := parseDescription(out)
		if err != nil || got != want {
			t.Errorf("%q: got %v, %v", out, got, err)
		}
	}
	for _, out := range []string{"file", "file\n8\n1\na:b\n", "file\n644\nx\na:b\n"} {
		if got, _, err := parseDescription(out); err == nil {
			t.Errorf("%q: got %v", out, got)
		}
	}
}

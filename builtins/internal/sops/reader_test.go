package sops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/logging"
	"github.com/google/go-cmp/cmp"
)

func TestFormats(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	thousand := ""
	for i := range 1000 {
		thousand += fmt.Sprintf("key%d: value-%d\n", i, i)
	}
	for _, c := range []struct {
		file, plain, content string // content "": the plain text
		keys                 []string
		values               map[string]string
	}{
		{file: "a.yaml",
			plain: "# note\ndb:\n    user: app\n    port: 5432\n    ratio: 0.25\n    big: 12345678901\n    tls: true\n    since: 2024-01-02T03:04:05Z\n" +
				"    key: |\n        line one\n        line two\nusers:\n    # a comment\n    - name: ann\n    - name: bob\nempty: \"\"\n",
			keys: []string{"db", "users", "empty"},
			values: map[string]string{"db.user": "app", "db.port": "5432", "db.ratio": "0.25", "db.big": "12345678901", "db.tls": "true",
				"db.since": "2024-01-02T03:04:05Z", "db.key": "line one\nline two\n", "users.0.name": "ann", "users.1.name": "bob", "empty": ""}},
		{file: "docs.yml", plain: "a: one\n---\nb: two\n", keys: []string{"a", "b"}, values: map[string]string{"a": "one", "b": "two"}},
		{file: "b.json", plain: `{"a": {"b": ["x", {"c": 12345678.5}, 9007199254740993]}, "t": false}`,
			content: "{\n\t\"a\": {\n\t\t\"b\": [\n\t\t\t\"x\",\n\t\t\t{\n\t\t\t\t\"c\": 12345678.5\n\t\t\t},\n\t\t\t9007199254740993\n\t\t]\n\t},\n\t\"t\": false\n}\n",
			keys:    []string{"a", "t"},
			values:  map[string]string{"a.b.0": "x", "a.b.1.c": "12345678.5", "a.b.2": "9007199254740993", "t": "false"}},
		{file: "c.env", plain: "# note\nTOKEN=a=b c\nPEM=one\\ntwo\n", keys: []string{"TOKEN", "PEM"}, values: map[string]string{"TOKEN": "a=b c", "PEM": "one\ntwo"}},
		{file: "d.ini", plain: "[db]\nuser = app\nport = 5432\n", keys: []string{"DEFAULT", "db"}, values: map[string]string{"db.user": "app", "db.port": "5432"}},
		{file: "e.bin", plain: "\x00\xff\xfe binary \r\n\x00"},
		{file: ".env.prod", plain: "A=1\n"},
		{file: "key.pem", plain: "-----BEGIN KEY-----\nabc\n-----END KEY-----\n"},
		{file: "many.yaml", plain: thousand, values: map[string]string{"key0": "value-0", "key999": "value-999"}},
	} {
		t.Run(c.file, func(t *testing.T) {
			write(t, filepath.Join(root, c.file), seal(t, c.file, c.plain, id.Recipient().String()).Bytes(t))
			f, err := open(t, root, c.file)
			must(t, err)
			if c.content == "" {
				c.content = c.plain
			}
			if diff := cmp.Diff(c.content, content(t, f)); diff != "" {
				t.Errorf("content: %s", diff)
			}
			if got := f.Keys(); c.keys != nil && !cmp.Equal(got, c.keys) {
				t.Errorf("keys %q, want %q", got, c.keys)
			}
			for path, want := range c.values {
				if got := get(t, f, path); got != want {
					t.Errorf("%s = %q, want %q", path, got, want)
				}
			}
			if c.values == nil {
				if got := f.Keys(); len(got) > 0 {
					t.Errorf("a binary file has the keys %q", got)
				}
				_, err := f.Value("data")
				checkError(t, err, "is a binary file", ".content")
			}
		})
	}
}

// Values in clear are handed out as secrets too.
func TestPartlyEncrypted(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	s := sealWith(t, "a.yaml", "clear: in-the-open\npassword: hidden-value\n",
		sops.Metadata{EncryptedRegex: "^password$", KeyGroups: []sops.KeyGroup{group(t, id.Recipient().String())}})
	data := s.Bytes(t)
	if !bytes.Contains(data, []byte("in-the-open")) || bytes.Contains(data, []byte("hidden-value")) {
		t.Fatalf("not partly encrypted:\n%s", data)
	}
	write(t, filepath.Join(root, "a.yaml"), data)
	f, err := open(t, root, "a.yaml")
	must(t, err)
	if got := get(t, f, "clear") + get(t, f, "password"); got != "in-the-openhidden-value" {
		t.Errorf("got %q", got)
	}
}

func TestNoSuchFile(t *testing.T) {
	withKey(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "secrets/cinnabar.yaml"), []byte("a: 1\n"))
	big := filepath.Join(root, "big.yaml")
	write(t, big, nil)
	must(t, os.Truncate(big, largestFile+1))
	for _, c := range []struct{ file, err, hint string }{
		{"secrets/cinabar.yaml", "there is no sops file secrets/cinabar.yaml", "did you mean secrets/cinnabar.yaml?"},
		{"nowhere/at/all.yaml", "there is no sops file nowhere/at/all.yaml", "relative to the project's root, " + root},
		{"", "is not a file", ""},
		{"secrets", "is not a file", ""},
		{"/dev/zero", "is not a file", ""},
		{"secrets/cinnabar.yaml/x", "not a directory", ""},
		{"a\x00b", "invalid argument", ""},
		{"big.yaml", "more than the 16777216", ""},
		{filepath.Join(root, "secrets/cinnabar.yaml"), "is not encrypted by sops", "sops encrypt --in-place"},
	} {
		t.Run(c.file, func(t *testing.T) {
			_, err := open(t, root, c.file)
			checkError(t, err, c.err, c.hint)
		})
	}
}

// Steps that run side by side share one reader; a person touches the key once.
func TestConcurrentSteps(t *testing.T) {
	lonely(t)
	id := newKey(t)
	pluginKey, count := installPlugin(t, id)
	t.Setenv("SOPS_AGE_KEY", pluginKey)
	root := t.TempDir()
	s := seal(t, "a.yaml", "v: value-0\n", id.Recipient().String())
	const files = 5
	for i := range files {
		s.Reseal(t, fmt.Sprintf("v: value-%d\n", i))
		write(t, filepath.Join(root, fmt.Sprintf("%d.yaml", i)), s.Bytes(t))
	}
	r := NewReader()
	var wg sync.WaitGroup
	for n := range 40 {
		wg.Go(func() {
			name := fmt.Sprintf("%d.yaml", n%files)
			doc, err := r.Open(t.Context(), FileAt(root, name), io.Discard)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := doc.Value("v"); err != nil || got != fmt.Sprintf("value-%d", n%files) {
				t.Errorf("%s: %q, %v", name, got, err)
			}
			if text, err := doc.Content(); err != nil || text != fmt.Sprintf("v: value-%d\n", n%files) {
				t.Errorf("%s: %q, %v", name, text, err)
			}
		})
	}
	wg.Wait()
	if got := touches(t, count); got != 1 {
		t.Errorf("the key was touched %d times for files with one data key", got)
	}
	if len(r.plain) != files {
		t.Errorf("%d documents for %d contents", len(r.plain), files)
	}
}

// A file is decrypted once, and anew when it changed on disk.
func TestChangedFile(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	s := seal(t, "a.yaml", "v: first-value\n", id.Recipient().String())
	r, f := NewReader(), FileAt(root, "a.yaml")
	read := func() string {
		doc, err := r.Open(t.Context(), f, io.Discard)
		must(t, err)
		if again, err := r.Open(t.Context(), f, io.Discard); again == nil || again.plain != doc.plain {
			t.Errorf("one content was decrypted twice: %v", err)
		}
		return get(t, doc, "v")
	}
	write(t, filepath.Join(root, "a.yaml"), s.Bytes(t))
	first := read()
	s.Reseal(t, "v: second-value\n")
	write(t, filepath.Join(root, "a.yaml"), s.Bytes(t))
	if second := read(); first != "first-value" || second != "second-value" {
		t.Errorf("read %q, then %q", first, second)
	}
	write(t, filepath.Join(root, "a.yaml"), bytes.Replace(s.Bytes(t), []byte("mac: ENC"), []byte("mac: END"), 1))
	_, err := r.Open(t.Context(), f, io.Discard)
	checkError(t, err, "its MAC does not match", "git log")
}

// A plugin that hangs does not hold the run, and what it says goes to the
// operation's log while there is one.
func TestPlugin(t *testing.T) {
	lonely(t)
	id := newKey(t)
	pluginKey, _ := installPlugin(t, id)
	t.Setenv("SOPS_AGE_KEY", pluginKey)
	root := t.TempDir()
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", "v: value\n", id.Recipient().String()).Bytes(t))
	var log bytes.Buffer
	doc, err := NewReader().Open(t.Context(), FileAt(root, "a.yaml"), &log)
	must(t, err)
	get(t, doc, "v")
	if want := "infratest plugin: please touch the key\n"; log.String() != want {
		t.Errorf("log %q, want %q", log.String(), want)
	}

	t.Setenv("INFRATEST_HANG", "1")
	r := NewReader()
	for range 2 { // the first hangs with the turn, the second waits for the turn
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err = r.Open(ctx, FileAt(root, "a.yaml"), &log)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Minute {
			t.Errorf("a hanging plugin gave %v after %s", err, time.Since(began))
		}
	}

	t.Setenv("PATH", t.TempDir())
	_, err = NewReader().Open(t.Context(), FileAt(root, "a.yaml"), &log)
	checkError(t, err, "SOPS_AGE_KEY: an identity of age-plugin-infratest", "")
	checkError(t, err, `"infratest" plugin not found`, "updatekeys")
	checkQuiet(t, err, pluginKey, id.String())
}

// The library's log is silent; one of its warnings prints a comment's text.
func TestLibraryIsSilent(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	data := seal(t, "a.yaml", "# a comment\nv: value\n", id.Recipient().String()).Bytes(t)
	plainComment := regexp.MustCompile(`(?m)^#ENC.*`).ReplaceAll(data, []byte("# comment-in-clear"))
	write(t, filepath.Join(root, "a.yaml"), plainComment)
	var said bytes.Buffer
	for _, l := range logging.Loggers {
		l.SetOutput(&said)
	}
	f, err := open(t, root, "a.yaml")
	must(t, err)
	if !strings.Contains(content(t, f), "# comment-in-clear") {
		t.Errorf("no comment to warn about in %q", content(t, f))
	}
	if said.Len() > 0 {
		t.Errorf("the library said %q", said.String())
	}
}

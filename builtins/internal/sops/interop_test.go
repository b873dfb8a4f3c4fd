package sops

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"infra/builtins/internal/sops/sopstest"
	"infra/runtime"
)

// project makes a folder whose .sops.yaml encrypts everything for the recipients.
func project(t testing.TB, ids ...*age.X25519Identity) (root string) {
	t.Helper()
	root = t.TempDir()
	var names []string
	for _, id := range ids {
		names = append(names, id.Recipient().String())
	}
	rule(t, root, "age: "+strings.Join(names, ","))
	return root
}

// rule writes a .sops.yaml of one rule.
func rule(t testing.TB, root string, lines ...string) {
	t.Helper()
	write(t, filepath.Join(root, rulesFile), []byte("creation_rules:\n  - "+strings.Join(lines, "\n    ")+"\n"))
}

func set(t testing.TB, root, name, path, value string) error {
	t.Helper()
	_, err := NewReader().Set(t.Context(), Setting{FileAt(root, name), path, secretText(t, value)}, io.Discard)
	return err
}

func secretText(t testing.TB, value string) runtime.Text {
	t.Helper()
	text, err := runtime.TextOf(runtime.NewSecret("given", value))
	must(t, err)
	return text
}

// interop are the values that files are exchanged with, and the formats that
// cannot hold them.
var interop = []struct {
	name, value string
	not         string // what cannot hold it
}{
	{name: "plain", value: "a plain value"},
	{name: "empty", value: ""},
	{name: "lines", value: "first line\nsecond line\n"},
	{name: "NUL", value: "before\x00after"},
	{name: "0xFF", value: "before\xff\xfeafter", not: ".json"},
	{name: "quotes", value: "a 'b' \"c\" `d` #e ;f =g \\h $i %j"},
	{name: "spaces", value: "  round it  "},
	{name: "backslash n", value: `C:\new`, not: ".env"},
	{name: "number", value: "00123"},
	{name: "true", value: "true"},
	{name: "ENC", value: "ENC[AES256_GCM,data:x,iv:y,tag:z,type:str]"},
	{name: "1 MiB", value: strings.Repeat("0123456789abcde\n", 1<<16)},
}

var kinds = []struct {
	file, path, extract string
	plain               string // another value, and comments where there are any
	other, want         string // a path in plain, and what is there
}{
	{"a.yaml", "db.password", `["db"]["password"]`, "# note\ndb:\n    user: app # who\n    # last\n", "db.user", "app"},
	{"a.json", "db.password", `["db"]["password"]`, "{\"db\": {\"user\": \"app\"}}", "db.user", "app"},
	{"a.env", "PASSWORD", `["PASSWORD"]`, "# note\nUSER=app\n", "USER", "app"},
	{"a.ini", "db.password", `["db"]["password"]`, "[db]\n; note\nuser = app\n", "db.user", "app"},
	{"a.bin", "", ``, "\x00other", "", ""},
}

// What we write the real sops reads, with either key, and says the same.
func TestRealSopsReadsOurs(t *testing.T) {
	lonely(t)
	ann, bob := newKey(t), newKey(t)
	for _, f := range kinds {
		for _, v := range interop {
			t.Run(f.file+" "+v.name, func(t *testing.T) {
				t.Setenv("SOPS_AGE_KEY", ann.String())
				root := project(t, ann, bob)
				if f.file == "a.ini" {
					v.value = v.value[:min(len(v.value), 1<<17)] // more takes time by the square, also of the real sops
				}
				err := set(t, root, f.file, f.path, v.value)
				if v.not == filepath.Ext(f.file) {
					checkError(t, err, "cannot hold that value", "base64")
					if _, err := os.Stat(filepath.Join(root, f.file)); !os.IsNotExist(err) {
						t.Errorf("it was written all the same: %v", err)
					}
					return
				}
				must(t, err)
				readers := []*age.X25519Identity{bob}
				if v.name == "plain" {
					readers = append(readers, ann)
				}
				for _, who := range readers {
					t.Setenv("SOPS_AGE_KEY", who.String())
					args := []string{"decrypt", f.file}
					if f.extract != "" {
						args = []string{"decrypt", "--extract", f.extract, f.file}
					}
					got, err := sopstest.Sops(t, root, "", args...)
					must(t, err)
					if got != v.value {
						t.Errorf("sops reads %.60q", got)
					}
				}
			})
		}
	}
}

// What the real sops writes we read, change in one value, and it reads again:
// comments, order and every other line of the plain text are as they were.
func TestRealSopsFilesAreKept(t *testing.T) {
	lonely(t)
	ann, bob := newKey(t), newKey(t)
	t.Setenv("SOPS_AGE_KEY", bob.String())
	for _, f := range kinds {
		t.Run(f.file, func(t *testing.T) {
			root := project(t, ann, bob)
			path := filepath.Join(root, f.file)
			write(t, path, []byte(f.plain))
			_, err := sopstest.Sops(t, root, "", "encrypt", "--in-place", f.file)
			must(t, err)
			must(t, os.Chmod(path, 0o640))
			before, err := sopstest.Sops(t, root, "", "decrypt", f.file)
			must(t, err)
			was, err := os.ReadFile(path)
			must(t, err)

			for _, value := range []string{"first\nvalue", "second-value"} {
				must(t, set(t, root, f.file, f.path, value))
				doc, err := open(t, root, f.file)
				must(t, err)
				if f.other == "" {
					if got := content(t, doc); got != value {
						t.Errorf("we read %q", got)
					}
				} else if get(t, doc, f.path) != value || get(t, doc, f.other) != f.want {
					t.Errorf("we read %q and %q", get(t, doc, f.path), get(t, doc, f.other))
				}
			}
			after, err := sopstest.Sops(t, root, "", "decrypt", f.file)
			must(t, err)
			if f.other == "" {
				if after != "second-value" {
					t.Errorf("sops reads %q", after)
				}
				return
			}
			var rest []string
			for line := range strings.Lines(after) {
				if !strings.Contains(line, "second-value") {
					rest = append(rest, line)
				}
			}
			if got := strings.Join(rest, ""); squeezed(got) != squeezed(before) {
				t.Errorf("sops decrypted it to\n%s\nand now to\n%s", before, after)
			}
			now, err := os.ReadFile(path)
			must(t, err)
			if kept := linesKept(was, now); kept < strings.Count(string(was), "\n")-4 {
				t.Errorf("of the lines of the file %d are as they were:\n%s\n%s", kept, was, now)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("its mode is %v, %v", info.Mode(), err)
			}

			_, err = sopstest.Sops(t, root, "", "set", f.file, f.extract, `"set by sops"`)
			must(t, err)
			doc, err := open(t, root, f.file)
			must(t, err)
			if got := get(t, doc, f.path); got != "set by sops" {
				t.Errorf("after sops set we read %q", got)
			}
		})
	}
}

// squeezed is a text without what a further key alters in a layout: a comma
// and an INI file's columns.
func squeezed(text string) string {
	return strings.NewReplacer(" ", "", ",", "", "\t", "").Replace(text)
}

// linesKept counts the lines of one file that are lines of the other too.
func linesKept(was, now []byte) int {
	n, have := 0, "\n"+string(now)
	for line := range strings.Lines(string(was)) {
		if strings.Contains(have, "\n"+strings.TrimRight(line, ",\n")) {
			n++
		}
	}
	return n
}

// Values that the real sops wrote are read, whatever they are.
func TestWeReadRealSops(t *testing.T) {
	id := withKey(t)
	for _, f := range kinds {
		root := project(t, id)
		path := filepath.Join(root, f.file)
		write(t, path, []byte(f.plain))
		_, err := sopstest.Sops(t, root, "", "encrypt", "--in-place", f.file)
		must(t, err)
		for _, v := range interop {
			if v.not != "" || f.other == "" && v.value == "" {
				continue // the real sops encrypts no empty file
			}
			t.Run(f.file+" "+v.name, func(t *testing.T) {
				if f.other == "" {
					write(t, path, []byte(v.value))
					_, err := sopstest.Sops(t, root, "", "encrypt", "--in-place", f.file)
					must(t, err)
					doc, err := open(t, root, f.file)
					must(t, err)
					if got := content(t, doc); got != v.value {
						t.Errorf("we read %.60q", got)
					}
					return
				}
				_, err := sopstest.Sops(t, root, jsonText(t, v.value), "set", "--value-stdin", f.file, f.extract)
				must(t, err)
				doc, err := open(t, root, f.file)
				must(t, err)
				if got := get(t, doc, f.path); got != v.value {
					t.Errorf("we read %.60q", got)
				}
			})
		}
	}
}

func jsonText(t testing.TB, s string) string {
	t.Helper()
	out, err := json.Marshal(s)
	must(t, err)
	return string(out)
}

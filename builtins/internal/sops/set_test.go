package sops

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/getsops/sops/v3"

	"infra/builtins/internal/sops/sopstest"
	"infra/runtime"
)

// A value is put where its path leads, and nothing else moves.
func TestSet(t *testing.T) {
	id := withKey(t)
	const yaml = `# top
a: one
# who
db:
    # inline
    user: app
    # before password
    password: old-value
    # last
list:
    # first comment
    - zero
    - name: ann
      age: 3
empty: null
host.example.org: dotted
`
	for _, c := range []struct{ file, plain, path, value, want string }{
		{"a.yaml", yaml, "db.password", "new", strings.Replace(yaml, "old-value", "new", 1)},
		{"a.yaml", yaml, "a", "two\nlines", strings.Replace(yaml, "a: one", "a: |-\n    two\n    lines", 1)},
		{"a.yaml", yaml, "host.example.org", "new", strings.Replace(yaml, ": dotted", ": new", 1)},
		{"a.yaml", yaml, "list.0", "new", strings.Replace(yaml, "- zero", "- new", 1)},
		{"a.yaml", yaml, "list.1.name", "bob", strings.Replace(yaml, "ann", "bob", 1)},
		{"a.yaml", yaml, "list.1.age", "4", strings.Replace(yaml, "age: 3", `age: "4"`, 1)},
		{"a.yaml", yaml, "list.2", "new", strings.Replace(yaml, "age: 3\n", "age: 3\n    - new\n", 1)},
		{"a.yaml", yaml, "list.2.name", "new", strings.Replace(yaml, "age: 3\n", "age: 3\n    - name: new\n", 1)},
		{"a.yaml", yaml, "empty", "new", strings.Replace(yaml, "empty: null", "empty: new", 1)},
		{"a.yaml", yaml, "empty.x.z", "new", strings.Replace(yaml, "empty: null", "empty:\n    x:\n        z: new", 1)},
		{"a.yaml", yaml, "new.deep.er", "new", yaml + "new:\n    deep:\n        er: new\n"},
		{"docs.yaml", "a: one\n---\nb: two\n", "b", "new", "a: one\n---\nb: new\n"},
		{"docs.yaml", "a: one\n---\nb:\n    c: two\n", "b.d", "new", "a: one\n---\nb:\n    c: two\n    d: new\n"},
		{"docs.yaml", "a: one\n---\nb: two\n", "c", "new", "a: one\nc: new\n---\nb: two\n"},
		{"a.json", `{"a": 1, "b": [true, null]}`, "b.1", "new", "{\n\t\"a\": 1,\n\t\"b\": [\n\t\ttrue,\n\t\t\"new\"\n\t]\n}\n"},
		{"a.env", "A=1\n# c\nB=2\n", "B.C", "new", "A=1\n# c\nB=2\nB.C=new\n"},
		{"a.ini", "[s]\na = 1\n", "s.b.c", "new", "[s]\na   = 1\nb.c = new\n"},
		{"a.ini", "[s]\na = 1\n", "t.a", "new", "[s]\na = 1\n\n[t]\na = new\n"},
		{"a.bin", "old", "", "new", "new"},
	} {
		t.Run(c.file+" "+c.path, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, c.file)
			write(t, path, seal(t, c.file, c.plain, id.Recipient().String()).Bytes(t))
			setting := Setting{FileAt(root, c.file), c.path, secretText(t, c.value)}
			r := NewReader()
			foreseen, err := r.Foresee(t.Context(), setting, io.Discard)
			must(t, err)
			changed, err := r.Set(t.Context(), setting, io.Discard)
			must(t, err)
			if foreseen == Same || foreseen == NoFile || !changed {
				t.Errorf("foreseen %d, changed %v", foreseen, changed)
			}
			doc, err := open(t, root, c.file)
			must(t, err)
			if got := content(t, doc); got != c.want {
				t.Errorf("now it is\n%s\nwant\n%s", got, c.want)
			}
			once, err := os.ReadFile(path)
			must(t, err)
			again, err := r.Set(t.Context(), setting, io.Discard)
			must(t, err)
			twice, err := os.ReadFile(path)
			must(t, err)
			if again || !bytes.Equal(once, twice) {
				t.Error("a second time it changed again")
			}
			checkAlone(t, root, c.file)
		})
	}
}

// checkAlone fails if there is anything else in the folder than the file.
func checkAlone(t *testing.T, root, name string) {
	t.Helper()
	entries, err := os.ReadDir(root)
	must(t, err)
	for _, e := range entries {
		if e.Name() != name && e.Name() != rulesFile {
			t.Errorf("it left %s", e.Name())
		}
	}
}

// What cannot be set is refused, in a preview as in a run, and nothing is written.
func TestSetRefuses(t *testing.T) {
	id := withKey(t)
	other := newKey(t).Recipient().String()
	clear := sops.Metadata{EncryptedRegex: "^secret", KeyGroups: []sops.KeyGroup{group(t, id.Recipient().String())}}
	const plain = "a: value-one\nm:\n    k: value-two\nl: [value-three]\n"
	for _, c := range []struct{ file, path, value, err, hint string }{
		{"a.yaml", "a.b", "new", "a is a value, with nothing below it", `set "a"`},
		{"a.yaml", "m", "new", "a.yaml[m] is a map, not a value", "m.k"},
		{"a.yaml", "l", "new", "is a list", "l.0"},
		{"a.yaml", "l.2", "new", `no element "2"`, "1 would be new"},
		{"a.yaml", "l.x", "new", `no element "x"`, "counted from 0"},
		{"a.yaml", "", "new", "a key has no name", "db.password"},
		{"a.yaml", "x..y", "new", "a key has no name", ""},
		{"a.yaml", "m.", "new", "a key has no name", ""},
		{"a.yaml", "sops", "new", "the key sops is sops' own", ""},
		{"a.yaml", "sops.mac", "new", "the key sops is sops' own", ""},
		{"a.json", "a", "\xff", "a JSON file cannot hold that value", "base64"},
		{"a.env", "sops_mac", "new", "sops' own", ""},
		{"a.env", "A=B", "new", "cannot hold", ""},
		{"a.env", "A\nB", "new", "cannot hold", ""},
		{"a.ini", "key", "new", "a key of an INI file is in a section", "section.key"},
		{"a.bin", "data", "new", "is a binary file", `path ""`},
		{"theirs.yaml", "a", "new", "no key here can decrypt theirs.yaml", "updatekeys"},
		{"clear.yaml", "secret_a", "new", "", ""},
		{"plain.yaml", "a", "new", "is not encrypted by sops", "sops encrypt"},
		{"absent.yaml", "a", "new", "absent.yaml is not there yet: there is no .sops.yaml for absent.yaml", "creation_rules"},
		{"no/such/folder.yaml", "a", "new", "is not there yet", "creation_rules"},
		{"a.yaml/b.yaml", "a", "new", "", ""},
	} {
		t.Run(c.file+" "+c.path, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range map[string]string{"a.yaml": plain, "a.json": `{"a": "value-one"}`, "a.env": "A=value-one\n", "a.ini": "[s]\na = value-one\n", "a.bin": "value-one"} {
				write(t, filepath.Join(root, name), seal(t, name, text, id.Recipient().String()).Bytes(t))
			}
			write(t, filepath.Join(root, "theirs.yaml"), seal(t, "a.yaml", plain, other).Bytes(t))
			write(t, filepath.Join(root, "clear.yaml"), sealWith(t, "a.yaml", plain, clear).Bytes(t))
			write(t, filepath.Join(root, "plain.yaml"), []byte(plain))
			before := hashes(t, root)
			s := Setting{FileAt(root, c.file), c.path, secretText(t, c.value)}
			_, foreseen := NewReader().Foresee(t.Context(), s, io.Discard)
			if c.err != "" {
				checkError(t, foreseen, c.err, c.hint)
			}
			_, err := NewReader().Set(t.Context(), s, io.Discard)
			if c.err == "" && c.file == "clear.yaml" {
				must(t, err)
				return
			}
			if err == nil {
				t.Fatal("it was set")
			}
			checkError(t, err, c.err, c.hint)
			checkQuiet(t, err, "value-")
			if now := hashes(t, root); now != before {
				t.Errorf("before\n%s\nnow\n%s", before, now)
			}
		})
	}
}

func hashes(t *testing.T, root string) string {
	t.Helper()
	var out strings.Builder
	must(t, filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			fmt.Fprintln(&out, path)
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&out, "%s %q\n", e.Name(), data)
		return err
	}))
	return out.String()
}

// A secret is never put where the file's own rules leave values in clear; a
// string of the plan may be.
func TestSetInClear(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	path := filepath.Join(root, "a.yaml")
	s := sealWith(t, "a.yaml", "user: app\npassword: hidden-value\n",
		sops.Metadata{EncryptedRegex: "^password$", KeyGroups: []sops.KeyGroup{group(t, id.Recipient().String())}})
	write(t, path, s.Bytes(t))
	err := set(t, root, "a.yaml", "user", "secret-for-user")
	checkError(t, err, "a.yaml[user] is left in clear by the file's own rules", "encrypted_regex")
	checkQuiet(t, err, "secret-for-user")
	_, err = NewReader().Set(t.Context(), Setting{FileAt(root, "a.yaml"), "user", runtime.PlainText("root")}, io.Discard)
	must(t, err)
	must(t, set(t, root, "a.yaml", "password", "secret-for-password"))
	data, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Contains(data, []byte("user: root")) || bytes.Contains(data, []byte("secret-for-")) {
		t.Errorf("now it is\n%s", data)
	}
}

// A link stays one, and a folder that is missing is made.
func TestSetThroughLinks(t *testing.T) {
	id := withKey(t)
	root := project(t, id)
	must(t, os.MkdirAll(filepath.Join(root, "real"), 0o755))
	must(t, set(t, root, "real/a.yaml", "k", "first"))
	must(t, os.Symlink("real/a.yaml", filepath.Join(root, "link.yaml")))
	must(t, set(t, root, "link.yaml", "k", "second"))
	must(t, set(t, root, "new/folder/b.env", "K", "third"))
	if info, err := os.Lstat(filepath.Join(root, "link.yaml")); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is no link any more: %v %v", info, err)
	}
	for name, want := range map[string]string{"real/a.yaml": "k: second\n", "new/folder/b.env": "K=third\n"} {
		doc, err := open(t, root, name)
		must(t, err)
		if got := content(t, doc); got != want {
			t.Errorf("%s is %q", name, got)
		}
		if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Mode().Perm() != newMode {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
}

// Values that are set side by side are all there, be it by one process or by
// readers that share nothing.
func TestConcurrentSets(t *testing.T) {
	id := withKey(t)
	root := project(t, id)
	shared := NewReader()
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			r := shared
			if n%2 == 0 {
				r = NewReader()
			}
			if _, err := r.Set(t.Context(), Setting{FileAt(root, "a.yaml"), fmt.Sprintf("key%d", n), runtime.PlainText("v")}, io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	doc, err := open(t, root, "a.yaml")
	must(t, err)
	if len(doc.Keys()) != 20 {
		t.Errorf("of 20 keys there are %q", doc.Keys())
	}
}

// Who waits for the file's turn stops when the run does.
func TestSetWaitsNoLongerThanTheRun(t *testing.T) {
	id := withKey(t)
	root := project(t, id)
	must(t, set(t, root, "a.yaml", "k", "first"))
	unlock, err := FileAt(root, "a.yaml").lock(t.Context())
	must(t, err)
	stopped := errors.New("stopped by the test")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopped)
	_, err = NewReader().Set(ctx, Setting{FileAt(root, "a.yaml"), "k", runtime.PlainText("second")}, io.Discard)
	if !errors.Is(err, stopped) {
		t.Errorf("got %v", err)
	}
	unlock()
	must(t, set(t, root, "a.yaml", "k", "third"))
}

// What somebody else wrote in the meantime is not lost.
func TestChangedMeanwhile(t *testing.T) {
	id := withKey(t)
	root := project(t, id)
	f := FileAt(root, "a.yaml")
	for _, was := range [][]byte{nil, []byte("as it was read")} {
		write(t, f.Path(), []byte("somebody's"))
		checkError(t, f.replace(was, []byte("ours")), "a.yaml was changed by somebody else", "run the plan again")
		if got, err := os.ReadFile(f.Path()); err != nil || string(got) != "somebody's" {
			t.Errorf("now it is %q, %v", got, err)
		}
	}
	must(t, os.Remove(f.Path()))
	checkError(t, f.replace([]byte("as it was read"), []byte("ours")), "was changed by somebody else", "")
	checkAlone(t, root, "a.yaml")
}

// A process that is killed leaves the old file or the new one, and nothing
// that stands in the way of the next.
func TestKilledWhileSetting(t *testing.T) {
	id := withKey(t)
	root, tmp := project(t, id), t.TempDir()
	must(t, set(t, root, "a.yaml", "k", "value-0"))
	for round := range 15 {
		self, err := os.Executable()
		must(t, err)
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "INFRATEST_SETS="+root, "TMPDIR="+tmp)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		said := bufio.NewReader(out)
		for range 3 + round {
			if _, err := said.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
		doc, err := open(t, root, "a.yaml")
		must(t, err)
		if got := get(t, doc, "k"); !strings.HasPrefix(got, "value-") {
			t.Fatalf("it is %q", got)
		}
		for _, dir := range []string{root, tmp} {
			if left := hashes(t, dir); strings.Contains(left, "value-") {
				t.Fatalf("a value is in clear:\n%s", left)
			}
		}
	}
	must(t, set(t, root, "a.yaml", "k", "value-last"))
	checkAlone(t, root, "a.yaml")
}

// setForEver sets one value after the other until it is killed.
func setForEver(root string) int {
	r := NewReader()
	for i := 0; ; i++ {
		s := Setting{FileAt(root, "a.yaml"), "k", runtime.PlainText(fmt.Sprintf("value-%d", i))}
		if _, err := r.Set(context.Background(), s, io.Discard); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println(i)
	}
}

// Nothing replaces a file that would not read back as it was written: here a
// bool in clear, which sops reads as a string from a dotenv file.
func TestSealReadsBack(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	f := FileAt(root, "a.env")
	s := sealWith(t, "a.env", "A=hidden-value\n", sops.Metadata{EncryptedRegex: "^A$", KeyGroups: []sops.KeyGroup{group(t, id.Recipient().String())}})
	write(t, f.Path(), s.Bytes(t))
	rules, err := f.rules()
	must(t, err)
	d, err := NewReader().draft(t.Context(), f, rules, io.Discard)
	must(t, err)
	d.tree.Branches[0] = append(d.tree.Branches[0], sops.TreeItem{Key: "FLAG", Value: true})
	_, err = d.seal()
	checkError(t, err, "a.env is left as it is: it would not read back as it was written", "")
	checkQuiet(t, err, "hidden-value")
}

// The indentation that .sops.yaml asks for is kept.
func TestSetIndents(t *testing.T) {
	id := withKey(t)
	root := project(t, id)
	f, err := os.OpenFile(filepath.Join(root, rulesFile), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString("stores:\n  yaml:\n    indent: 2\n")
	must(t, errors.Join(err, f.Close()))
	must(t, set(t, root, "a.yaml", "db.password", "new"))
	data, err := os.ReadFile(filepath.Join(root, "a.yaml"))
	must(t, err)
	if !bytes.Contains(data, []byte("\n  password: ENC[")) {
		t.Errorf("it is\n%s", data)
	}
	_, err = sopstest.Sops(t, root, `"other"`, "set", "--value-stdin", "a.yaml", `["db"]["password"]`)
	must(t, err)
}

// A comment behind a value stays there in the file.
func TestSetKeepsInlineComments(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	path := filepath.Join(root, "a.yaml")
	write(t, path, seal(t, "a.yaml", "a: one # inline\nb:\n    - two # in a list\n    # head\n    - three\n", id.Recipient().String()).Bytes(t))
	was, err := os.ReadFile(path)
	must(t, err)
	must(t, set(t, root, "a.yaml", "c", "new"))
	now, err := os.ReadFile(path)
	must(t, err)
	if head, _, _ := strings.Cut(string(was), "sops:"); !strings.HasPrefix(string(now), head) {
		t.Errorf("it was\n%s\nnow it is\n%s", was, now)
	}
}

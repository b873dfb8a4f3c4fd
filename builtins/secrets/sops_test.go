package secrets

import (
	"bytes"
	"context"
	"encoding/json"
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
	"go.starlark.net/starlark"

	"infra/runtime"
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
			write(t, filepath.Join(root, c.file), seal(t, c.file, c.plain, id.Recipient().String()).bytes(t))
			f, err := open(t, root, c.file)
			must(t, err)
			if c.content == "" {
				c.content = c.plain
			}
			if diff := cmp.Diff(c.content, content(t, f)); diff != "" {
				t.Errorf("content: %s", diff)
			}
			if got := names(f.doc.root); c.keys != nil && !cmp.Equal(got, c.keys) {
				t.Errorf("keys %q, want %q", got, c.keys)
			}
			for path, want := range c.values {
				if got := get(t, f, path); got != want {
					t.Errorf("%s = %q, want %q", path, got, want)
				}
			}
			if c.values == nil {
				_, _, err := f.Get(starlark.String("data"))
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
	data := s.bytes(t)
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

const lookupFixture = `
db:
    user: app
    password: pw-value
    deep:
        er: deep-value
a:
    b:
        c: through-short
    x: ax-value
a.b:
    d: through-long
"host.example.org": dotted-value
"":
    e: empty-key-value
list:
    - first-value
    - k: element-value
    - [inner-value]
null_value: null
empty_map: {}
`

func TestLookup(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", lookupFixture, id.Recipient().String()).bytes(t))
	f, err := open(t, root, "a.yaml")
	must(t, err)
	for _, c := range []struct{ path, want, err, hint string }{
		{path: "db.user", want: "app"},
		{path: "db.deep.er", want: "deep-value"},
		{path: "host.example.org", want: "dotted-value"},
		{path: "a.x", want: "ax-value"},
		{path: "a.b.d", want: "through-long"},
		{path: ".e", want: "empty-key-value"},
		{path: "list.0", want: "first-value"},
		{path: "list.1.k", want: "element-value"},
		{path: "list.2.0", want: "inner-value"},
		{path: "a.b.c", err: `no key "a.b.c"`, hint: "did you mean a.b.d?"},
		{path: "db.pasword", err: `a.yaml has no key "db.pasword"`, hint: "did you mean db.password?"},
		{path: "bd.user", err: `no key "bd.user"`, hint: "db"},
		{path: "db.zzzzzzzzzz", err: `no key "db.zzzzzzzzzz"`, hint: "db has db.user, db.password, db.deep"},
		{path: "zzzzzzzzzz", err: "no key", hint: "the file has db, a, a.b, host.example.org"},
		{path: "db", err: "a.yaml[db] is a map, not a value", hint: "db.user, db.password, db.deep"},
		{path: "list", err: "a.yaml[list] is a list", hint: "list.0, list.1, list.2"},
		{path: "empty_map", err: "is a map", hint: "no keys"},
		{path: "", err: "a.yaml[] is a map", hint: "e"},
		{path: "db.user.x", err: "db.user is a value, with nothing below it", hint: `ask for "db.user"`},
		{path: "db.user.", err: "db.user is a value", hint: `ask for "db.user"`},
		{path: "db.", err: `no key "db."`, hint: "db.user"},
		{path: "list.3", err: `no element "list.3"`, hint: "list is a list of 3"},
		{path: "list.-1", err: "no element"},
		{path: "list.00", err: "no element"},
		{path: "list.+1", err: "no element"},
		{path: "list.", err: "no element"},
		{path: "null_value", err: "a.yaml[null_value] is null"},
		{path: "null_value.x", err: "null_value is a value"},
	} {
		t.Run(c.path, func(t *testing.T) {
			v, found, err := f.Get(starlark.String(c.path))
			if c.err != "" {
				checkError(t, err, c.err, c.hint)
				checkQuiet(t, err, "-value", "through-")
				return
			}
			must(t, err)
			if s := v.(*runtime.Secret); !found || s.Reveal() != c.want || s.Name() != "a.yaml["+c.path+"]" {
				t.Errorf("got %q named %q", s.Reveal(), s.Name())
			}
		})
	}
	_, _, err = f.Get(starlark.MakeInt(1))
	checkError(t, err, "not by a value of type int", "")
	_, err = runStep(t, root, carryOut, `secrets.sops("a.yaml")["db.usr"]`)
	checkError(t, err, `no key "db.usr"`, "did you mean db.user?")
}

func TestLongListsOfNamesAreCut(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	plain := ""
	for i := range 1000 {
		plain += fmt.Sprintf("name%d: v\n", i)
	}
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", plain, id.Recipient().String()).bytes(t))
	f, err := open(t, root, "a.yaml")
	must(t, err)
	_, _, err = f.Get(starlark.String("quite.different"))
	checkError(t, err, "no key", "name11, ... (1000 in all)")
	_, _, err = f.Get(starlark.String("nam17"))
	checkError(t, err, "no key", "name17")
}

// A file that was changed is refused, in words that show nothing of it.
func TestTampered(t *testing.T) {
	id := withKey(t)
	const plain = "token: plaintext-of-token\ncount_unencrypted: clear-value-one\nother: plaintext-of-other\nnumber: 4242424242\n"
	whole := seal(t, "a.yaml", plain, id.Recipient().String()).bytes(t)
	line := regexp.MustCompile
	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		want   string
	}{
		{"a byte of the data", replace(line(`(token: ENC\[AES256_GCM,data:)(.)`), "${1}~"), "a value in it does not decrypt"},
		{"other valid data", replace(line(`(token: ENC\[AES256_GCM,data:)[^,]{4}`), "${1}AAAA"), "a value in it does not decrypt"},
		{"the type of a value", replace(line(`(token: .*type:)str`), "${1}bytes"), "a value in it does not decrypt"},
		{"an unknown type", replace(line(`(token: .*type:)str`), "${1}zzz"), "a value in it does not decrypt"},
		{"a string for a number", replace(line(`(token: .*type:)str`), "${1}int"), "a value in it does not decrypt"},
		{"a byte of the mac", replace(line(`(mac: ENC\[AES256_GCM,data:)[^,]{4}`), "${1}AAAA"), "its MAC does not match"},
		{"no mac", replace(line(`    mac: .*\n`), ""), "its MAC does not match"},
		{"an empty mac", replace(line(`    mac: .*\n`), "    mac: \"\"\n"), "its MAC does not match"},
		{"a mac in clear", replace(line(`    mac: .*\n`), "    mac: plaintext-of-mac\n"), "its MAC does not match"},
		{"another date", replace(line(`lastmodified: "\d{4}`), `lastmodified: "1999`), "its MAC does not match"},
		{"a date that is none", replace(line(`lastmodified: .*`), `lastmodified: plaintext-of-date`), "is damaged"},
		{"a clear value", replace(line(`clear-value-one`), "clear-value-two"), "its MAC does not match"},
		{"a key removed", replace(line(`other: .*\n`), ""), "its MAC does not match"},
		{"a key renamed", replace(line(`other:`), "another:"), "a value in it does not decrypt"},
		{"plain text for ENC", replace(line(`token: ENC.*`), "token: plaintext-by-hand"), "should be encrypted is not"},
		{"a number for ENC", replace(line(`token: ENC.*`), "token: 4242424242"), "should be encrypted is not"},
		{"a key added", replace(line(`(?s)^`), "added: plaintext-by-hand\n"), "should be encrypted is not"},
		{"a list added", replace(line(`(?s)^`), "added: [{x: plaintext-by-hand}]\n"), "should be encrypted is not"},
		{"a number as key", replace(line(`(?s)^`), "17: plaintext-by-hand\n"), "a value in it does not decrypt"},
		{"truncated in the data", func(b []byte) []byte { return b[:60] }, "is not encrypted by sops"},
		{"truncated in the metadata", func(b []byte) []byte { return b[:bytes.Index(b, []byte("lastmodified"))] }, "is damaged"},
		{"truncated before the mac", func(b []byte) []byte { return b[:bytes.Index(b, []byte("    mac:"))] }, "its MAC does not match"},
		{"the wrapped key", replace(line(`BEGIN AGE ENCRYPTED FILE-----\n\s+\w`), "BEGIN AGE ENCRYPTED FILE-----\n                ~"), "no key here can decrypt"},
		{"no recipients", replace(line(`(?s)    age:.*lastmodified`), "    lastmodified"), "is damaged"},
		{"no YAML", func([]byte) []byte { return []byte("a: [plaintext-by-hand\n\t: {") }, "is damaged"},
		{"no map", func([]byte) []byte { return []byte("plaintext-by-hand") }, "is damaged"},
		{"a doubled key", replace(line(`(?s)^`), "token: plaintext-by-hand\n"), "is damaged"},
		{"never encrypted", func([]byte) []byte { return []byte(plain) }, "is not encrypted by sops"},
		{"empty", func([]byte) []byte { return nil }, "is not encrypted by sops"},
		{"a merge conflict", replace(line(`other: `), "\n<<<<<<< HEAD\nother: "), "marks of a merge conflict"},
		{"endless aliases", func([]byte) []byte { return []byte("a: 1\n---\na: &x [*x]\n") }, "is damaged"},
		{"very deep", func([]byte) []byte { return []byte("a: " + strings.Repeat("[", 1_000_000)) }, "is damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			data := c.change(bytes.Clone(whole))
			if bytes.Equal(data, whole) {
				t.Fatalf("nothing was changed in:\n%s", whole)
			}
			write(t, filepath.Join(root, "secrets/x.yaml"), data)
			_, err := open(t, root, "secrets/x.yaml")
			checkError(t, err, c.want, "secrets/x.yaml")
			checkError(t, err, "secrets/x.yaml", "")
			checkQuiet(t, err, "plaintext-", "clear-value", "4242424242", "AES256_GCM")
		})
	}
}

func replace(re *regexp.Regexp, with string) func([]byte) []byte {
	return func(b []byte) []byte { return re.ReplaceAll(b, []byte(with)) }
}

// The other formats notice too.
func TestTamperedFormats(t *testing.T) {
	id := withKey(t)
	for _, c := range []struct {
		file, plain string
		change      func([]byte) []byte
		want        string
	}{
		{"a.json", `{"a": "plaintext-a", "b_unencrypted": "clear-b"}`, replace(regexp.MustCompile("clear-b"), "clear-c"), "its MAC does not match"},
		{"a.json", `{"a": "plaintext-a"}`, func(b []byte) []byte { return b[:len(b)/2] }, "no whole JSON file"},
		{"a.json", `{"a": "plaintext-a"}`, func(b []byte) []byte { return append(b, "plaintext-tail"...) }, "no whole JSON file"},
		{"a.json", `{"a": "plaintext-a"}`, func([]byte) []byte { return []byte(`["plaintext-a"]`) }, "no whole JSON file"},
		{"a.json", `{"a": "plaintext-a"}`, func([]byte) []byte { return []byte(strings.Repeat("[", 4<<20)) }, "no whole JSON file"},
		{"a.env", "A=plaintext-a\n", replace(regexp.MustCompile(`A=ENC.*`), "A=plaintext-by-hand"), "should be encrypted is not"},
		{"a.env", "A=plaintext-a\n", func(b []byte) []byte { return append([]byte("plaintext-by-hand\n"), b...) }, "no whole dotenv file"},
		{"a.env", "A=plaintext-a\n", func([]byte) []byte { return []byte("sops_x" + strings.Repeat("__map_", 2<<20) + "=1\n") }, "no whole dotenv file"},
		{"a.ini", "[s]\na = plaintext-a\n", replace(regexp.MustCompile(`(?m)^a\s*= .*$`), "a = plaintext-by-hand"), "should be encrypted is not"},
		{"a.ini", "[s]\na = plaintext-a\n", func([]byte) []byte { return []byte("[s\nplaintext-by-hand") }, "no whole INI file"},
		{"a.bin", "plaintext-a", replace(regexp.MustCompile(`data:[^,]{4}`), "data:AAAA"), "a value in it does not decrypt"},
		{"a.bin", "plaintext-a", func([]byte) []byte { return []byte("plaintext-a") }, "is not encrypted by sops"},
	} {
		t.Run(c.file+" "+c.want, func(t *testing.T) {
			root := t.TempDir()
			whole := seal(t, c.file, c.plain, id.Recipient().String()).bytes(t)
			data := c.change(bytes.Clone(whole))
			if bytes.Equal(data, whole) {
				t.Fatalf("nothing was changed in:\n%s", whole)
			}
			write(t, filepath.Join(root, c.file), data)
			_, err := open(t, root, c.file)
			checkError(t, err, c.want, c.file)
			checkQuiet(t, err, "plaintext-", "clear-")
		})
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
		s.reseal(t, fmt.Sprintf("v: value-%d\n", i))
		write(t, filepath.Join(root, fmt.Sprintf("%d.yaml", i)), s.bytes(t))
	}
	r := newReader(root)
	var wg sync.WaitGroup
	for n := range 40 {
		wg.Go(func() {
			name := fmt.Sprintf("%d.yaml", n%files)
			doc, err := r.open(t.Context(), name, io.Discard)
			if err != nil {
				t.Error(err)
				return
			}
			f := &sopsFile{name, doc}
			if got, err := f.lookup("v"); err != nil || got != fmt.Sprintf("value-%d", n%files) {
				t.Errorf("%s: %q, %v", name, got, err)
			}
			if text, err := doc.content(); err != nil || text != fmt.Sprintf("v: value-%d\n", n%files) {
				t.Errorf("%s: %q, %v", name, text, err)
			}
		})
	}
	wg.Wait()
	if got := touches(t, count); got != 1 {
		t.Errorf("the key was touched %d times for files with one data key", got)
	}
	if len(r.docs) != files {
		t.Errorf("%d documents for %d contents", len(r.docs), files)
	}
}

// A file that changed on disk is read anew.
func TestChangedFile(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	s := seal(t, "a.yaml", "v: first-value\n", id.Recipient().String())
	r := newReader(root)
	read := func() string {
		doc, err := r.open(t.Context(), "a.yaml", io.Discard)
		must(t, err)
		return get(t, &sopsFile{"a.yaml", doc}, "v")
	}
	write(t, filepath.Join(root, "a.yaml"), s.bytes(t))
	first := read()
	s.reseal(t, "v: second-value\n")
	write(t, filepath.Join(root, "a.yaml"), s.bytes(t))
	if second := read(); first != "first-value" || second != "second-value" {
		t.Errorf("read %q, then %q", first, second)
	}
	write(t, filepath.Join(root, "a.yaml"), bytes.Replace(s.bytes(t), []byte("mac: ENC"), []byte("mac: END"), 1))
	_, err := r.open(t.Context(), "a.yaml", io.Discard)
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
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", "v: value\n", id.Recipient().String()).bytes(t))
	var log bytes.Buffer
	doc, err := newReader(root).open(t.Context(), "a.yaml", &log)
	must(t, err)
	get(t, &sopsFile{"a.yaml", doc}, "v")
	if want := "infratest plugin: please touch the key\n"; log.String() != want {
		t.Errorf("log %q, want %q", log.String(), want)
	}

	t.Setenv("INFRATEST_HANG", "1")
	r := newReader(root)
	for range 2 { // the first hangs with the turn, the second waits for the turn
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err = r.open(ctx, "a.yaml", &log)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
			t.Errorf("a hanging plugin gave %v after %s", err, time.Since(began))
		}
	}

	t.Setenv("PATH", t.TempDir())
	_, err = newReader(root).open(t.Context(), "a.yaml", &log)
	checkError(t, err, "SOPS_AGE_KEY: an identity of age-plugin-infratest", "")
	checkError(t, err, `"infratest" plugin not found`, "updatekeys")
	checkQuiet(t, err, pluginKey, id.String())
}

// The library's log is silent; one of its warnings prints a comment's text.
func TestLibraryIsSilent(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	data := seal(t, "a.yaml", "# a comment\nv: value\n", id.Recipient().String()).bytes(t)
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

// Nothing is done before a plan asks.
func TestSpecsAreCheap(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Specs("/nowhere") }); n > 100 {
		t.Errorf("%.0f allocations to list the functions", n)
	}
}

// No path and no file makes the lookup fail but with an error of ours.
func FuzzLookup(f *testing.F) {
	id := withKey(f)
	root := f.TempDir()
	write(f, filepath.Join(root, "a.yaml"), seal(f, "a.yaml", lookupFixture, id.Recipient().String()).bytes(f))
	file, err := open(f, root, "a.yaml")
	must(f, err)
	for _, path := range []string{"", ".", "..", "db", "db.user", "list.0", "list.99999999999999999999", "a.b.c", "a.b.d", ".e", "\xff", "db.user.x.y"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		_, err := file.lookup(path)
		if err != nil {
			checkQuiet(t, err, "pw-value", "deep-value", "through-", "dotted-value", "empty-key-value", "first-value", "element-value", "inner-value")
		}
	})
}

func FuzzFile(f *testing.F) {
	id := withKey(f)
	for name, plain := range map[string]string{
		"a.yaml": lookupFixture, "a.json": `{"a": ["x", {"b": 1}]}`, "a.env": "A=b\n# c\n", "a.ini": "[s]\na = b\n", "a.bin": "\x00\xff",
	} {
		f.Add(name, seal(f, name, plain, id.Recipient().String()).bytes(f))
	}
	f.Add("a.yaml", []byte("a: &x [*x]\nsops: {}\n"))
	f.Add("a.env", []byte("sops_age__list_99999999__map_enc=x\n"))
	f.Add("a.json", []byte(`{"sops": {"kms": [{"arn": "x", "context": {"a": null}}], "lastmodified": "2024-01-02T03:04:05Z"}}`))
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if bytes.Contains(data, []byte("kms")) || bytes.Contains(data, []byte("vault")) || bytes.Contains(data, []byte("azure")) || bytes.Contains(data, []byte("pgp")) {
			return // would ask a cloud or start gpg
		}
		name = "f" + strings.ReplaceAll(filepath.Base(name), "\x00", "")
		if len(name) > 100 {
			return
		}
		write(t, filepath.Join(root, name), data)
		defer os.Remove(filepath.Join(root, name))
		r := newReader(root)
		doc, err := r.open(t.Context(), name, io.Discard)
		if err != nil {
			checkError(t, err, name, "")
			return
		}
		_, _ = doc.content()
		_, _ = (&sopsFile{name, doc}).lookup("a.0")
	})
}

// A file for a cloud's key with a part missing makes the library panic, not us.
func TestLibraryPanics(t *testing.T) {
	lonely(t)
	root := t.TempDir()
	data, err := json.Marshal(map[string]any{"a": "x", "sops": map[string]any{
		"kms":          []any{map[string]any{"arn": "arn:aws:kms:x", "created_at": "2024-01-02T03:04:05Z", "enc": "x", "context": map[string]any{"a": nil}}},
		"lastmodified": "2024-01-02T03:04:05Z", "mac": "x", "version": "3.13.3"}})
	must(t, err)
	write(t, filepath.Join(root, "a.json"), data)
	_, err = open(t, root, "a.json")
	checkError(t, err, "no key here can decrypt a.json", "updatekeys")
	checkError(t, err, "kms (damaged)", "")
}

package sops

import (
	"fmt"
	"path/filepath"
	"testing"
)

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
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", lookupFixture, id.Recipient().String()).Bytes(t))
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
			got, err := f.Value(c.path)
			if c.err != "" {
				checkError(t, err, c.err, c.hint)
				checkQuiet(t, err, "-value", "through-")
				return
			}
			must(t, err)
			if got != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestLongListsOfNamesAreCut(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	plain := ""
	for i := range 1000 {
		plain += fmt.Sprintf("name%d: v\n", i)
	}
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", plain, id.Recipient().String()).Bytes(t))
	f, err := open(t, root, "a.yaml")
	must(t, err)
	_, err = f.Value("quite.different")
	checkError(t, err, "no key", "name11, ... (1000 in all)")
	_, err = f.Value("nam17")
	checkError(t, err, "no key", "name17")
}

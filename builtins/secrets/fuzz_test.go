package secrets

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"infra/runtime"
)

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
		for _, value := range []string{"pw-value", "deep-value", "through-", "dotted-value", "empty-key-value", "first-value", "element-value", "inner-value"} {
			if err != nil && !strings.Contains(path, value) && strings.Contains(err.Error()+runtime.HintOf(err), value) {
				t.Errorf("the error shows the value %q: %v", value, err)
			}
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

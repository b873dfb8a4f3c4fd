package sops

import (
	"bytes"
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
	write(f, filepath.Join(root, "a.yaml"), seal(f, "a.yaml", lookupFixture, id.Recipient().String()).Bytes(f))
	file, err := open(f, root, "a.yaml")
	must(f, err)
	for _, path := range []string{"", ".", "..", "db", "db.user", "list.0", "list.99999999999999999999", "a.b.c", "a.b.d", ".e", "\xff", "db.user.x.y"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		_, err := file.Value(path)
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
		f.Add(name, seal(f, name, plain, id.Recipient().String()).Bytes(f))
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
		doc, err := open(t, root, name)
		if err != nil {
			checkError(t, err, name, "")
			return
		}
		_, _ = doc.Content()
		_, _ = doc.Value("a.0")
	})
}

// Whatever a file holds, its recipients are told or an error of ours is; what
// cannot be read is no reason for a panic.
func FuzzMetadata(f *testing.F) {
	ann, bob := newKey(f).Recipient().String(), newKey(f).Recipient().String()
	for name, plain := range map[string]string{
		"a.yaml": lookupFixture, "a.json": `{"a": ["x", {"b": 1}]}`, "a.env": "A=b\n# c\n", "a.ini": "[s]\na = b\n", "a.bin": "\x00\xff",
	} {
		f.Add(name, seal(f, name, plain, ann, bob).Bytes(f))
	}
	for _, kind := range []string{"kms", "gcp_kms", "azure_kv", "hc_vault", "pgp", "hckms", "age"} {
		f.Add("a.json", []byte(`{"sops": {"`+kind+`": [{"arn": "x", "fp": "y", "resource_id": "z", "context": {"a": null}}, null], "lastmodified": "2024-01-02T03:04:05Z"}}`))
		f.Add("a.json", []byte(`{"sops": {"key_groups": [{"`+kind+`": [{}]}, {}], "shamir_threshold": -1, "lastmodified": "2024-01-02T03:04:05Z"}}`))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		file := FileAt("", "f"+name)
		m, err := ReadMetadata(file, data)
		if err != nil {
			checkError(t, err, file.Name, "")
			return
		}
		for _, r := range m.Recipients {
			if r.Kind == "" || r.Group < 0 || r.Group >= m.Groups {
				t.Errorf("recipient %+v of %d groups", r, m.Groups)
			}
			_ = r.String()
		}
	})
}

// No path makes a file lose anything: it is set and reads back so, or it is
// refused and the file is as it was.
func FuzzSet(f *testing.F) {
	id := withKey(f)
	plain := map[string]string{"a.yaml": lookupFixture, "a.json": `{"a": ["x", {"b": 1}]}`, "a.env": "A=b\n# c\n", "a.ini": "[s]\na = b\n", "a.bin": "x"}
	for name := range plain {
		for _, path := range []string{"", "a", "a.b", "list.0", "list.1.k", "s.a", "s.new", "new.deep", "sops", "sops_mac", "a.1.b", "list.-1", "...", "\xff", "x\ny"} {
			f.Add(name, path, "value")
		}
	}
	f.Add("a.yaml", "a.x", "\x00\xff")
	f.Fuzz(func(t *testing.T, name, path, value string) {
		text, ok := plain[name]
		if !ok || strings.Contains(value, "‹secret ") {
			return
		}
		root := t.TempDir()
		was := seal(t, name, text, id.Recipient().String()).Bytes(t)
		write(t, filepath.Join(root, name), was)
		err := set(t, root, name, path, value)
		if err != nil {
			if now, err := os.ReadFile(filepath.Join(root, name)); err != nil || !bytes.Equal(now, was) {
				t.Errorf("it was refused and written all the same: %v", err)
			}
			return
		}
		doc, err := open(t, root, name)
		must(t, err)
		got := ""
		if name == "a.bin" {
			got, err = doc.Content()
		} else {
			got, err = doc.Value(path)
		}
		if err != nil || got != value {
			t.Errorf("set to %q, it reads %q, %v", value, got, err)
		}
	})
}

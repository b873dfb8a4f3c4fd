package clan

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"infra/builtins/internal/sops"
)

// fuzzNames are the parts of paths and links from which FuzzVars makes a
// repository.
var fuzzNames = []string{"vars", "per-machine", "shared", "sops", "users", "machines", "groups", "m", "g", "f", "alice",
	"value", "secret", "key.json", ".validation-hash", "..", ".", "/", "/etc", "", "x\xff", "\n", "secrets", "loop"}

// A world is a folder that a fuzzer's bytes fill.
type world struct {
	dir   string
	input []byte
}

func (w *world) next() byte {
	if len(w.input) == 0 {
		return 0
	}
	b := w.input[0]
	w.input = w.input[1:]
	return b
}

// path is of up to eight names; a common beginning saves the fuzzer the search.
func (w *world) path() string {
	begin := []string{"", "vars/per-machine/m/g/f", "vars/shared/g/f", "sops/users/alice", "sops/groups/g", "sops/machines/m"}
	parts := []string{begin[int(w.next())%len(begin)]}
	for range w.next() % 8 {
		parts = append(parts, fuzzNames[int(w.next())%len(fuzzNames)])
	}
	return strings.Join(parts, "/")
}

// fill makes folders, files and links. What cannot be made is left out.
func (w *world) fill() {
	for range 24 {
		if len(w.input) == 0 {
			return
		}
		kind, name := w.next()%4, filepath.Join(w.dir, w.path())
		if !strings.HasPrefix(name, w.dir+"/") {
			continue
		}
		_ = os.MkdirAll(filepath.Dir(name), 0o755)
		if real, err := filepath.EvalSymlinks(filepath.Dir(name)); err != nil || real != w.dir && !strings.HasPrefix(real, w.dir+"/") {
			continue // a link led out of it: nothing is written there
		}
		switch kind {
		case 0:
			_ = os.Mkdir(name, 0o755)
		case 1:
			_ = os.Symlink(w.path(), name)
		case 2:
			n := min(int(w.next()), len(w.input))
			_ = os.WriteFile(name, w.input[:n], 0o644)
			w.input = w.input[n:]
		case 3:
			texts := []string{"", "hash", `{"data":"","sops":{"mac":"x","age":[{"recipient":"r"}]}}`, `[{"publickey":"x","type":"age"}]`}
			_ = os.WriteFile(name, []byte(texts[int(w.next())%len(texts)]), 0o644)
		}
	}
}

// FuzzVars: whatever is in a repository, walking and checking it ends, does not
// panic and reads nothing outside of it.
func FuzzVars(f *testing.F) {
	f.Add([]byte("\x03\x01\x01\x0c\x02\x03\x03\x02\x0a\x0d\x03"))
	f.Add([]byte("\x01\x01\x01\x0b\x00\x01\x12"))
	f.Add([]byte("\x01\x00\x01\x00\x00\x01\x00"))
	f.Add([]byte("\x01\x01\x02\x04\x0a\x03\x00\x03\x03\x01\x0d\x03"))
	f.Add([]byte{1, 2, 0, 1, 18, 2, 3, 1, 13, 200, '{', '}'})
	hash := "hash"
	gen := map[string]generator{"g": {ValidationHash: &hash, Files: map[string]declared{"f": {true, true}, "value": {false, true}}}}
	shared := map[string]generator{"g": {Share: true, Files: map[string]declared{"f": {true, true}}}}
	wanted := map[string]wants{"m": {DefaultGroups: []string{"g", "..", ""}, Generators: gen}, "n": {Generators: shared}}
	f.Fuzz(func(t *testing.T, input []byte) {
		dir, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		(&world{dir, input}).fill()
		repo, err := openRepository(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer repo.close()
		begun := time.Now()
		for _, machine := range []string{"", "m"} {
			found, _ := repo.vars(machine)
			for _, v := range found {
				_, _ = repo.read(v.secretFile())
			}
		}
		_ = repo.noVar("m", "g/x")
		_, _ = repo.entries("m", wanted["m"])
		c := checker{repo: repo, open: func(name string, data []byte) (string, error) {
			inside(t, dir, name, data)
			_, err := sops.ReadMetadata(sops.File{Root: dir, Name: name, Format: sops.Binary}, data)
			return "", err
		}}
		for _, p := range c.check(wanted) {
			_, _ = p.String(), p.value()
		}
		for _, name := range []string{"vars/shared/g/f/value", "vars/per-machine/m/g/value/value", "sops/users/alice/key.json"} {
			if data, err := repo.read(name); err == nil {
				inside(t, dir, name, data)
			}
		}
		if took := time.Since(begun); took > 2*time.Minute {
			t.Errorf("it took %s", took)
		}
	})
}

// inside fails where what was read of a name does not lie below dir.
func inside(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	real, err := filepath.EvalSymlinks(filepath.Join(dir, name))
	if err != nil || !strings.HasPrefix(real, dir+"/") {
		t.Errorf("%d bytes were read of %s, which is %s: %v", len(data), name, real, err)
	}
}

// FuzzKeys: no key.json makes reading it panic, and what is taken for a key has
// no line break with which it could pass for two.
func FuzzKeys(f *testing.F) {
	f.Add([]byte(`[{"publickey": "age1wkth7uhpkl555g40t8hjsysr20drq286netu8zptw50lmqz7j95sw2t3l7", "type": "age"}]`))
	f.Add([]byte(`{"publickey": "0xABCDEF0123456789", "type": "pgp"}`))
	f.Add([]byte(`[null, {"type": 1}]`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseKeys(data)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		for _, key := range keys {
			if strings.Contains(strings.TrimSpace(key), "\n") || normal(key) == "" {
				t.Errorf("%q is a key", key)
			}
		}
	})
}

// FuzzSealed: no secret's file makes reading its metadata panic.
func FuzzSealed(f *testing.F) {
	f.Add([]byte(`{"data": "ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]", "sops": {"age": [{"recipient": "age1", "enc": "x"}], "lastmodified": "2026-01-01T00:00:00Z", "mac": "ENC[]", "version": "3.13.3"}}`))
	f.Add([]byte(`{"data": "", "sops": {"mac": "m", "key_groups": [{"age": [null]}]}}`))
	f.Add([]byte(`{"sops": null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseSealed(data)
		if err != nil && (len(s.recipients) > 0 || errors.Is(err, os.ErrNotExist)) {
			t.Errorf("%v, %v", s, err)
		}
		_, _ = sops.ReadMetadata(sops.File{Name: "secret", Format: sops.Binary}, data)
	})
}

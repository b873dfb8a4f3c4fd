package nix

import (
	"slices"
	"strings"
	"testing"
)

func TestPinned(t *testing.T) {
	for _, tt := range []struct{ locked, want string }{
		{`{"type":"github","owner":"NixOS","repo":"nixpkgs","rev":"0123456789abcdef0123","lastModified":1735689600,"narHash":"sha256-x"}`, "github:NixOS/nixpkgs 0123456789ab of 2025-01-01"},
		{`{"type":"git","url":"https://user:tok@git.example.org/a?token=tok","rev":"0123456789abcdef"}`, "https://git.example.org/a 0123456789ab"},
		{`{"type":"tarball","url":":bad://tok","narHash":"sha256-x"}`, "an address sha256-x"},
		{`{"type":"path","path":"/a","narHash":"sha256-x","lastModified":0}`, "path:/a sha256-x of 1970-01-01"},
		{`{"type":7}`, ""},
	} {
		l, err := parseLock([]byte(`{"root":"root","nodes":{"root":{"inputs":{"a":"a"}},"a":{"locked":` + tt.locked + `}}}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := pinned(l.Nodes["a"].Locked); got != tt.want {
			t.Errorf("%s is %q, want %q", tt.locked, got, tt.want)
		}
	}
}

func TestInputsOfALock(t *testing.T) {
	l, err := parseLock([]byte(`{"root":"r","nodes":{"r":{"inputs":{"a":"a","f":["a","n"]}},"a":{"inputs":{"n":"n_2"}},"n_2":{}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"a": true, "a/n": true, "f": true, "f/x": false, "n": false, "a/n/x": false, "n_2": false} {
		if l.has(strings.Split(path, "/")) != want {
			t.Errorf("%s: want %v", path, want)
		}
	}
}

// TestBrokenBuilders has what nix says of three checks, of which one fails, one
// needs what fails, and one is well: 2.8 first, then 2.34, in colour.
func TestBrokenBuilders(t *testing.T) {
	two := []string{"/nix/store/b-bad.drv", "/nix/store/a-worse.drv"}
	for said, want := range map[string][]string{
		`error: builder for '/nix/store/a-worse.drv' failed with exit code 4
error: 1 dependencies of derivation '/nix/store/c-dep.drv' failed to build
error: builder for '/nix/store/b-bad.drv' failed with exit code 3
error: build of '/nix/store/c-dep.drv', '/nix/store/b-bad.drv' failed`: two,
		`error: Cannot build '` + "\x1b[35;1m/nix/store/a-worse.drv\x1b[0m" + `'.
       Reason: builder failed with exit code 4.
error: failed to build attribute 'checks.x86_64-linux.dep', build of '/nix/store/c-dep.drv^*' failed: Cannot build '/nix/store/c-dep.drv'.
       Reason: 1 dependency failed.
error: failed to build attribute 'checks.x86_64-linux.bad', build of '/nix/store/b-bad.drv^*' failed: Cannot build '/nix/store/b-bad.drv'.
       Reason: builder failed with exit code 3.
error: build of '/nix/store/a-worse.drv^*' failed: Cannot build '/nix/store/a-worse.drv'.
       Reason: builder failed with exit code 4.`: two,
		"error: attribute 'x' missing": nil,
	} {
		if got := brokenBuilders(said); !slices.Equal(got, want) {
			t.Errorf("got %q of\n%s", got, said)
		}
	}
}

func FuzzLock(f *testing.F) {
	for _, seed := range []string{"", emptyLock, `{"root":"r","nodes":{"r":{"inputs":{"a":"a","f":["a"]}},"a":{"locked":{"type":"github","owner":"o","rev":"é"}}}}`, `{"root":1}`, "<<<<<<<"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseLock(text)
		if err != nil {
			return
		}
		l.has([]string{"a", "b"})
		if !l.same(l) || len(l.since(l)) > 0 {
			t.Error("it differs from itself")
		}
		empty, _ := parseLock(nil)
		for _, r := range append(l.since(empty), empty.since(l)...) {
			_ = r.String()
		}
	})
}

func TestLockFileIsWrittenAsNixDoes(t *testing.T) {
	const want = "{\n  \"a\": 9007199254740993,\n  \"url\": \"https://x/?a=1&b=<>\"\n}\n"
	if got, err := lockFile([]byte(`{"url":"https://x/?a=1&b=<>","a":9007199254740993}`)); err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
}

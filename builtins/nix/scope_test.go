package nix

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestLooks: what an installable makes nix look at here.
func TestLooks(t *testing.T) {
	base := t.TempDir()
	repo, plain := filepath.Join(base, "repo"), filepath.Join(base, "plain")
	for _, dir := range []string{".git", "sub/deep", "a b"} {
		if err := os.MkdirAll(filepath.Join(repo, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(plain, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(plain, "flake.nix"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(base, "link")
	if err := os.Symlink(plain, link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		flake, installable string
		looks              []string // nil is everything
		beyond             bool
	}{
		{repo, ".", []string{repo}, false},
		{repo + "/sub", ".#x", []string{repo}, false}, // a repository is read as a whole
		{repo, ".?dir=sub#x", []string{repo}, false},
		{plain, ".#x^out", []string{plain}, false},
		{plain, ".^out", []string{plain}, false},
		{plain + "/below", ".#x", []string{plain}, false}, // nix searches upwards
		{link, ".#x", []string{link, plain}, false},
		{plain, "./sub#x", []string{repo}, false}, // nix runs in the project
		{plain, "../plain#x", []string{plain}, false},
		{plain, "#x", []string{repo}, false},
		{plain, base + "/gone#x", []string{base + "/gone"}, false},
		{repo, "path:" + plain + "?x=y#z", []string{plain}, false},
		{repo, "path:../plain", []string{plain}, false},
		{plain, "git+file://" + repo + "?dir=sub#x", []string{repo}, false},
		{plain, "git+file:" + repo + "/a%20b#x", []string{repo}, false},
		{repo, out, []string{out}, false},
		{repo, out + "/bin/x", []string{out}, false},
		{repo, drv + "^*", []string{drv}, false},
		{repo, out + "#x", []string{out}, false},
		{repo, "github:NixOS/nixpkgs#hello", []string{}, true},
		{repo, "https://example.org/x.tar.gz#a", []string{}, true},
		{repo, "git+ssh://git@host/x?ref=main#a", []string{}, true},
		{"github:o/r", ".#x", []string{}, true},
		{repo, "nixpkgs#hello", nil, true}, // a registry may lead anywhere
		{repo, "flake:nixpkgs#hello", nil, true},
		{repo, "(known after nix.eval, a.star:2)", nil, true},
	} {
		m := module{flake: tt.flake, root: repo}
		installable, err := m.resolve(tt.installable)
		if err != nil {
			t.Fatal(err)
		}
		looks, beyond := m.looks(installable)
		if !slices.Equal(looks, tt.looks) || (looks == nil) != (tt.looks == nil) || beyond != tt.beyond {
			t.Errorf("%s of %s looks at %q, beyond = %v; want %q", tt.installable, tt.flake, looks, beyond, tt.looks)
		}
	}
}

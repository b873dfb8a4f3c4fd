package file

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestNames(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	for _, dir := range []string{"folder/sub", "away/deep"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"folder/far": root + "/away", "near": "folder/sub", "twice": "near/../far", "nowhere": "gone/there",
		"circle": "egg", "egg": "circle", "file": "twice/file",
	} {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		path string
		want []string // from the root
	}{
		{"plain", []string{"plain"}},
		{"new/folder/x", []string{"new/folder/x"}},
		{"folder//./sub/", []string{"folder/sub"}},
		{"near/x", []string{"near/x", "folder/sub/x"}},
		{"folder/far/deep/x", []string{"folder/far/deep/x", "away/deep/x"}},
		{"twice/x", []string{"twice/x", "away/x"}},
		{"file", []string{"file", "away/file"}},
		{"nowhere", []string{"nowhere", "gone/there"}},
		{"near/../x", []string{"x", "folder/x"}},
		{"circle/x", nil},
	} {
		var want []string
		for _, w := range tt.want {
			want = append(want, root+"/"+w)
		}
		for _, path := range []string{tt.path, root + "/" + tt.path} {
			if got := Names(path); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
	}
}

func TestBelow(t *testing.T) {
	for _, tt := range []struct {
		path  string
		names []string
		want  bool
	}{
		{"/a/b", []string{"/c", "/a"}, true}, {"/a", []string{"/a"}, true}, {"/a", []string{"/"}, true},
		{"/ab", []string{"/a"}, false}, {"/a", []string{"/a/b"}, false}, {"/a", nil, false},
	} {
		if got := Below(tt.path, tt.names); got != tt.want {
			t.Errorf("%s below %q: %v", tt.path, tt.names, got)
		}
	}
}

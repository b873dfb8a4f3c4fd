package preview

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"infra/runtime"
)

// files makes files below dir: names that end in / are folders, and "a -> b" is a link.
func files(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		link, to, linked := strings.Cut(name, " -> ")
		path := filepath.Join(dir, link)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case linked:
			err = os.Symlink(to, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, []byte(name), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// inputsShown are inputs by their paths from root: "x.yaml", "x.yaml absent", "machines/".
func inputsShown(t *testing.T, root string, inputs []Input) []string {
	t.Helper()
	var out []string
	for _, i := range inputs {
		name, err := filepath.Rel(root, i.Path)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case i.Tree:
			name += "/"
		case i.Missing:
			name += " absent"
		default:
			data, err := os.ReadFile(i.Path)
			if want := fmt.Sprintf("%x", sha256.Sum256(data)); err != nil || i.Digest != want {
				t.Errorf("%s has digest %q, want %s: %v", name, i.Digest, want, err)
			}
		}
		if (i.Tree || i.Missing) && i.Digest != "" {
			t.Errorf("%s has a digest", name)
		}
		out = append(out, name)
	}
	return out
}

func TestInputs(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "project")
	files(t, root, "x.yaml", "y.yaml", "out.txt", "machines/a/b.nix", "tf/main.tf", ".git/HEAD", "sub/.git/HEAD", ".infra/journal.db",
		"link.yaml -> ../secret.yaml", "same.yaml -> x.yaml")
	files(t, dir, "secret.yaml", "plain/x", "flake/flake.nix", "flake/.git/HEAD", "used/flake.nix", "named/flake.nix")
	for name, text := range map[string]string{
		"flake/flake.lock": `{"nodes": {"used": {"locked": {"type": "path", "path": "` + dir + `/used"}, "original": {"type": "path", "path": "../used"}, "parent": []},
			"deep": {"locked": {"type": "path", "path": "../plain"}, "parent": ["used"]}, "here": {"locked": {"type": "path", "path": "./sub"}},
			"up": {"locked": {"type": "path", "path": ".."}}, "store": {"locked": {"type": "path", "path": "/nix/store"}},
			"nixpkgs": {"locked": {"type": "github", "path": "` + dir + `/plain"}}, "root": {"inputs": {"used": "used"}}}}`,
		"flake/flake.nix": `{ inputs.named.url = "path:../named?dir=x"; inputs.gone.url = "path:../gone"; text = "../plain"; }`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	at := func(names ...string) []string {
		out := []string{}
		for _, n := range names {
			out = append(out, filepath.Join(root, n))
		}
		return out
	}
	read := func(looks ...string) runtime.Op { return runtime.Op{Looks: at(looks...), Alters: runtime.Nothing} }
	write := func(alters ...string) runtime.Op {
		return runtime.Op{Effect: runtime.Change, Looks: at(alters...), Alters: at(alters...)}
	}
	with := func(op runtime.Op, edit func(*runtime.Op)) runtime.Op { edit(&op); return op }
	needs := func(op *runtime.Op) { op.Needs, op.Looks, op.Alters = &runtime.Unknown{}, nil, nil }
	for _, tt := range []struct {
		name         string
		ops          []runtime.Op
		want, writes []string
	}{
		{"files, one of them not there", []runtime.Op{read("x.yaml"), read("new/z.yaml", "x.yaml")}, []string{"new/z.yaml absent", "x.yaml"}, nil},
		{"a link out of the project", []runtime.Op{read("link.yaml", "../secret.yaml")}, []string{"link.yaml"}, nil},
		{"a file by two names", []runtime.Op{read("same.yaml", "x.yaml")}, []string{"same.yaml", "x.yaml"}, nil},
		{"a folder, and a folder and a file in it", []runtime.Op{read("machines"), read("machines/a"), read("machines/a/b.nix")}, []string{"machines/", "machines/a/b.nix"}, nil},
		{"elsewhere", []runtime.Op{read("../plain", "../plain/x", "../none"), {Looks: []string{"/nix/store"}}}, nil, nil},
		{"what is infra's and git's", []runtime.Op{read(".git/HEAD", "sub/.git/HEAD", ".infra/journal.db", ".infra")}, nil, nil},
		{"what a host is given", []runtime.Op{{Host: "mac", Effect: runtime.Change, Looks: at("y.yaml"), Alters: at("y.yaml"), Here: at("x.yaml")}}, []string{"x.yaml"}, nil},
		{"a prediction", []runtime.Op{{Effect: runtime.Build, Looks: at("x.yaml"), Alters: []string{"/nix/store"}}}, []string{"x.yaml"}, nil},
		{"what the plan writes", []runtime.Op{read("out.txt", "x.yaml"), write("out.txt", "new.txt"), write("machines/a"), read("machines/a/b.nix", "machines")},
			[]string{"machines/", "x.yaml"}, []string{"machines/a", "new.txt", "out.txt"}},
		{"a folder that is read and written", []runtime.Op{read("tf"), write("tf")}, []string{"tf/"}, nil},
		{"anything", []runtime.Op{{Alters: nil}, {Effect: runtime.Change, Looks: runtime.Nothing}}, []string{"./"}, nil},
		{"what is not known yet", []runtime.Op{with(read("x.yaml"), needs), with(write("x.yaml"), needs)}, nil, nil},
		{"a folder round the project", []runtime.Op{{Looks: []string{"/", dir}}}, []string{"./"}, nil},
		{"a flake elsewhere", []runtime.Op{read("../flake")}, []string{"../flake/", "../named/", "../used/"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := NewWatching(root)
			for _, op := range tt.ops {
				c.Look(op)
			}
			if got := inputsShown(t, root, c.Inputs()); !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			var writes []string
			for _, w := range c.Writes() {
				rel, _ := filepath.Rel(root, w)
				writes = append(writes, rel)
			}
			if !slices.Equal(writes, tt.writes) {
				t.Errorf("it writes %q, want %q", writes, tt.writes)
			}
		})
	}
}

// TestALookIsOfItsTime: the digests are of what was there when it was looked at,
// and those of a document are only of what reads look at.
func TestALookIsOfItsTime(t *testing.T) {
	t.Parallel()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	files(t, root, "read.txt", "here.txt", "both.txt", "folder/")
	path := func(name string) string { return filepath.Join(root, name) }
	c := NewWatching(root)
	c.Read(runtime.Event{Kind: runtime.RunStarted, Start: &runtime.RunStart{Steps: []*runtime.Step{{Name: "s"}}}})
	for _, op := range []runtime.Op{
		{Host: "mac", Effect: runtime.Change, Here: []string{path("here.txt"), path("both.txt")}, Looks: []string{path("here.txt")}},
		{Effect: runtime.Build, Looks: []string{path("here.txt")}},
		{Looks: []string{path("read.txt"), path("both.txt"), path("folder"), path("none")}},
	} {
		c.Read(runtime.Event{Kind: runtime.OpAsked, Step: "s", Op: &runtime.OpEvent{Op: op}})
	}
	for _, name := range []string{"read.txt", "here.txt", "both.txt"} {
		if err := os.WriteFile(path(name), []byte("edited"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files(t, root, "again.txt -> both.txt")
	c.Look(runtime.Op{Effect: runtime.Build, Looks: []string{path("again.txt")}}) // no file is read twice, and what was seen first counts
	digest := func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
	want := []Input{{Path: path("again.txt"), Digest: digest("both.txt")}, {Path: path("both.txt"), Digest: digest("both.txt")}, {Path: path("folder"), Tree: true},
		{Path: path("here.txt"), Digest: digest("here.txt")}, {Path: path("none"), Missing: true}, {Path: path("read.txt"), Digest: digest("read.txt")}}
	if got := c.Inputs(); !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	d := new(Document)
	if err := c.Fill(d); err != nil {
		t.Fatal(err)
	}
	if want := []runtime.Source{{Path: "both.txt", SHA256: digest("both.txt")}, {Path: "read.txt", SHA256: digest("read.txt")}}; !slices.Equal(d.Files, want) {
		t.Errorf("got  %+v\nwant %+v", d.Files, want)
	}
}

// FuzzLocalInputs: a lock file and a flake.nix can hold anything.
func FuzzLocalInputs(f *testing.F) {
	f.Add([]byte(`{"nodes": {"a": {"locked": {"type": "path", "path": "./a"}, "parent": []}}, "version": 7}`))
	f.Add([]byte(`{ inputs.a.url = "path:./a"; inputs.b.url = "../b"; }`))
	f.Add([]byte(`{"nodes": {"a": {"original": {"type": 1}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, dir := range append(lockedInputs("/p", data), writtenInputs("/p", data)...) {
			if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
				t.Errorf("%q names %q", data, dir)
			}
		}
	})
}

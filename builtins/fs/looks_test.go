package fs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"infra/builtins/fs"
	"infra/builtins/internal/calltest"
	"infra/runtime"
)

// tree makes a project with links in it, beside a folder that is not its own.
func tree(t *testing.T) string {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(top, "project")
	put(t, root, "docs/a.md", "a", 0o644)
	put(t, root, "docs/sub/b.md", "b", 0o644)
	put(t, top, "away/c.md", "c", 0o644)
	put(t, top, "away/sub/d.md", "d", 0o644)
	for name, target := range map[string]string{"link": "docs", "docs/far": "../../away", "a": "docs/a.md", "hole": "away/new"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestLooksMeetAlters: whatever a change really alters the answer of, be it a
// read's or a prediction, looks at what the change says that it alters. And
// what it leaves alone is not all held to be altered.
func TestLooksMeetAlters(t *testing.T) {
	changes := []string{
		`fs.write("docs/a.md", "new")`, `fs.write("link/a.md", "new")`, `fs.write("a", "new")`, `fs.write("docs/new/x", "new")`,
		`fs.write("docs/far/c.md", "new")`, `fs.write(root + "/../away/new/x.md", "new")`, `fs.write("link/sub/b.md", "new", mode = "0600")`,
		`fs.write("new", "new")`, `fs.write("docs/far/sub/n.md", "new")`, `fs.write("out/deep/x", "new")`,
	}
	asks := []string{
		`fs.read("docs/a.md")`, `fs.read("link/a.md")`, `fs.read("a")`, `fs.read("docs/far/c.md")`, `fs.read(root + "/../away/c.md")`,
		`fs.exists("docs/new")`, `fs.exists("new")`, `fs.exists("out")`, `fs.exists("out/deep/y")`, `fs.exists("docs/far/new/x.md")`,
		`fs.glob("docs/*")`, `fs.glob("*")`, `fs.glob("*/a.md")`, `fs.glob("docs/*/*.md")`, `fs.glob("*/far/*")`, `fs.glob("docs/*/*/*")`,
		`fs.glob("docs/new/x")`, `fs.glob("out/*/x")`, `fs.glob("no*/*/*")`,
		`fs.write("docs/a.md", "other")`, `fs.write("link/sub/b.md", "b")`, `fs.write("docs/new/x", "new")`, `fs.write("new", "new")`,
	}
	altered, apart := 0, 0
	for _, change := range changes {
		for _, ask := range asks {
			root := tree(t)
			before, looks := answer(t, root, ask)
			made := new(calltest.Door)
			made.Must(t, fs.Specs(root), project(root, change))
			after, _ := answer(t, root, ask)
			meet := calltest.Meets(looks, made.Ops[0].Alters)
			if before != after {
				altered++
			}
			if !meet {
				apart++
			}
			if before != after && !meet {
				t.Errorf("%s alters %s\n  %s\n->%s\nbut %q is apart from %q", change, ask, before, after, made.Ops[0].Alters, looks)
			}
		}
	}
	if altered < 25 || apart < 100 {
		t.Errorf("of %d pairs %d altered something and %d were told apart", len(changes)*len(asks), altered, apart)
	}
}

func project(root, code string) string { return fmt.Sprintf("root = %q\nx = %s", root, code) }

// answer is what a dry run shows for one call, and what that looks at.
func answer(t *testing.T, root, code string) (string, []string) {
	t.Helper()
	d := &calltest.Door{DryRun: true}
	globals, err := d.Run(t, fs.Specs(root), project(root, code))
	said := fmt.Sprint(globals["x"], err)
	for _, p := range d.Predictions {
		said += " " + p.Verdict.String() + " " + p.Detail
	}
	if op := d.Ops[0]; op.Effect == runtime.Read && (op.Alters == nil || len(op.Alters) > 0) {
		t.Errorf("%s: a read alters %q", code, op.Alters)
	}
	return said, d.Ops[0].Looks
}

func TestGlobLooksAtNoMoreThanItLists(t *testing.T) {
	root := tree(t)
	away := filepath.Join(filepath.Dir(root), "away")
	for _, tt := range []struct {
		pattern string
		want    []string
	}{
		{"docs/*.md", []string{root + "/docs"}},
		{"docs/sub/*", []string{root + "/docs/sub"}},
		{"docs/*/*.md", []string{root + "/docs", away}},
		{"link/*", []string{root + "/link", root + "/docs"}},
		{"docs/a.md", []string{root + "/docs/a.md"}},
	} {
		d := new(calltest.Door)
		d.Must(t, fs.Specs(root), fmt.Sprintf("fs.glob(%q)", tt.pattern))
		if got := d.Ops[0].Looks; !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.pattern, got, tt.want)
		}
	}
}

package fs_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"infra/builtins/fs"
	"infra/builtins/internal/calltest"
	"infra/runtime"
)

func TestSpecsAreComplete(t *testing.T) { calltest.Complete(t, fs.Specs(t.TempDir())) }

func TestOps(t *testing.T) {
	root := t.TempDir()
	put(t, root, "a.txt", "x", 0o644)
	for _, tt := range []struct{ code, op string }{
		{`fs.read("a.txt")`, `read fs.read here | a.txt | {"path":"a.txt"}`},
		{`fs.exists("a.txt")`, `read fs.exists here | a.txt | {"path":"a.txt"}`},
		{`fs.glob("*.txt")`, `read fs.glob here | *.txt | {"pattern":"*.txt"}`},
		{`fs.write("b", "text")`, `change fs.write here | b | {"content":"text","path":"b"}`},
		{`fs.write("b", content = "text", mode = "0600")`, `change fs.write here | b | {"content":"text","mode":"0600","path":"b"}`},
		{`fs.write("b", token)`, `change fs.write here | b | {"content":"‹secret token›","path":"b"}`},
	} {
		d := &calltest.Door{Names: starlark.StringDict{"token": runtime.NewSecret("token", "s3cr3t-fs")}}
		d.Must(t, fs.Specs(root), tt.code)
		if got := d.Last(t); got != tt.op {
			t.Errorf("%s\n got %s\nwant %s", tt.code, got, tt.op)
		}
	}
}

func TestReadExistsGlob(t *testing.T) {
	root := t.TempDir()
	put(t, root, "docs/b.md", "bee", 0o644)
	put(t, root, "docs/a.md", "\xff", 0o644)
	if err := os.Symlink("nowhere", filepath.Join(root, "dangling")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ code, want string }{
		{`x = fs.read("docs/b.md")`, `"bee"`},
		{`x = len(fs.read("docs/a.md"))`, `1`},
		{`x = fs.read("` + root + `/docs/b.md")`, `"bee"`},
		{`x = fs.exists("docs")`, `True`},
		{`x = fs.exists("docs/c.md")`, `False`},
		{`x = fs.exists("dangling")`, `False`},
		{`x = fs.glob("docs/*.md")`, `["docs/a.md", "docs/b.md"]`},
		{`x = fs.glob("./docs/?.md")`, `["docs/a.md", "docs/b.md"]`},
		{`x = fs.glob("none/*")`, `[]`},
	} {
		got := new(calltest.Door).Must(t, fs.Specs(root), tt.code)["x"].String()
		if got != tt.want {
			t.Errorf("%s = %s, want %s", tt.code, got, tt.want)
		}
	}
}

func TestErrors(t *testing.T) {
	root := t.TempDir()
	put(t, root, "big", strings.Repeat("x", 8<<20+1), 0o644)
	put(t, root, "dir/file", "", 0o644)
	for _, tt := range []struct{ code, want, hint string }{
		{`fs.read("gone")`, "no such file", "project's root"},
		{`fs.read("big")`, "more than the 8 MiB", ""},
		{`fs.glob("**/x")`, "** is not supported", "one *"},
		{`fs.glob("../x")`, "leaves the project's root", ""},
		{`fs.glob("[")`, "syntax error in pattern", ""},
		{`fs.write("x", "y", mode = "rw")`, `"rw" is no file mode`, ""},
		{`fs.write("x", "y", mode = "4755")`, `"4755" is no file mode`, ""},
		{`fs.write("dir", "y")`, "is no file", ""},
		{`fs.write("dir/file/x", "y")`, "not a directory", ""},
	} {
		_, err := new(calltest.Door).Run(t, fs.Specs(root), tt.code)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.code, err, tt.want)
			continue
		}
		if hint := runtime.HintOf(err); !strings.Contains(hint, tt.hint) {
			t.Errorf("%s: hint %q, want %q", tt.code, hint, tt.hint)
		}
	}
}

// TestWhetherAFileWasWritten: what was in flight is read back.
func TestWhetherAFileWasWritten(t *testing.T) {
	root := t.TempDir()
	const code = `fs.write("f", "whole\n", mode = "0600")`
	for _, tt := range []struct {
		name, have string
		mode       os.FileMode
		fate       runtime.Fate
	}{
		{"it was", "whole\n", 0o600, runtime.Done},
		{"another is there", "old\n", 0o600, runtime.NotDone},
		{"its mode is another", "whole\n", 0o644, runtime.NotDone},
		{"none is there", "", 0, runtime.NotDone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_ = os.Remove(filepath.Join(root, "f"))
			if tt.mode != 0 {
				put(t, root, "f", tt.have, tt.mode)
			}
			d := calltest.Door{DryRun: true}
			d.Must(t, fs.Specs(root), code)
			fate, res, err := d.Ops[0].Settle(t.Context(), io.Discard)
			if fate != tt.fate || err != nil || res.Changed != (fate == runtime.Done) {
				t.Errorf("got %v, %v, %v", fate, res, err)
			}
		})
	}
}

// TestWrite: what the preview says is what the run does, and a second run does nothing.
func TestWrite(t *testing.T) {
	token := runtime.NewSecret("token", "s3cr3t-fs-write")
	for _, tt := range []struct {
		name, code, path string
		mode             os.FileMode // of the file that is there; 0 for none
		have             string
		verdict          runtime.Verdict
		detail, after    string
	}{
		{"new", `fs.write("new/f", "one\n")`, "new/f", 0, "", runtime.WillChange,
			"new file: 4 bytes, mode 0644\n--- /dev/null\n+++ new/f\n@@ -0,0 +1,1 @@\n+one", "one\n"},
		{"new and empty", `fs.write("f", "")`, "f", 0, "", runtime.WillChange, "new file: 0 bytes, mode 0644", ""},
		{"new and private", `fs.write("f", "one", mode = "0600")`, "f", 0, "", runtime.WillChange, "new file: 3 bytes, mode 0600", "one"},
		{"new and binary", `fs.write("f", "a\x00b")`, "f", 0, "", runtime.WillChange, "new file: 3 bytes (sha256 59b271ae1bbc), mode 0644", "a\x00b"},
		{"new and long", `fs.write("f", "x" * 70000)`, "f", 0, "", runtime.WillChange,
			"new file: 70000 bytes (sha256 bca09f4a757d), mode 0644", strings.Repeat("x", 70_000)},
		{"new secret", `fs.write("f", token, mode = "0600")`, "f", 0, "", runtime.WillChange, "new file: ‹secret token›, mode 0600", "s3cr3t-fs-write"},
		{"equal", `fs.write("f", "one\n")`, "f", 0o644, "one\n", runtime.NoChange, "", "one\n"},
		{"mode", `fs.write("f", "one\n", mode = "0600")`, "f", 0o644, "one\n", runtime.WillChange, "mode 0644 -> 0600", "one\n"},
		{"text", `fs.write("f", "one\ntwo\n")`, "f", 0o644, "one\n", runtime.WillChange, "--- f\n+++ f\n@@ -1,1 +1,2 @@\n one\n+two", "one\ntwo\n"},
		{"private", `fs.write("f", "one\n", mode = "0600")`, "f", 0o600, "old", runtime.WillChange, "content differs (3 -> 4 bytes); not shown, the file is private", "one\n"},
		{"to secret", `fs.write("f", token)`, "f", 0o644, "old", runtime.WillChange, "content -> ‹secret token›", "s3cr3t-fs-write"},
		{"binary", `fs.write("f", "one")`, "f", 0o644, "a\x00b", runtime.WillChange, "content: 3 bytes (sha256 59b271ae1bbc) -> 3 bytes (sha256 7692c3ad3540)", "one"},
		{"long", `fs.write("f", "one")`, "f", 0o644, strings.Repeat("x", 70_000), runtime.WillChange, "content: 70000 bytes (sha256 bca09f4a757d) -> 3 bytes (sha256 7692c3ad3540)", "one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			if tt.mode != 0 {
				put(t, root, tt.path, tt.have, tt.mode)
			}
			names := starlark.StringDict{"token": token}
			dry := &calltest.Door{DryRun: true, Names: names}
			previewed := dry.Must(t, fs.Specs(root), "x = "+tt.code)["x"].String()
			p := dry.Predictions[0]
			if p.Verdict != tt.verdict || p.Detail != tt.detail {
				t.Errorf("predicted %v %q, want %v %q", p.Verdict, p.Detail, tt.verdict, tt.detail)
			}
			if tt.mode == 0 {
				if _, err := os.Stat(filepath.Join(root, tt.path)); err == nil {
					t.Error("the dry run wrote the file")
				}
			}
			run := &calltest.Door{Names: names}
			got := run.Must(t, fs.Specs(root), "x = "+tt.code)["x"].String()
			if got != previewed {
				t.Errorf("ran to %s, previewed %s", got, previewed)
			}
			if changed := tt.verdict == runtime.WillChange; run.Results[0].Changed != changed {
				t.Errorf("changed = %v", run.Results[0].Changed)
			}
			check(t, filepath.Join(root, tt.path), tt.after)
			again := new(calltest.Door)
			again.Names = names
			again.Must(t, fs.Specs(root), tt.code)
			if again.Results[0].Changed {
				t.Error("the second run changed it again")
			}
		})
	}
}

// TestWriteOwner: the owner that a replaced file loses is foreseen.
func TestWriteOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root can give files away")
	}
	root := t.TempDir()
	put(t, root, "f", "old\n", 0o600)
	if err := os.Chown(filepath.Join(root, "f"), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	dry := &calltest.Door{DryRun: true}
	dry.Must(t, fs.Specs(root), `fs.write("f", "old\n", mode = "0600")`)
	if p := dry.Predictions[0]; p.Verdict != runtime.NoChange {
		t.Fatalf("predicted %v %q", p.Verdict, p.Detail)
	}
	for _, want := range []string{"mode 0600 -> 0644\nowner nobody -> root", "mode 0644 -> 0640"} {
		code := fmt.Sprintf(`fs.write("f", "old\n", mode = %q)`, want[13:17])
		dry.Must(t, fs.Specs(root), code)
		if got := dry.Predictions[len(dry.Predictions)-1].Detail; got != want {
			t.Errorf("predicted %q, want %q", got, want)
		}
		new(calltest.Door).Must(t, fs.Specs(root), code)
	}
}

// TestWriteRefused: where a run cannot write, a dry run does not say that it will.
func TestWriteRefused(t *testing.T) {
	root := t.TempDir()
	put(t, root, "file", "", 0o644)
	if err := os.Symlink("nowhere", filepath.Join(root, "hole")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ code, want string }{
		{`fs.write("file/x", "y")`, "not a directory"},
		{`fs.write("file/deep/x", "y")`, "not a directory"},
		{`fs.write("hole/x", "y")`, "leads nowhere"},
		{`fs.write("hole/deep/x", "y")`, "leads nowhere"},
		{`fs.write("a\x00b", "y")`, "invalid argument"},
	} {
		if _, err := new(calltest.Door).Run(t, fs.Specs(root), tt.code); err == nil {
			t.Errorf("%s: the run does it", tt.code)
		}
		_, err := (&calltest.Door{DryRun: true}).Run(t, fs.Specs(root), tt.code)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: the dry run says %v, want %q", tt.code, err, tt.want)
		}
	}
}

func TestWriteKeepsLinksAndLeavesNothingBehind(t *testing.T) {
	root := t.TempDir()
	put(t, root, "real", "old", 0o644)
	if err := os.Symlink("real", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	new(calltest.Door).Must(t, fs.Specs(root), `fs.write("link", "new")`)
	check(t, filepath.Join(root, "real"), "new")
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Errorf("the folder holds %v, want link and real", entries)
	}
	if info, err := os.Lstat(filepath.Join(root, "link")); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is no link any more: %v %v", info, err)
	}
}

func put(t *testing.T, root, name, content string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q (%v), want %q", path, got, err, want)
	}
}

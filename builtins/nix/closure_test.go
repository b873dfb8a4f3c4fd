package nix_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"infra/builtins/internal/calltest"
	"infra/builtins/nix"
)

func TestClosureAndDiff(t *testing.T) {
	specs := nix.Specs(nil, "", project(t), "")
	d := &calltest.Door{}
	globals := d.Must(t, specs, `
old, new = nix.build(".#old"), nix.build(".#new")
c = nix.closure(new)
paths, size = c.paths, c.size
names = [p.split("-", 1)[1] for p in paths]
diff = nix.diff(old, new)
same = nix.diff(new, new)
`)
	if got := globals["names"].(*starlark.List); got.Len() != 3 || got.Index(2).String() != `"system-25.11.77"` {
		t.Errorf("the closure is %s", got)
	}
	if size, _ := starlark.AsInt32(globals["size"]); size < 300 || size > 3000 {
		t.Errorf("the closure has %d bytes", size)
	}
	if got, want := text(t, globals, "diff"), "hello: added 1.0\nlib: 1.0 -> 1.1\nsystem: 25.11.2 -> 25.11.77"; got != want {
		t.Errorf("diff:\n%s\nwant:\n%s", got, want)
	}
	if got := text(t, globals, "same"); got != "" {
		t.Errorf("a system differs from itself in %q", got)
	}
}

func text(t *testing.T, globals starlark.StringDict, name string) string {
	t.Helper()
	s, ok := starlark.AsString(globals[name])
	if !ok {
		t.Fatalf("%s is %v", name, globals[name])
	}
	return s
}

// TestACacheThatIsBusy: what only fails because another nix evaluates the same
// flake is evaluated once more, without nix's cache; no other failure is.
func TestACacheThatIsBusy(t *testing.T) {
	specs := nix.Specs(nil, "", project(t), "")
	bin := t.TempDir()
	calls := filepath.Join(bin, "calls")
	for _, tt := range []struct {
		said, want string
		calls      int
	}{
		{"error (ignored): error: SQLite database '/c/nix/eval-cache-v2/2675.sqlite' is busy\nerror: attribute 'packages.x' is unexpectedly missing", "", 2},
		{"error: SQLite database '/nix/var/nix/db/db.sqlite' is busy", "db.sqlite' is busy", 1},
		{"error: attribute 'packages.x' is unexpectedly missing", "unexpectedly missing", 1},
	} {
		script := "#!/bin/sh\necho \"$*\" >> " + calls + "\ncase \"$*\" in *'--option eval-cache false'*) echo 7; exit 0;; esac\ncat >&2 <<'END'\n" + tt.said + "\nEND\nexit 1\n"
		if err := os.WriteFile(filepath.Join(bin, "nix"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		globals, err := new(calltest.Door).Run(t, specs, `x = nix.eval(".#data")`)
		if tt.want == "" && (err != nil || globals["x"].String() != "7") || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, %v", tt.said, globals["x"], err)
		}
		text, err := os.ReadFile(calls)
		if n := strings.Count(string(text), "\n"); err != nil || n != tt.calls {
			t.Errorf("%s: %d calls\n%s", tt.said, n, text)
		}
		_ = os.Remove(calls)
	}
}

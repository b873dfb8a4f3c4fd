package nix

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/calltest"
)

// whole is a flake that tells all that it can see of itself.
const whole = `{ outputs = { self }: {
  all = { inherit (self) outPath lastModified narHash; rev = self.rev or self.dirtyRev or "none"; dir = toString ./.; text = builtins.readFile ./text; };
  drv = builtins.derivation { name = "d"; system = "x86_64-linux"; builder = "/bin/sh"; src = self; };
  bad = throw "no such luck";
  n = builtins.listToAttrs (map (n: { name = "h${toString n}"; value = n; }) (builtins.genList (n: n) 20));
}; }
`

// plainFlake makes the folder of a flake with the text, and waits until it counts as written.
func plainFlake(t *testing.T, text string) (root, flake string) {
	t.Helper()
	t.Setenv("NIX_CONFIG", "substituters =\nsandbox = false\nbuild-users-group =\nexperimental-features =\n")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	root = t.TempDir()
	flake = filepath.Join(root, "flake")
	if err := os.MkdirAll(filepath.Join(flake, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"flake.nix", "sub/flake.nix"} {
		writeFile(t, filepath.Join(flake, name), []byte(whole))
	}
	writeFile(t, filepath.Join(flake, "sub/text"), []byte("below"))
	writeFile(t, filepath.Join(flake, "text"), []byte(text))
	settle(t, flake)
	return root, flake
}

func writeFile(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// settle waits until what is written has an age that shows.
func settle(t *testing.T, folder string) {
	t.Helper()
	for folderState(folder, "", time.Now()) == "" {
		if t.Context().Err() != nil {
			t.Fatal("it never does")
		}
		time.Sleep(time.Millisecond)
	}
}

func evaluated(t *testing.T, m Module, code string) (string, string, error) {
	t.Helper()
	var d calltest.Door
	v, err := d.Run(t, m.Specs(), "x = "+code)
	if err != nil {
		return "", d.Log.String(), err
	}
	if s, ok := v["x"].(starlark.HasAttrs); ok && strings.HasPrefix(code, "nix.build") {
		drv, err := s.Attr("drv")
		return fmt.Sprint(drv), d.Log.String(), err
	}
	return v["x"].String(), d.Log.String(), nil
}

// copyNow is the reference that nix is given for a flake, where it is not the flake's own.
func (n Module) copyNow(ref string) string { return n.snapshots.at(ref).copy }

// TestCopyIsTheSame: whatever a flake can see of itself does not tell the copy from it, and
// what is no plain folder has no copy.
func TestCopyIsTheSame(t *testing.T) {
	root, flake := plainFlake(t, "above")
	git := func(dir string) {
		t.Helper()
		for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"-c", "user.email=a@b", "-c", "user.name=a", "commit", "-q", "-m", "x"}} {
			c := exec.CommandContext(t.Context(), "git", args...)
			c.Dir = dir
			if out, err := c.CombinedOutput(); err != nil {
				t.Fatalf("git %q: %v\n%s", args, err, out)
			}
		}
	}
	for _, dir := range []string{"clean", "dirty", "within"} {
		if err := os.CopyFS(filepath.Join(root, dir), os.DirFS(flake)); err != nil {
			t.Fatal(err)
		}
		git(filepath.Join(root, dir))
	}
	writeFile(t, filepath.Join(root, "dirty", "text"), []byte("other"))
	if err := os.Symlink(flake, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	settle(t, root)
	for _, tt := range []struct {
		ref    string
		copied bool
	}{
		{flake, true}, {flake + "/sub", true}, {"path:" + flake, true}, {"path:" + flake + "?dir=sub", true}, {"path:" + root + "/within", true},
		{root + "/clean", false}, {root + "/dirty", false}, {root + "/clean/sub", false}, {"git+file://" + root + "/dirty", false},
	} {
		m := New(Config{Root: root})
		want, _, err := evaluated(t, New(Config{Root: root}), `nix.eval("`+tt.ref+`#all")`)
		if err != nil {
			if !strings.Contains(err.Error(), "unsupported parameter 'dir'") { // as nix 2.8 has it
				t.Errorf("%s: %v", tt.ref, err)
			}
			continue
		}
		drv, _, _ := evaluated(t, New(Config{Root: root}), `nix.eval("`+tt.ref+`#drv.drvPath")`)
		for i := range 3 {
			if got, _, err := evaluated(t, m, `nix.eval("`+tt.ref+`#all")`); err != nil || got != want {
				t.Errorf("%s, for the %d. time: %v\n got %s\nwant %s", tt.ref, i+1, err, got, want)
			}
		}
		if got, _, err := evaluated(t, m, `nix.eval("`+tt.ref+`#drv.drvPath")`); err != nil || got != drv {
			t.Errorf("%s: %v\n got %s\nwant %s", tt.ref, err, got, drv)
		}
		if s := m.snapshots.at(tt.ref); (s.copy != "") != tt.copied || s.never {
			t.Errorf("%s has the copy %q, and is trusted: %v", tt.ref, s.copy, !s.never)
		}
	}
}

// TestCopyOfWhatChanges: each change is seen at once, also one that leaves the size and the time of a file.
func TestCopyOfWhatChanges(t *testing.T) {
	root, flake := plainFlake(t, "text0")
	text, m := filepath.Join(flake, "text"), New(Config{Root: root})
	then, err := os.Stat(text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		want := fmt.Sprintf(`"text%d"`, i/2)
		for range 1 + 2*(i%2) { // so that there is a copy before some changes, and none before others
			if got, _, err := evaluated(t, m, `nix.eval("`+flake+`#all.text")`); err != nil || got != want {
				t.Fatalf("%s, want %s: %v", got, want, err)
			}
		}
		if i%2 == 0 {
			settle(t, flake)
			continue
		}
		if m.copyNow(flake) == "" {
			t.Errorf("there is no copy with %s", want)
		}
		writeFile(t, text, fmt.Appendf(nil, "text%d", (i+1)/2))
		if err := os.Chtimes(text, then.ModTime(), then.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCopyFails: an error is that of the flake itself, and a copy that the
// store has lost, or that is not as the flake, is in nobody's way.
func TestCopyFails(t *testing.T) {
	root, flake := plainFlake(t, "x")
	_, _, want := evaluated(t, New(Config{Root: root}), `nix.eval("`+flake+`#bad")`)
	m := New(Config{Root: root})
	for range 3 {
		_, _, err := evaluated(t, m, `nix.eval("`+flake+`#bad")`)
		if err == nil || err.Error() != want.Error() {
			t.Errorf("got %v\nwant %v", err, want)
		}
	}
	if m.copyNow(flake) == "" {
		t.Fatal("there is no copy")
	}
	m.snapshots.at(flake).copy = "path:/nix/store/00000000000000000000000000000000-source"
	got, log, err := evaluated(t, m, `nix.eval("`+flake+`#n.h3")`)
	if err != nil || got != "3" || !strings.Contains(log, "asking again of the flake itself, "+flake) || !m.snapshots.at(flake).never {
		t.Errorf("%s, %v, log:\n%s", got, err, log)
	}
}

// TestCopiedOnce: of ten hosts' evaluations only the first ones read the folder.
func TestCopiedOnce(t *testing.T) {
	if goruntime.GOOS != "linux" {
		t.Skip("only Linux counts what is read")
	}
	read := func() (n int64) {
		t.Helper()
		text, err := os.ReadFile("/proc/self/io") // with all children that have ended
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscanf(string(text), "rchar: %d", &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	root, flake := plainFlake(t, "x")
	const size = 16 << 20
	data := make([]byte, size)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(flake, "large"), data)
	settle(t, flake)
	m, last := New(Config{Root: root}), read()
	for i := range 10 {
		if got, _, err := evaluated(t, m, fmt.Sprintf(`nix.eval("%s#n.h%d")`, flake, i)); err != nil || got != fmt.Sprint(i) {
			t.Fatalf("%s: %v", got, err)
		}
		now := read()
		if by := now - last; i == 0 && by < size || i > 1 && by > size*3/2 || i > 2 && by > size/4 {
			t.Errorf("the %d. evaluation read %d bytes, of a folder of %d", i+1, by, size)
		}
		last = now
	}
}

func FuzzCopyReference(f *testing.F) {
	f.Add(`{"path":"/nix/store/cfdlzwbq53dmn5iic0bbikx7czrid6cw-source","locked":{"type":"path","narHash":"sha256-A=","lastModified":0}}`)
	f.Add(`{"path":"/nix/store/cfdlzwbq53dmn5iic0bbikx7czrid6cw-source","locked":{"type":"git","narHash":"sha256-A="}}`)
	f.Fuzz(func(t *testing.T, said string) {
		if ref := copyReference(said); ref != "" && (!strings.HasPrefix(ref, "path:/nix/store/") || strings.ContainsAny(ref, "# \n")) {
			t.Errorf("%q", ref)
		}
	})
}

package interp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"infra/builtins"
	"infra/runtime"
)

// never is a door that fails the test: reading asks for nothing.
func never(t testing.TB) runtime.Do {
	return func(_ context.Context, op runtime.Op) (runtime.Result, error) {
		t.Errorf("reading a file asked for %s", op.Name)
		return runtime.Result{}, errors.New("no")
	}
}

func newInterp(t testing.TB, files map[string]string) *Interp {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return New(root, builtins.All(builtins.Deps{Root: root}), never(t))
}

func (in *Interp) read(t testing.TB, main string) (*File, error) {
	t.Helper()
	return in.Read(context.Background(), filepath.Join(in.root, main))
}

// TestProblems reads the first file of each archive and compares what is wrong
// with it to the archive's file "want". UPDATE=1 rewrites it.
func TestProblems(t *testing.T) {
	archives, err := filepath.Glob("testdata/problems/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files, want := map[string]string{}, ""
			for _, f := range ar.Files {
				if f.Name == "want" {
					want = string(f.Data)
				} else {
					files[f.Name] = string(f.Data)
				}
			}
			_, err = newInterp(t, files).read(t, ar.Files[0].Name)
			var problems runtime.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("got %v, want problems", err)
			}
			got := format(problems)
			if os.Getenv("UPDATE") != "" {
				ar.Files = append(ar.Files[:len(files):len(files)], txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func format(problems runtime.Problems) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%s: %s\n", p.Pos, p.Msg)
		if p.Source != "" {
			caret := min(int(p.Pos.Col)-1, len(p.Source))
			fmt.Fprintf(&b, "    %s\n    %s^\n", p.Source, strings.Repeat(" ", caret))
		}
		if p.Hint != "" {
			fmt.Fprintf(&b, "    hint: %s\n", p.Hint)
		}
		for _, line := range p.Trace {
			fmt.Fprintf(&b, "    from %s\n", line)
		}
	}
	return b.String()
}

func TestReadGivesThePlanItsNameAndOrder(t *testing.T) {
	in := newInterp(t, map[string]string{
		"plans/a.star": `"""Phase 2: the first Mac."""
load("lib/x.star", "deploy")
load("//plans/lib/y.star", "mac")
def last(one): pass
def one(): "First." ; return 1
renamed = deploy(last, one, mac)
`,
		"plans/lib/x.star": `
load("y.star", "mac")
def deploy(last, one, host):
    return plan(title = host.name, hosts = [host, ], steps = [step(last, needs = [one]), step(one)])
`,
		"plans/lib/y.star": `mac = host("blackphos", system = "aarch64-darwin")`,
	})
	f, err := in.read(t, "plans/a.star")
	if err != nil {
		t.Fatal(err)
	}
	p := f.Plan
	if p.Name != "renamed" || p.Title != "blackphos" || p.Doc != "Phase 2: the first Mac." || p.Phase != -1 {
		t.Errorf("plan is %q %q %q %d", p.Name, p.Title, p.Doc, p.Phase)
	}
	if len(p.Steps) != 2 || p.Steps[0].Name != "one" || p.Steps[1].Name != "last" || p.Steps[1].Needs[0] != p.Steps[0] {
		t.Errorf("steps are %v", p.Steps)
	}
	if p.Steps[0].Doc != "First." {
		t.Errorf("doc is %q", p.Steps[0].Doc)
	}
	if h := p.Hosts[0]; h.Kind() != runtime.Darwin || h.SSH != "blackphos" {
		t.Errorf("host is %+v", h)
	}
}

func TestTwoPlansMayShareAStep(t *testing.T) {
	in := newInterp(t, map[string]string{
		"a.star": "load(\"b.star\", \"one\", \"shared\")\na = plan(steps = [step(one), shared])",
		"b.star": `
def one(): pass
def two(_): pass
shared = step(two, needs = [one])
b = plan(steps = [step(one), shared])
`,
	})
	f, err := in.read(t, "a.star")
	if err != nil {
		t.Fatal(err)
	}
	if s := f.Plan.Steps[1]; len(s.Needs) != 1 || s.Needs[0] != f.Plan.Steps[0] {
		t.Errorf("%s needs %v", s.Name, s.Needs)
	}
}

func TestALoadedFileIsRunOnce(t *testing.T) {
	in := newInterp(t, map[string]string{
		"a.star": `
load("b.star", b = "said")
load("c.star", c = "said")
load("d.star", "said")
p = plan(steps = [step(lambda: None, name = "x")])
`,
		"b.star": "load(\"d.star\", d = \"said\")\nsaid = d",
		"c.star": "load(\"d.star\", d = \"said\")\nsaid = d",
		"d.star": "said = print(\"here\")",
	})
	var printed []string
	ctx := runtime.WithPrint(context.Background(), func(s string) { printed = append(printed, s) })
	if _, err := in.Read(ctx, filepath.Join(in.root, "a.star")); err != nil {
		t.Fatal(err)
	}
	if len(printed) != 1 {
		t.Errorf("d.star ran %d times", len(printed))
	}
}

func TestFiftyErrorsAreFiftyProblems(t *testing.T) {
	var text strings.Builder
	for i := range 25 {
		fmt.Fprintf(&text, "def f%d(): return nix.biuld(%d)\nx%d = undefined%d\n", i, i, i, i)
	}
	_, err := newInterp(t, map[string]string{"a.star": text.String() + "p = plan(steps = [step(f0)])\n"}).read(t, "a.star")
	var problems runtime.Problems
	if !errors.As(err, &problems) || len(problems) != 50 {
		t.Errorf("got %d problems: %v", len(problems), err)
	}
}

func TestALinkCannotLeadOutOfTheProject(t *testing.T) {
	in := newInterp(t, map[string]string{"a.star": `load("b.star", "x")`})
	outside := filepath.Join(t.TempDir(), "b.star")
	if err := os.WriteFile(outside, []byte("x = 1"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(in.root, "b.star")); err != nil {
		t.Fatal(err)
	}
	if _, err := in.read(t, "a.star"); err == nil || !strings.Contains(err.Error(), "leads out of the project") {
		t.Errorf("got %v", err)
	}
}

func TestFindRoot(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		files      []string
	}{
		{"infra.toml before a nearer flake.nix", ".", []string{"infra.toml", "a/flake.nix", "a/b/x"}},
		{"flake.nix before a nearer .git", ".", []string{"flake.nix", "a/.git/HEAD", "a/b/x"}},
		{"the nearest of its kind", "a", []string{"flake.nix", "a/flake.nix", "a/b/x"}},
		{"the folder itself", "a/b", []string{"a/b/x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{}
			for _, f := range tt.files {
				files[f] = ""
			}
			in := newInterp(t, files)
			got, err := FindRoot(filepath.Join(in.root, "a/b"))
			if err != nil {
				t.Fatal(err)
			}
			root, _ := filepath.EvalSymlinks(in.root)
			if rel, _ := filepath.Rel(root, got); rel != tt.want {
				t.Errorf("got %s, want %s", rel, tt.want)
			}
		})
	}
}

// FuzzRead: whatever a file holds, reading it ends in a plan or in problems.
func FuzzRead(f *testing.F) {
	archives, _ := filepath.Glob("testdata/problems/*.txtar")
	for _, path := range archives {
		ar, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(ar.Files[0].Data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		in := newInterp(t, map[string]string{"a.star": text})
		if file, err := in.read(t, "a.star"); err == nil && file.Plan == nil {
			t.Error("neither a plan nor an error")
		}
	})
}

// BenchmarkRead reads 1,000 hosts with 10 steps each, every step of its own.
func BenchmarkRead(b *testing.B) {
	in := newInterp(b, map[string]string{"big.star": `
hosts = [host("h%d" % i, system = "x86_64-linux") for i in range(1000)]
def make(h, i):
    def act(): log(h.name)
    return step(act, name = "%s-%d" % (h.name, i))
big = plan(hosts = hosts, steps = [make(h, i) for h in hosts for i in range(10)])
`})
	for name, read := range map[string]func(context.Context, string) (*File, error){"run": in.Read, "preview": in.Preview} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := read(b.Context(), filepath.Join(in.root, "big.star")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

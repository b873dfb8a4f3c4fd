package interp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.starlark.net/starlark"

	"infra/builtins"
	"infra/runtime"
)

// edits are what becomes of the files of one project, one after the other, and how many
// of them are still kept then. "" takes a file away.
var edits = []struct {
	name  string
	files map[string]string
	kept  int // after it was read; what cannot be read on is not counted
}{
	{"at first", map[string]string{"p.star": keptPlan, "lib.star": "a = 1\nlog_it = lambda x: log(str(x))\n", "deep.star": "n = [1]\n"}, 2},
	{"nothing changed", nil, 2},
	{"a file that is loaded changes", map[string]string{"lib.star": "load(\"deep.star\", \"n\")\n\na = 2\ndef log_it(x):\n    if x: log(str(x))\n"}, 3},
	{"and back", map[string]string{"lib.star": "a = 1\nlog_it = lambda x: log(str(x))\n"}, 2},
	{"it does not parse", map[string]string{"lib.star": "a = 1\nlog_it = lambda x: log(str(x)\n"}, 1},
	{"nor now", nil, 1},
	{"mended", map[string]string{"lib.star": "load(\"deep.star\", \"n\")\na = len(n)\nlog_it = lambda x: log(str(x))\n"}, 3},
	{"a name is not defined", map[string]string{"lib.star": "a = b\nlog_it = lambda x: log(str(c))\n"}, 1},
	{"nor now, and another file has one too", map[string]string{"p.star": strings.Replace(keptPlan, "log_it(a)", "log_it(b)", 1)}, 0},
	{"mended with an argument too many", map[string]string{"p.star": keptPlan, "lib.star": "a = 1\n\nlog_it = lambda x: log(str(x), y = 1)\n"}, 1},
	{"an effect where a file is read", map[string]string{"lib.star": "a = 1\nlog_it = print\nfs.write(\"x\", \"y\")\n"}, 1},
	{"it fails when it runs", map[string]string{"lib.star": "a = 1 // 0\nlog_it = print\n"}, 2},
	{"again", nil, 2},
	{"it lacks what is loaded", map[string]string{"lib.star": "a = 1\n"}, 2},
	{"what it loads is not there", map[string]string{"lib.star": "load(\"none.star\", \"x\")\na = 1\nlog_it = print\n"}, 2},
	{"now it is", map[string]string{"none.star": "x = 1\n"}, 3},
	{"a ring", map[string]string{"none.star": "load(\"lib.star\", \"a\")\nx = 1\n"}, 3},
	{"it is gone", map[string]string{"none.star": "", "lib.star": ""}, 1},
	{"it is there again", map[string]string{"lib.star": "a = 1\nlog_it = lambda x: log(str(x))\n"}, 2},
	{"the plan has a mistake when it runs", map[string]string{"p.star": strings.Replace(keptPlan, "title = \"A\"", "title = 1", 1)}, 2},
	{"no plan", map[string]string{"p.star": "x = 1\n"}, 1},
	{"in another folder's words", map[string]string{"p.star": strings.ReplaceAll(keptPlan, "lib.star", "//lib.star")}, 2},
}

const keptPlan = `"""What it does."""
load("lib.star", "a", "log_it")

def one():
    xs = [a]
    xs[0] += 1
    log_it(a)
    fail("no %d" % xs[0])

p = plan(title = "A", steps = [step(one)])
`

// TestReadingsWithKeptFiles: a reading is what it would be if nothing were kept, to the
// last position, and what the last one compiled is not compiled again.
func TestReadingsWithKeptFiles(t *testing.T) {
	t.Parallel()
	root, programs := t.TempDir(), new(Programs)
	specs := builtins.All(builtins.Deps{Root: root})
	for _, e := range edits {
		for name, text := range e.files {
			err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644)
			if text == "" {
				err = os.Remove(filepath.Join(root, name))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		was := maps.Clone(programs.last["p.star"])
		fresh, kept := New(root, specs, never(t)), New(root, specs, never(t))
		kept.Programs = programs
		if got, want := told(t, kept, "p.star"), told(t, fresh, "p.star"); got != want {
			t.Errorf("%s: with kept files it is\n%s\nand without\n%s", e.name, got, want)
		}
		now := programs.last["p.star"]
		if len(now) != e.kept {
			t.Errorf("%s: %d files are kept, want %d", e.name, len(now), e.kept)
		}
		for path, s := range now {
			if before := was[path]; before != nil && (before == s) != (before.sum == s.sum) {
				t.Errorf("%s: %s was taken anew, or not, though its content is told by its digest", e.name, path)
			}
		}
	}
}

// told is all that a reading says, and what a call of its step does.
func told(t *testing.T, in *Interp, main string) string {
	var b strings.Builder
	ctx := runtime.WithPrint(t.Context(), func(text string) { fmt.Fprintf(&b, "printed %s\n", text) })
	f, from, err := in.PreviewFrom(ctx, filepath.Join(in.root, main))
	fmt.Fprintf(&b, "from %v\n", from)
	var problems runtime.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			fmt.Fprintf(&b, "%s: %s (%s) in %q, %q\n", p.Pos, p.Msg, p.Hint, p.Source, p.Trace)
		}
	}
	if err != nil || f == nil {
		return b.String() + fmt.Sprint(err)
	}
	fmt.Fprintf(&b, "%s %q %q %s of %v\n", f.Plan.Name, f.Plan.Title, f.Plan.Doc, f.Plan.Pos, f.Sources())
	for _, s := range f.Plan.Steps {
		_, err := f.Call(ctx, ctx, s.Name, s.Fn, nil)
		var fail *Failure
		fmt.Fprintf(&b, "%s at %s: %v\n", s.Name, s.Pos, err)
		if errors.As(err, &fail) {
			fmt.Fprintf(&b, "%q %q %q\n", fail.Source, fail.Hint, fail.Trace)
		}
	}
	return b.String()
}

// TestKeptFilesAreOfTheirForms: a file that was compiled to be run is not taken for one
// that is to be previewed, nor one that sees other names. One that was compiled twice is
// kept once.
func TestKeptFilesAreOfTheirForms(t *testing.T) {
	t.Parallel()
	in := newInterp(t, map[string]string{"p.star": "def one():\n    if ssh.run: pass\np = plan(steps = [step(one)])\n"})
	with := func(programs *Programs, specs []builtins.Spec) *Interp {
		in := New(in.root, specs, never(t))
		in.Programs = programs
		return in
	}
	sourceOf := func(in *Interp, read func(*Interp, context.Context, string) (*File, error)) *source {
		f, err := read(in, t.Context(), filepath.Join(in.root, "p.star"))
		if err != nil {
			t.Fatal(err)
		}
		return f.sources["p.star"]
	}
	specs, programs := builtins.All(builtins.Deps{Root: in.root}), new(Programs)
	preview := sourceOf(with(programs, specs), (*Interp).Preview)
	if again := sourceOf(with(programs, specs), (*Interp).Preview); again != preview {
		t.Error("it was compiled again to be previewed again")
	}
	elsewhere := sourceOf(with(new(Programs), specs), (*Interp).Preview)
	if programs.keep("q.star", []*source{elsewhere}); programs.last["q.star"]["p.star"] != preview {
		t.Error("what two readings compiled is kept twice")
	}
	run := sourceOf(with(programs, specs), (*Interp).Read)
	if fewer := sourceOf(with(programs, specs[1:]), (*Interp).Read); preview == run || run == fewer {
		t.Errorf("previewed, run and run with fewer builtins it is %p, %p and %p", preview, run, fewer)
	}
}

// TestKeptFilesOfSeveralPlans: readings side by side have the files that they share from
// each other, and each has values of its own. Nothing is kept that no last reading had.
func TestKeptFilesOfSeveralPlans(t *testing.T) {
	t.Parallel()
	const plan = "load(\"lib.star\", \"xs\", \"fill\")\nfill()\ndef one():\n    if str(len(xs)) != p.title: fail(str(xs))\np = plan(title = str(len(xs)), steps = [step(one)])\n"
	files := map[string]string{"lib.star": "xs = []\ndef fill(): pass\n[xs.append(i) for i in range(3)]\n"}
	plans := []string{"a.star", "b.star", "c.star", "d.star"}
	for _, name := range plans {
		files[name] = plan
	}
	in := newInterp(t, files)
	in.Programs = new(Programs)
	for round := range 20 {
		lib := fmt.Sprintf("xs = []\ndef fill(): pass\n[xs.append(i) for i in range(%d)]\n", round/2)
		if err := os.WriteFile(filepath.Join(in.root, "lib.star"), []byte(lib), 0o644); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for _, name := range plans {
			all.Go(func() {
				each := New(in.root, builtins.All(builtins.Deps{Root: in.root}), never(t))
				each.Programs = in.Programs
				f, err := each.Preview(t.Context(), filepath.Join(in.root, name))
				if err != nil || f.Plan.Title != fmt.Sprint(round/2) {
					t.Errorf("%s: %v", name, err)
					return
				}
				if _, err := f.Call(t.Context(), t.Context(), "one", f.Plan.Steps[0].Fn, starlark.Tuple{}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		kept := map[*source]bool{}
		for _, files := range in.Programs.last {
			for _, s := range files {
				kept[s] = true
			}
		}
		if len(kept) != len(plans)+1 {
			t.Errorf("%d files are kept, of %d plans that load one", len(kept), len(plans))
		}
		if names := slices.Sorted(maps.Keys(in.Programs.last)); !slices.Equal(names, plans) {
			t.Errorf("kept is of %q", names)
		}
	}
}

package engine

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/preview"
)

// watched is a preview of the plan as infra watch has it, which knows what it
// was made from.
func (t *trial) watched(text string) *preview.Document {
	t.Helper()
	d := t.review(text)
	file, err := New(t.root, builtins.All(builtins.Deps{Root: t.root})).Read(t.Context(), filepath.Join(t.root, "a.star"))
	if err != nil {
		t.Fatal(err)
	}
	d.Sources = file.Sources()
	return d
}

func (t *trial) put(name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(t.root, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// reloaded is a plan of which second may be carried out with nobody asked.
const reloaded = `
def first():
    fs.write("a", "1")
    return "word"
def second(word): fs.write("b", word)
def third(word): fs.write("c", word)
p = plan(steps = [step(first, undo = lambda r: log("took back " + r)), step(second, needs = [first], reload = True, undo = lambda r: fs.write("b", "")),
    step(third, needs = [first])], checks = [check(lambda: fail("it ran"), name = "check")])
`

func TestAReloadCarriesOutWhatIsChosen(t *testing.T) {
	t.Parallel()
	tr := newTrial(t)
	tr.put("a", "1")
	out := tr.must(runtime.OK, reloaded, Options{Reviewed: tr.watched(reloaded), Reload: true, Steps: []string{"second"}})
	if got := tr.asked(); !slices.Equal(got, []string{"fs.write a", "fs.write b"}) || out.Totals.Changed != 1 || len(out.Totals.Checks) > 0 {
		t.Errorf("it began %q, and changed %d", got, out.Totals.Changed)
	}
	if b, err := os.ReadFile(filepath.Join(tr.root, "b")); err != nil || string(b) != "word" {
		t.Errorf("b is %q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(tr.root, "c")); err == nil {
		t.Error("another step was carried out")
	}
	// To the journal it is a run of some steps, with all that an undo needs.
	past, err := lastRun(tr.root)
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, s := range past.Steps {
		steps = append(steps, fmt.Sprint(s.Name, " ", s.Status, " ", string(s.Result)))
	}
	if got := strings.Join(steps, ", "); past.Status != runtime.OK || past.Changed != 1 || got != `first ok "word", second ok null` {
		t.Errorf("the journal has it as %s with %s, %d changed", past.Status, got, past.Changed)
	}
	undone, _ := tr.undo(Options{})
	if got := tr.started(); undone.Status != runtime.OK || !slices.Equal(got, []string{"undo second", "undo first"}) {
		t.Errorf("its undo ended as %s: %q", undone.Status, got)
	}
}

func TestAReloadThatMayNotBegin(t *testing.T) {
	t.Parallel()
	gated := strings.Replace(reloaded, "p = plan(", `p = plan(after = [done("other")], `, 1)
	unmarked := strings.Replace(reloaded, "reload = True, ", "", 1)
	for _, tt := range []struct {
		name, want string
		plan, run  string       // the one that is run is another one than was previewed
		first      string       // what first finds
		between    func(*trial) // the preview and the run
		opts       func(*Options)
	}{
		{name: "what it needs has something to do", first: "0", want: "step first, which second needs, would change something, and is not marked reload = True"},
		{name: "a step that is not marked", plan: unmarked, want: "step second would change something, and is not marked"},
		{name: "the plan was edited", run: reloaded + "# more\n", want: "edited since the preview"},
		{name: "a file that the preview read", want: "edited since the preview: data", between: func(tr *trial) { tr.put("data", "2") },
			plan: strings.Replace(reloaded, `fs.write("b", word)`, `fs.write("b", fs.read("data"))`, 1)},
		{name: "a closed gate", plan: gated, want: `done("other")`},
		{name: "no steps", opts: func(o *Options) { o.Steps = nil }, want: "of some steps of a preview"},
		{name: "no preview", opts: func(o *Options) { o.Reviewed = nil }, want: "of some steps of a preview"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrial(t)
			tr.put("data", "1")
			tr.put("a", cmp.Or(tt.first, "1"))
			plan := cmp.Or(tt.plan, reloaded)
			opts := Options{Reviewed: tr.watched(plan), Reload: true, Steps: []string{"second"}}
			if tt.opts != nil {
				tt.opts(&opts)
			}
			if tt.between != nil {
				tt.between(tr)
			}
			plan = cmp.Or(tt.run, plan)
			_, err := tr.run(plan, opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(tt.want, "edited") != errors.Is(err, preview.ErrOutdated) {
				t.Errorf("got %v", err)
			}
			if len(tr.events) > 0 || len(tr.allRuns()) > 0 {
				t.Errorf("%d events, %d runs", len(tr.events), len(tr.allRuns()))
			}
		})
	}
}

// TestAStepThatIsNotMarkedChangesNothing, also where what it looks at changed since
// the preview.
func TestAStepThatIsNotMarkedChangesNothing(t *testing.T) {
	t.Parallel()
	tr := newTrial(t)
	tr.put("a", "1")
	d := tr.watched(reloaded)
	tr.put("a", "someone else's")
	tr.must(runtime.Held, reloaded, Options{Reviewed: d, Reload: true, Steps: []string{"second"}})
	want := `fs.write a {"content":"1","path":"a"} would change something by now (change), and step first is not marked reload = True`
	if got := tr.end("first"); !strings.Contains(got, want) {
		t.Errorf("got %s", got)
	}
	if a, _ := os.ReadFile(filepath.Join(tr.root, "a")); string(a) != "someone else's" || len(tr.asked()) > 0 {
		t.Errorf("a is %q; it began %q", a, tr.asked())
	}
	// A person may go on with it, as with any run.
	if out, err := tr.resume(Options{Steps: []string{"second"}}); err != nil || out.Status != runtime.OK || out.Totals.Changed != 2 {
		t.Errorf("resumed: %+v, %v", out, err)
	}
}

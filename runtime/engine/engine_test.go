package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"infra/builtins"
	"infra/runtime"
)

// A trial is one run of a plan given as text, in a project of its own.
type trial struct {
	*testing.T
	root   string
	dry    bool // it is previewed
	mu     sync.Mutex
	events []runtime.Event
}

func newTrial(t *testing.T) *trial { return &trial{T: t, root: t.TempDir()} }

// newPreview is a trial that previews.
func newPreview(t *testing.T) *trial { return &trial{T: t, root: t.TempDir(), dry: true} }

// run runs the plan with opts, whose Show and Stop it may fill in.
func (t *trial) run(text string, opts Options) (Outcome, error) {
	t.Helper()
	path := filepath.Join(t.root, "a.star")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	e := New(t.root, builtins.All(builtins.Deps{Root: t.root}))
	read := e.Read
	if t.dry {
		read = e.Preview
	}
	file, err := read(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	also := opts.Show
	opts.Show = func(ev runtime.Event) {
		t.mu.Lock()
		t.events = append(t.events, ev)
		t.mu.Unlock()
		if also != nil {
			also(ev)
		}
	}
	return e.Run(t.Context(), file, opts)
}

// must runs the plan and wants it to end with status.
func (t *trial) must(status runtime.Status, text string, opts Options) Outcome {
	t.Helper()
	out, err := t.run(text, opts)
	if err != nil {
		t.Fatal(err)
	}
	if out.Status != status {
		t.Fatalf("ended as %s, want %s: %s", out.Status, status, strings.Join(t.ends(), "; "))
	}
	return out
}

// logged returns what the plan said, in order.
func (t *trial) logged() []string {
	var lines []string
	for _, e := range t.events {
		if e.Kind == runtime.Logged {
			lines = append(lines, e.Text)
		}
	}
	return lines
}

// ends returns how each step and check ended: "name host status: why".
func (t *trial) ends() []string {
	var ends []string
	for _, e := range t.events {
		if e.Kind != runtime.StepEnded {
			continue
		}
		s := strings.Join(strings.Fields(fmt.Sprint(e.Step, " ", e.Host, " ", e.Status)), " ")
		if e.Err != nil {
			s += ": " + e.Err.Error()
		}
		ends = append(ends, s)
	}
	return ends
}

func (t *trial) end(name string) string {
	t.Helper()
	for _, s := range t.ends() {
		if strings.HasPrefix(s, name+" ") {
			return s
		}
	}
	t.Fatalf("%s did not end: %q", name, t.ends())
	return ""
}

// most is how many of the named steps ran at once.
func (t *trial) most(names ...string) int {
	most, now := 0, 0
	for _, e := range t.events {
		if !slices.Contains(names, e.Step) {
			continue
		}
		switch {
		case e.Kind == runtime.StepStarted:
			now++
		case e.Kind == runtime.StepEnded && e.Status == runtime.OK:
			now--
		}
		most = max(most, now)
	}
	return most
}

const fleet = `
fleet = [host("h" + str(i), system = "x86_64-linux") for i in range(6)]
def nap(): local.run(["sleep", "0.05"], reads = True)
`

func TestResultsAreHandedOn(t *testing.T) {
	tr := newTrial(t)
	tr.must(runtime.OK, fleet+`
def one(): return {"n": 1, "t": (2, [3])}
def each_(host): return host.name + "!"
def again(host, mine, one): return mine + str(one["n"])
def all_(again): log(again["h0"] + " " + again["h5"] + " " + ",".join(again.keys()))
p = plan(hosts = fleet, steps = [
    step(all_, needs = [again]), step(again, each = fleet, needs = [each_, one]), step(each_, each = fleet), step(one)])
`, Options{})
	if got := tr.logged(); len(got) != 1 || got[0] != "h0!1 h5!1 h0,h1,h2,h3,h4,h5" {
		t.Errorf("logged %q", got)
	}
}

func TestResultsCannotBeChanged(t *testing.T) {
	tr := newTrial(t)
	tr.must(runtime.Failed, `
def one(): return [1]
def two(xs): xs.append(2)
p = plan(steps = [step(one), step(two, needs = [one])])
`, Options{})
	if got := tr.end("two"); !strings.Contains(got, "frozen list") {
		t.Error(got)
	}
}

func TestChecksRunWhenTheStepsAreDone(t *testing.T) {
	plan := `
def f(): %s
p = plan(steps = [step(f)], checks = [
    check(lambda: True, name = "good"),
    check(lambda: struct(ok = False, detail = "3 of 4"), name = "bad", required = %s),
    check(lambda: local.run(["touch", "x"]), name = "acts", required = False),
])
`
	t.Run("a required one fails the plan", func(t *testing.T) {
		tr := newTrial(t)
		out := tr.must(runtime.Failed, fmt.Sprintf(plan, "pass", "True"), Options{})
		if fmt.Sprint(out.Totals.Checks) != "map[failed:1 ok:1 warned:1]" {
			t.Error(out.Totals.Checks)
		}
		if got := tr.end("acts"); !strings.Contains(got, "local.run is a change, and a check only reads") {
			t.Error(got)
		}
		if _, err := os.Stat(filepath.Join(tr.root, "x")); err == nil {
			t.Error("a check changed something")
		}
	})
	t.Run("an optional one does not", func(t *testing.T) {
		newTrial(t).must(runtime.OK, fmt.Sprintf(plan, "pass", "False"), Options{})
	})
	t.Run("none runs after a failure", func(t *testing.T) {
		out := newTrial(t).must(runtime.Failed, fmt.Sprintf(plan, `fail("no")`, "True"), Options{})
		if len(out.Totals.Checks) != 0 {
			t.Error(out.Totals.Checks)
		}
	})
}

func TestAStepReturnsWhatCanBeKept(t *testing.T) {
	tr := newTrial(t)
	tr.must(runtime.Failed, `
def f(): return {"a": [1, lambda: 2]}
p = plan(steps = [step(f)])
`, Options{})
	if got := tr.end("f"); !strings.Contains(got, `a function at ["a"][1] cannot be kept in the journal`) {
		t.Error(got)
	}
}

package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"infra/runtime"
	"infra/runtime/preview"
)

// review previews the plan in the trial's project and returns what a reviewer
// gets.
func (t *trial) review(text string) *preview.Document {
	t.Helper()
	dry := &trial{T: t.T, root: t.root, dry: true}
	c := preview.NewCollector(t.root)
	if _, err := dry.run(text, Options{Show: c.Read}); err != nil {
		t.Fatal(err)
	}
	d := &preview.Document{Schema: preview.Schema, File: "a.star"}
	if err := c.Fill(d); err != nil {
		t.Fatal(err)
	}
	data, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if d, err = preview.Parse(data); err != nil {
		t.Fatal(err)
	}
	if why := d.Unfit(); len(why) > 0 {
		t.Fatalf("the preview cannot be carried out: %q", why)
	}
	return d
}

// asked lists the operations that do more than look and were begun.
func (t *trial) asked() []string {
	var names []string
	for _, e := range t.events {
		if e.Kind == runtime.OpAsked && e.Op.Op.Effect != runtime.Read {
			names = append(names, e.Op.Op.Name+" "+e.Op.Op.Show)
		}
	}
	return names
}

func (t *trial) touch(name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(t.root, name), nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyWhatWasReviewedIsDone(t *testing.T) {
	for _, tt := range []struct {
		name, plan string
		asked      []string
		ends       []string // the beginning of how each step ends
	}{
		{name: "another branch", plan: `
def f():
    if fs.exists("flag"): fs.write("other", "x")
    else: fs.write("this", "x")
def g(_): fs.write("after", "")
p = plan(steps = [step(f), step(g, needs = [f])])
`, ends: []string{
			`f held: a.star:3:27: held: fs.write other {"content":"x","path":"other"} is not what was reviewed, which is: fs.write this {"content":"x","path":"this"}`,
			"g skipped: "}},
		{name: "one more in the middle", plan: `
def f():
    fs.write("a", "")
    if fs.exists("flag"): fs.write("more", "")
    fs.write("b", "")
p = plan(steps = [step(f)])
`, asked: []string{"fs.write a"}, ends: []string{`f held: a.star:4:27: held: fs.write more {"content":"","path":"more"} is not what was reviewed, which is: fs.write b `}},
		{name: "one more at the end", plan: `
def f():
    fs.write("a", "")
    if fs.exists("flag"): fs.write("more", "")
p = plan(steps = [step(f)])
`, asked: []string{"fs.write a"}, ends: []string{`f held: a.star:4:27: held: fs.write more {"content":"","path":"more"} is not in the preview, which has nothing more for step f`}},
		{name: "one less", plan: `
def f():
    fs.write("a", "")
    if not fs.exists("flag"): fs.write("b", "")
def g(_): fs.write("after", "")
p = plan(steps = [step(f), step(g, needs = [f])])
`, asked: []string{"fs.write a"}, ends: []string{`f held: held: step f ended without what was reviewed: fs.write b {"content":"","path":"b"}`, "g skipped: "}},
		{name: "another content", plan: `
def f(): fs.write("a", fs.read("flag") if fs.exists("flag") else "none")
p = plan(steps = [step(f)])
`, ends: []string{`f held: a.star:2:10: held: fs.write a {"content":"","path":"a"} is not what was reviewed, which is: fs.write a {"content":"none","path":"a"}`}},
		{name: "a word for a shell", plan: `
def f(): local.run("rm -f x" if fs.exists("flag") else ["rm -f x"], check = False)
p = plan(steps = [step(f)])
`, ends: []string{"f held: a.star:2:10: held: local.run shell: rm -f x "}},
		{name: "failing is no way out", plan: `
def more(): fs.write("more", "")
def f():
    if fs.exists("flag"):
        attempt(more)
        attempt(more)
p = plan(steps = [step(f)])
`, ends: []string{"f held: a.star:2:13: held: fs.write more "}},
		{name: "another host's share", plan: `
hosts = [host("a", system = "x86_64-linux"), host("b", system = "x86_64-linux")]
def f(h):
    other = hosts[1] if h == hosts[0] else hosts[0]
    fs.write((other if fs.exists("flag") else h).name, "")
p = plan(hosts = hosts, steps = [step(f, each = hosts, on_failure = "continue")])
`, ends: []string{"f a held: a.star:5:5: held: fs.write b ", "f b held: a.star:5:5: held: fs.write a "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTrial(t)
			d := tr.review(tt.plan)
			tr.touch("flag")
			tr.must(runtime.Held, tt.plan, Options{Reviewed: d, Jobs: 1})
			if got := tr.asked(); !slices.Equal(got, tt.asked) {
				t.Errorf("it began %q", got)
			}
			ends := slices.Sorted(slices.Values(tr.ends()))
			if len(ends) != len(tt.ends) {
				t.Fatalf("the steps ended as %q", ends)
			}
			for i, want := range tt.ends {
				if !strings.HasPrefix(ends[i], want) {
					t.Errorf("got  %s\nwant %s", ends[i], want)
				}
			}
			for _, name := range []string{"other", "more", "b", "after"} {
				if _, err := os.Stat(filepath.Join(tr.root, name)); err == nil {
					t.Errorf("%s is there", name)
				}
			}
			for _, e := range tr.events {
				if e.Kind == runtime.StepEnded && e.Status == runtime.Held && (!errors.Is(e.Err, runtime.ErrHeld) || runtime.HintOf(e.Err) == "") {
					t.Errorf("%s ended with %v, hint %q", e.Step, e.Err, runtime.HintOf(e.Err))
				}
			}
		})
	}
}

func TestWhatWasReviewedIsDone(t *testing.T) {
	tr := newTrial(t)
	plan := `
def first():
    fs.write("a", "text")
    said = local.run(["echo", "word"]).stdout
    fs.write("b", said)
    local.run(["touch", said.strip()])
    return said
def second(said):
    local.run(["test", said, "=", "word\n"])
    fs.read("a.star")
    fs.write("a", "text")
p = plan(steps = [step(first), step(second, needs = [first])], checks = [check(lambda: fs.exists("word"), name = "there")])
`
	out := tr.must(runtime.OK, plan, Options{Reviewed: tr.review(plan)})
	if out.Totals.Checks[runtime.OK] != 1 || len(tr.asked()) != 6 {
		t.Errorf("it began %q", tr.asked())
	}
}

func TestARetriedStepIsReviewedAnew(t *testing.T) {
	tr := newTrial(t)
	plan := `
def f():
    fs.write("a", "")
    local.run("test -e b || { touch b; exit 1; }", reads = True)
    fs.write("c", "")
p = plan(steps = [step(f, retries = 1)])
`
	tr.must(runtime.OK, plan, Options{Reviewed: tr.review(plan)})
	retried := slices.ContainsFunc(tr.events, func(e runtime.Event) bool { return e.Kind == runtime.StepRetried })
	if got := tr.asked(); !retried || got[0] != "fs.write a" || got[len(got)-1] != "fs.write c" {
		t.Errorf("it began %q; retried: %v", got, retried)
	}
}

func TestAStepThatWasNotReviewedNeverStarts(t *testing.T) {
	tr := newTrial(t)
	plan := `
def f(): fs.write("a", "")
def g(): fs.write("b", "")
p = plan(steps = [step(f), step(g)])
`
	d := tr.review(plan)
	d.Steps = d.Steps[:1]
	_, err := tr.run(plan, Options{Reviewed: d})
	if !errors.Is(err, runtime.ErrHeld) || !strings.Contains(err.Error(), "the step g is not in the preview") {
		t.Errorf("got %v", err)
	}
	if entries, _ := os.ReadDir(tr.root); len(entries) != 1 || len(tr.events) > 0 {
		t.Errorf("the project holds %v; %d events", entries, len(tr.events))
	}
	tr.must(runtime.OK, plan, Options{Reviewed: d, Steps: []string{"f"}})
}

// TestAnUnreviewedOperationNeverReachesTheDoor: it leaves no trace either.
func TestAnUnreviewedOperationNeverReachesTheDoor(t *testing.T) {
	host := &runtime.Host{Name: "h"}
	secret := runtime.NewSecret("pin", "sesame-sesame")
	r := &run{plan: &runtime.Plan{Hosts: []*runtime.Host{host}}, stop: t.Context(), opts: Options{Show: func(e runtime.Event) { t.Errorf("it was announced: %v", e) }}}
	tk := &task{run: r, group: &group{step: &runtime.Step{Name: "s"}}}
	do := r.chain(func(context.Context, runtime.Op) (runtime.Result, error) {
		t.Error("it was carried out")
		return runtime.Result{}, nil
	})
	for _, e := range []runtime.Effect{runtime.Build, runtime.Change, runtime.Destroy} {
		r.expected = expected{{"s", ""}: nil}
		if e == runtime.Change { // reviewed, but not this
			r.expected = expected{{"s", ""}: {{Name: "ssh.put", Show: "from before " + secret.Reveal() + " was one"}}}
		}
		op := runtime.Op{Name: "ssh.run", Host: "h", Effect: e, Show: "open " + secret.Reveal(), Args: runtime.Args{"word": secret.Reveal()}}
		_, err := do(withTask(t.Context(), tk), op)
		if !errors.Is(err, runtime.ErrHeld) || strings.Contains(err.Error(), secret.Reveal()) || runtime.HintOf(err) == "" {
			t.Errorf("%s: got %v", e, err)
		}
	}
}

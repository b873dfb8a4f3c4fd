package engine

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"infra/runtime"
)

func TestADryRunChangesNothing(t *testing.T) {
	tr := newPreview(t)
	out := tr.must(runtime.OK, `
def write(): return fs.write("x", "text").changed
def command(_): return local.run(["touch", "y"])
def decide(r):
    if r.code == 0 and r.stdout == "x": fs.write("z", "")
def after(given): fs.write("w", given or "")
def ask(): return fs.exists("a.star")
p = plan(steps = [step(write), step(command, needs = [write]), step(decide, needs = [command]), step(after, needs = [decide]), step(ask, confirm = "sure?")],
    checks = [check(lambda: False, name = "no")])
`, Options{})
	entries, _ := os.ReadDir(tr.root)
	if len(entries) != 1 {
		t.Errorf("the project holds %v", entries)
	}
	for step, want := range map[string]string{
		"decide": "decide stopped: a.star:5:8: ",
		"after":  "after stopped: a.star:6:33: ",
		"ask":    "ask ok",
	} {
		if got := tr.end(step); !strings.HasPrefix(got, want) {
			t.Errorf("want %s, got %s", want, got)
		}
	}
	if got := tr.end("decide"); !strings.Contains(got, "is not known in a dry run (known after local.run, a.star:3)") {
		t.Error(got)
	}
	if out.Totals.Verdicts[runtime.WillChange] != 2 {
		t.Error(out.Totals.Verdicts)
	}
}

// previewed are the operations of a preview: name, verdict, note.
func (t *trial) previewed() []string {
	var ops []string
	for _, e := range t.events {
		if e.Kind == runtime.OpEnded {
			text := e.Op.Op.Name
			if p := e.Op.Prediction; p != nil {
				text += " " + p.Verdict.String()
			}
			if e.Text != "" {
				text += " (" + e.Text + ")"
			}
			ops = append(ops, text)
		}
	}
	return ops
}

func TestAPreviewKnowsWhatItsAnswersComeAfter(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		ops  string
		ends string // of the step
	}{
		"a read of what was written": {`
    fs.write("note", "text")
    fs.exists("other")
    if fs.exists("note"): log("there")`,
			"fs.write change; fs.exists; fs.exists (after the change)", "stopped"},
		"a command may look at anything": {`
    fs.write("note", "text")
    return local.run(["cat", "note"], reads = True).stdout.strip() + "!"`,
			"fs.write change; local.run (after the change)", "ok"},
		"a command may alter anything": {`
    local.run(["true"])
    if fs.write("note", "text").changed: log("new")`,
			"local.run change; fs.write unknown (before the change)", "stopped"},
		"what changes nothing alters nothing": {`
    if fs.write("a.star", fs.read("a.star")).changed: fail("no")
    if fs.exists("a.star"): log("there")`,
			"fs.read; fs.write no change; fs.exists", "ok"},
		"an argument that is not known": {`
    made = local.run(["mktemp"])
    fs.write(made.stdout, "text")
    fs.read(made.stdout)
    if fs.exists("b"): log("there")`,
			"local.run change; fs.write unknown; fs.read; fs.exists (after the change)", "stopped"},
		"a change of a host does not alter this machine": {`
    ssh.run(h, ["true"])
    if fs.exists("a.star"): log("there")
    ssh.get(h, "/etc/motd")`,
			"ssh.run change; fs.exists; ssh.get (after the change)", "ok"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newPreview(t)
			tr.must(runtime.OK, "h = host(\"h\", system = \"x86_64-linux\")\ndef f():"+tt.body+"\np = plan(hosts = [h], steps = [step(f)])", Options{})
			if got := strings.Join(tr.previewed(), "; "); got != tt.ops {
				t.Errorf("it shows\n%s, want\n%s", got, tt.ops)
			}
			if got := tr.end("f"); !strings.HasPrefix(got, "f "+tt.ends) {
				t.Error(got)
			}
		})
	}
}

func TestWhatAStepLeftUndoneHoldsForThoseThatNeedIt(t *testing.T) {
	plan := fleet + `
def change(host): ssh.run(host, ["true"])
def between(given): return given
def look(host, given): return ssh.get(host, "/etc/motd")
hosts = fleet[:4]
first = step(change, each = hosts)
p = plan(hosts = hosts, steps = [first, step(between, needs = [first]), step(look, each = hosts, needs = [%s])])
`
	for _, needs := range []string{"first", "between"} {
		tr := newPreview(t)
		tr.must(runtime.OK, fmt.Sprintf(plan, needs), Options{})
		want := slices.Concat(slices.Repeat([]string{"ssh.run change"}, 4), slices.Repeat([]string{"ssh.get (after the change)"}, 4))
		if got := tr.previewed(); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
			t.Errorf("by way of %s it shows %q", needs, got)
		}
	}
}

func TestOfflineNoHostIsAsked(t *testing.T) {
	tr := newPreview(t)
	out := tr.must(runtime.OK, `
h = host("h", system = "x86_64-linux", ssh = "root@host.invalid")
def f():
    fs.exists("a.star")
    name = ssh.get(h, "/etc/hostname").strip()
    ssh.put(h, "/etc/motd", content = "text")
    ssh.run(h, ["hostnamectl", "set-hostname", name])
    http.get("http://host.invalid/")
p = plan(hosts = [h], steps = [step(f)])
`, Options{Offline: true})
	want := "fs.exists; ssh.get (offline); ssh.put unknown (offline); ssh.run unknown; http.get (offline)"
	if got := strings.Join(tr.previewed(), "; "); got != want || out.Totals.Steps[runtime.OK] != 1 {
		t.Errorf("it shows %s, %v", got, tr.ends())
	}
}

func TestWhatIsAskedAgainChangesNothing(t *testing.T) {
	h := &history{}
	op := runtime.Op{Name: "nix.copy", Host: "h", Args: runtime.Args{"path": []string{"/nix/store/a"}}, Looks: []string{"/nix"}, Alters: []string{"/nix"}, Once: true}
	if h.does(op) {
		t.Error("nobody asked for it")
	}
	h.note(nil, op)
	later := &history{before: []*history{h}}
	if !later.does(op) {
		t.Error("a step before has asked for it")
	}
	later.note(nil, runtime.Op{Name: "fs.write", Host: "h", Alters: []string{"/tmp/a"}})
	if !later.does(op) {
		t.Error("what it does not look at was altered")
	}
	other := op
	other.Args = runtime.Args{"path": []string{"/nix/store/b"}}
	if later.does(other) {
		t.Error("another one was asked for")
	}
	later.note(nil, other)
	if later.does(op) {
		t.Error("what it looks at may be altered since")
	}
}

func TestAnAttemptAtAChangeIsNotKnownToSucceed(t *testing.T) {
	for body, want := range map[string]string{
		`attempt(lambda: local.run(["true"])).ok`:                                                   "f stopped",
		`attempt(lambda: [local.run(["true"]), fail("no")]).ok`:                                     "f ok",
		`attempt(lambda: fs.read("none")).ok`:                                                       "f ok",
		`attempt(lambda: [xs.append(1), local.run(["true"])]) or xs`:                                "f ok",
		`attempt(lambda: [local.run(["true"]), xs.append(1)]) or xs`:                                "f stopped",
		`attempt(lambda: [local.run(["true"]), d.update(a = 1)]) or xs`:                             "f stopped",
		`attempt(lambda: [local.run(["true"]), deep[0]["f"](1)]) or xs`:                             "f stopped",
		`attempt(lambda: [local.run(["true"]), xs.append(1), local.run(["true"]), xs.pop()]) or xs`: "f stopped",
		`attempt(lambda: [local.run(["true"]), [].append(1)]) or xs`:                                "f ok",
		`attempt(lambda: attempt(lambda: local.run(["true"]))).ok`:                                  "f stopped",
		`attempt(lambda: fs.write("a.star", fs.read("a.star"))).error`:                              "f ok",
	} {
		tr := newPreview(t)
		tr.must(runtime.OK, "def f():\n    xs, d = [], {}\n    deep = [{\"f\": xs.append}]\n    if "+body+": pass\np = plan(steps = [step(f)])", Options{})
		if got := tr.end("f"); !strings.HasPrefix(got, want) {
			t.Errorf("%s: want %s, got %s", body, want, got)
		}
	}
}

// What a doubted step shows may not be what it does: it throws doubt on every
// step that looks at anything and is not ordered with it.
func TestDoubtSpreads(t *testing.T) {
	tr := newPreview(t)
	tr.must(runtime.OK, `
def write(): fs.write("a/note", "text")
def look(): return fs.exists("a")
def apart(_): return fs.exists("z")
def after(_): return fs.exists("z")
p = plan(steps = [step(write), step(look), step(apart, needs = [write]), step(after, needs = [look])])
`, Options{})
	var doubted []string
	for _, e := range tr.events {
		if e.Kind == runtime.Doubted {
			doubted = append(doubted, e.Step)
		}
	}
	if got := strings.Join(doubted, " "); got != "look apart after write" {
		t.Errorf("doubted are %s", got)
	}
}

func TestAPreviewSaysWhatIsNotOrdered(t *testing.T) {
	plan := `
h = host("h", system = "x86_64-linux")
other = host("other", system = "x86_64-linux")
def write(): fs.write("a/note", "text")
def look(): fs.exists("a")
def beside(): fs.exists("b")
def pass_on(_): pass
def share(host): fs.write("out/" + host.name, "")
def shared(host):
    fs.exists("a.star")
    fs.write("a.star", "")
p = plan(hosts = [h, other], steps = [%s])
`
	for steps, want := range map[string]string{
		"step(write), step(look)": "look: fs.exists on this machine looks at what the step write may alter (fs.write, a.star:4:22), " +
			"and which of the two steps comes first is not fixed; say needs = [write], or the other way round",
		"step(look), step(write)":   "look: fs.exists on this machine looks at",
		"step(write), step(beside)": "",
		"step(look), step(lambda _: fs.write(\"a/b\", \"\"), name = \"write\", needs = [look])":                             "",
		"step(look), step(pass_on, needs = [look]), step(lambda _: fs.write(\"a\", \"\"), name = \"w\", needs = [pass_on])": "",
		"step(share, each = [h, other])":  "",
		"step(shared, each = [h, other])": "shared: fs.exists on this machine looks at what the same step may alter for ",
	} {
		t.Run(steps, func(t *testing.T) {
			tr := newPreview(t)
			out := tr.must(runtime.OK, fmt.Sprintf(plan, steps), Options{})
			var doubts []string
			for _, e := range tr.events {
				if e.Kind == runtime.Doubted {
					doubts = append(doubts, e.Step+": "+e.Text)
				}
			}
			got := strings.Join(doubts, "; ")
			if !strings.HasPrefix(got, want) || (got == "") != (want == "") || len(doubts) != out.Totals.Verdicts[runtime.NotKnown] {
				t.Errorf("it says %q, want %q", got, want)
			}
		})
	}
}

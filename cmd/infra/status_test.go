package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"infra/runtime"
	"infra/runtime/clock"
	"infra/runtime/journal"
)

// migrating is a migration in five phases, one of which nobody can read.
var migrating = map[string]string{
	"migration.star": `migration = plan(title = "To the clan", phases = ["validation", "cinnabar", "blackphos", "macs", "cleanup"])`,
	"fleet.star":     `fleet = {n: host(n, system = "aarch64-darwin") for n in ["cinnabar", "blackphos", "rosegold", "argentum", "stibnite"]}`,
	"plans/validation.star": `validation = plan(phase = 0, title = "Does it hold at all", checks = [check(lambda: True, name = "flake evaluates"), check(lambda: True, name = "docs are there", required = False)])
`,
	"plans/cinnabar.star": `load("//fleet.star", "fleet")
c = fleet["cinnabar"]
cinnabar = plan(phase = 1, title = "The server that is always on", hosts = [c], after = [go("validation")],
    steps = [step(lambda: None, name = "switch")],
    checks = [check(lambda h: True, name = "zerotier online", host = c), check(lambda: True, name = "backups are fresh", required = False)])
`,
	"plans/blackphos.star": `load("//fleet.star", "fleet")
b = fleet["blackphos"]
blackphos = plan(phase = 2, title = "First Mac", hosts = [b], after = [stable("cinnabar", "7d")], steps = [step(lambda: None, name = "switch")],
    checks = [check(lambda h: True, name = "zerotier online", host = b)])
`,
	"plans/macs.star": `load("//fleet.star", "fleet")
some = [fleet["rosegold"], fleet["argentum"], fleet["stibnite"]]
macs = plan(phase = 3, title = "The other Macs, one after the other", hosts = some,
    after = [stable("blackphos", "7d"), stable("cinnabar", "4w"), approved("mac-window")],
    steps = [step(lambda h: None, name = "switch", each = some)])
`,
	"plans/cleanup.star": `cleanup = plan(phase = 4, title = "What is left", after = [stable("macs", "2w")], steps = [step(lambda: None, name = "sweep")])
`,
	"plans/broken.star": `broken = plan(steps = [step(lambda: None, name = "x"])`,
}

// A chronicle is a project whose journal is written as time goes by.
type chronicle struct {
	t    *testing.T
	root string
	j    *journal.Journal
	now  clock.Instant
	runs int
}

func newChronicle(t *testing.T) *chronicle {
	t.Helper()
	c := &chronicle{t: t, root: t.TempDir(), now: clock.Instant{Wall: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC), Mark: clock.Mark{Boot: "one", Up: time.Hour}}}
	for name, text := range migrating {
		path := filepath.Join(c.root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if c.j, err = journal.Open(c.root); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.j.Close() })
	return c
}

func (c *chronicle) wait(d time.Duration) { c.now = c.now.Add(d) }

func (c *chronicle) record(e runtime.Event) {
	c.t.Helper()
	if err := c.j.Record(e); err != nil {
		c.t.Fatal(err)
	}
}

// A deed is a step or a check that a run came to. Its name begins with "check ", or not.
type deed struct {
	name, host string
	status     runtime.Status
	err        error
}

// run records a run of two minutes, each step of which changed something.
func (c *chronicle) run(plan string, status runtime.Status, call journal.Call, deeds ...deed) {
	c.t.Helper()
	c.runs++
	id := fmt.Sprintf("20260302-090000-run%d", c.runs)
	call.Clock = c.now.Mark
	options, _ := json.Marshal(call)
	c.record(runtime.Event{Kind: runtime.RunStarted, Run: id, Time: c.now.Wall,
		Start: &runtime.RunStart{Plan: &runtime.Plan{Name: plan}, File: "plans/" + plan + ".star", Options: options}})
	for i, d := range deeds {
		e := runtime.Event{Kind: runtime.StepStarted, Run: id, Step: d.name, Host: d.host, Time: c.now.Wall, Status: d.status, Err: d.err}
		e.Step, e.Check = strings.CutPrefix(d.name, "check ")
		c.record(e)
		if !e.Check {
			e.Op = &runtime.OpEvent{ID: i + 1, Changed: true, Op: runtime.Op{Name: "ssh.run", Host: d.host, Effect: runtime.Change}}
			e.Kind = runtime.OpAsked
			c.record(e)
			e.Kind = runtime.OpEnded
			c.record(e)
			e.Op = nil
		}
		e.Kind = runtime.StepEnded
		c.record(e)
	}
	c.now = c.now.Add(2 * time.Minute)
	c.record(runtime.Event{Kind: runtime.RunEnded, Run: id, Time: c.now.Wall, Took: 2 * time.Minute, Status: status})
}

var observed = journal.Call{Kind: journal.Observed}

// daily observes cinnabar, and then blackphos, so many times.
func (c *chronicle) daily(days int) {
	c.t.Helper()
	for range days {
		c.wait(24*time.Hour - 4*time.Minute)
		c.run("cinnabar", runtime.OK, observed, deed{"check zerotier online", "cinnabar", runtime.OK, nil}, deed{"check backups are fresh", "", runtime.OK, nil})
		c.run("blackphos", runtime.OK, observed, deed{"check zerotier online", "blackphos", runtime.OK, nil})
	}
}

// begun is the first week, of which five days have passed since the server was done.
func (c *chronicle) begun() {
	c.t.Helper()
	c.run("validation", runtime.OK, observed, deed{"check flake evaluates", "", runtime.OK, nil}, deed{"check docs are there", "", runtime.OK, nil})
	c.run("cinnabar", runtime.OK, journal.Call{}, deed{"switch", "", runtime.OK, nil}, deed{"check zerotier online", "cinnabar", runtime.OK, nil})
	c.daily(5)
}

// troubled is the third week: the first Mac was done in spite of a gate, and is not well,
// and of the others one failed.
func (c *chronicle) troubled() {
	c.t.Helper()
	c.begun()
	c.run("blackphos", runtime.OK, journal.Call{Overrides: []journal.Override{{Gate: "stable:cinnabar", Because: "the server is well, and I am away next week"}}},
		deed{"switch", "", runtime.OK, nil}, deed{"check zerotier online", "blackphos", runtime.OK, nil})
	c.daily(1)
	flaps := fmt.Errorf("flapping: failed 1 of 3 times: no answer of 10.147.17.3")
	c.run("blackphos", runtime.Failed, observed, deed{"check zerotier online", "blackphos", runtime.Failed, flaps})
	c.run("macs", runtime.Failed, journal.Call{Overrides: []journal.Override{{Gate: "stable:blackphos", Because: "now or never"}}},
		deed{"switch", "rosegold", runtime.OK, nil}, deed{"switch", "argentum", runtime.Failed, fmt.Errorf("no space left on device")})
	c.run("blackphos", runtime.OK, journal.Call{Kind: journal.Decided, Decision: &journal.Decision{
		Because: "first find out why it flaps", By: "Ann <ann@example.org>", Despite: []string{"zerotier online blackphos"}}})
	c.wait(30 * time.Hour)
}

// status is what infra status knows of the project now.
func (c *chronicle) status(plan string) *standing {
	c.t.Helper()
	a := &app{clock: func() clock.Instant { return c.now }, getenv: os.Getenv}
	s, err := a.standing(c.t.Context(), c.root, plan)
	if err != nil {
		c.t.Fatal(err)
	}
	// The journal takes from the machine who runs something.
	me := journal.Person()
	for i := range s.view.Warnings {
		w := &s.view.Warnings[i]
		w.Text = strings.ReplaceAll(w.Text, "("+me+")", "(crs)")
	}
	if s.one != nil {
		for i := range s.one.Overrides {
			s.one.Overrides[i].By = "crs"
		}
		for i := range s.detail.Runs {
			s.detail.Runs[i].User = "crs"
		}
	}
	return s
}

// TestStatus is what a person sees. Look at the golden files: they are meant to be read.
func TestStatus(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		do    func(*chronicle)
		plan  string
		width int
		bars  bool
	}{
		{"begun.80", (*chronicle).begun, "", 80, true},
		{"begun.120", (*chronicle).begun, "", 120, false},
		{"troubled.80", (*chronicle).troubled, "", 80, false},
		{"troubled.120", (*chronicle).troubled, "", 120, true},
		{"blackphos.80", (*chronicle).troubled, "blackphos", 80, false},
		{"macs.80", (*chronicle).troubled, "macs", 80, false},
		{"nothing.80", func(*chronicle) {}, "cinnabar", 80, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newChronicle(t)
			tt.do(c)
			text := c.status(tt.plan).text(tt.width, false, tt.bars)
			fits(t, text, tt.width+1, 1000)
			golden(t, "status."+tt.name+".txt", text)
			if painted := c.status(tt.plan).text(tt.width, true, tt.bars); ansi.Strip(painted) != text {
				t.Errorf("colours change the layout:\n%s", painted)
			}
		})
	}
}

package phases

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"infra/runtime"
	"infra/runtime/clock"
	"infra/runtime/gates"
	"infra/runtime/journal"
)

const day = 24 * time.Hour

var (
	monday = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	a      = &runtime.Host{Name: "a"}
	b      = &runtime.Host{Name: "b"}
	gate   = &runtime.Gate{Kind: runtime.GateStable, Of: "server", For: 7 * day, AtLeast: runtime.Rate{Times: 1, Per: day}}
)

// fleet is a migration in three phases: only checks, two servers, and what waits for them.
func fleet() []Source {
	install := &runtime.Step{Name: "install", Each: []*runtime.Host{a, b}}
	return []Source{
		{&runtime.Plan{Name: "proof", Phase: 0, Checks: []*runtime.Check{{Name: "sound", Required: true}}}, "plans/proof.star"},
		{&runtime.Plan{Name: "server", Phase: 1, Hosts: []*runtime.Host{a, b}, Steps: []*runtime.Step{install},
			Checks: []*runtime.Check{{Name: "up", Host: a, Required: true}, {Name: "up", Host: b, Required: true}, {Name: "tidy", Host: b}},
			After:  []*runtime.Gate{{Kind: runtime.GateGo, Of: "proof"}}}, "plans/server.star"},
		{&runtime.Plan{Name: "mac", Phase: 2, Steps: []*runtime.Step{{Name: "switch"}}, After: []*runtime.Gate{gate}}, "plans/mac.star"},
		{&runtime.Plan{Name: "last", Phase: 3, Steps: []*runtime.Step{{Name: "sweep"}},
			After: []*runtime.Gate{{Kind: runtime.GateDone, Of: "mac"}, {Kind: runtime.GateStable, Of: "mac", For: 14 * day}, {Kind: runtime.GateStable, Of: "server", For: 28 * day}}}, "plans/last.star"},
	}
}

// A world is a project whose journal is written as time goes by.
type world struct {
	t     *testing.T
	root  string
	j     *journal.Journal
	now   clock.Instant
	runs  int
	alive string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	root := t.TempDir()
	j, err := journal.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return &world{t: t, root: root, j: j, now: clock.Instant{Wall: monday, Mark: clock.Mark{Boot: "one", Up: time.Hour}}}
}

func (w *world) wait(d time.Duration) { w.now = w.now.Add(d) }

// A piece is a step or a check that a run came to.
type piece struct {
	name, host string
	check      bool
	status     runtime.Status // "": it did not end
}

func did(host string, status runtime.Status) piece { return piece{"install", host, false, status} }

func saw(name, host string, status runtime.Status) piece { return piece{name, host, true, status} }

// run records a run of a minute. Steps that ended well changed something. It returns
// the run's id: run1, run2, ...
func (w *world) run(plan string, status runtime.Status, call journal.Call, pieces ...piece) string {
	w.t.Helper()
	w.runs++
	id := fmt.Sprintf("run%d", w.runs)
	call.Clock = w.now.Mark
	options, _ := json.Marshal(call)
	file := "plans/" + plan + ".star"
	if host, is := strings.CutPrefix(plan, "rollback "); is {
		file = "infra rollback " + host
	}
	w.record(runtime.Event{Kind: runtime.RunStarted, Run: id, Time: w.now.Wall,
		Start: &runtime.RunStart{Plan: &runtime.Plan{Name: plan}, File: file, Options: options}})
	for i, p := range pieces {
		e := runtime.Event{Run: id, Step: p.name, Host: p.host, Check: p.check, Time: w.now.Wall, Status: p.status}
		e.Kind = runtime.StepStarted
		w.record(e)
		if !p.check {
			e.Op = &runtime.OpEvent{ID: i + 1, Changed: true, Op: runtime.Op{Name: "ssh.run", Host: p.host, Effect: runtime.Change}}
			e.Kind = runtime.OpAsked
			w.record(e)
			e.Kind = runtime.OpEnded
			w.record(e)
			e.Op = nil
		}
		if p.status != "" {
			e.Kind = runtime.StepEnded
			w.record(e)
		}
	}
	if status == "" {
		return id
	}
	w.now = w.now.Add(time.Minute)
	w.record(runtime.Event{Kind: runtime.RunEnded, Run: id, Time: w.now.Wall, Took: time.Minute, Status: status})
	return id
}

func (w *world) record(e runtime.Event) {
	w.t.Helper()
	if e.Kind == runtime.OpEnded && e.Status == "" {
		return
	}
	if err := w.j.Record(e); err != nil {
		w.t.Fatal(err)
	}
}

// verify records an observation of the server in which both hosts were as they say.
func (w *world) verify(onA, onB runtime.Status) {
	w.t.Helper()
	status := runtime.OK
	if onA == runtime.Failed || onB == runtime.Failed {
		status = runtime.Failed
	}
	w.run("server", status, journal.Call{Kind: journal.Observed}, saw("up", "a", onA), saw("up", "b", onB))
}

// proven makes the gate of the server open.
func (w *world) proven() {
	w.t.Helper()
	w.run("proof", runtime.OK, journal.Call{Kind: journal.Observed}, saw("sound", "", runtime.OK))
}

// installed makes the server done.
func (w *world) installed() {
	w.t.Helper()
	w.proven()
	w.run("server", runtime.OK, journal.Call{}, did("a", runtime.OK), did("b", runtime.OK), saw("up", "a", runtime.OK), saw("up", "b", runtime.OK))
}

// daily observes the server once a day.
func (w *world) daily(days int) {
	w.t.Helper()
	for range days {
		w.wait(day - time.Minute)
		w.verify(runtime.OK, runtime.OK)
	}
}

func (w *world) book() Book {
	w.t.Helper()
	l, err := journal.Read(w.root)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	return Book{Now: w.now, Record: gates.At(w.now, l), Ledger: l, Alive: func(run string) bool { return run == w.alive }}
}

func (w *world) view() *View {
	w.t.Helper()
	v, err := Of(fleet(), w.book())
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// moment is when something was: what is said of that is for gates to test.
var moment = regexp.MustCompile(` at \S+ \S+ UTC`)

// show is a phase in one line.
func show(p *Phase) string {
	text := string(p.State)
	if p.Soak != nil {
		text += " " + p.Soak.String()
	}
	for _, h := range p.Hosts {
		text += "; " + strings.TrimSpace(fmt.Sprintf("%s %s %s", h.Name, h.State, h.Why))
	}
	if p.Observed != nil && p.Observed.Verdict != "" {
		text += "; " + p.Observed.Verdict
	}
	if p.Why != "" {
		text += "; " + moment.ReplaceAllString(p.Why, "")
	}
	if !p.Earliest.IsZero() {
		text += "; from " + p.Earliest.Format("01-02 15:04")
	}
	return text
}

// TestStates goes through what can become of a phase. What is said of the server comes
// first, then of other phases where that matters.
func TestStates(t *testing.T) {
	t.Parallel()
	only := journal.Call{Hosts: []string{"b"}}
	tests := []struct {
		name string
		do   func(w *world)
		want map[string]string
		warn []string
	}{
		{"nothing was done", func(*world) {}, map[string]string{
			"proof":  "ready",
			"server": "waiting; a waiting; b waiting; from 03-02 09:00",
			"mac":    "waiting; from 03-09 09:00",
			"last":   "waiting; from 03-30 09:00",
		}, nil},
		{"a gate was opened", (*world).proven, map[string]string{"proof": "done; GO", "server": "ready; a ready; b ready"}, nil},
		{"the proof failed", func(w *world) {
			w.run("proof", runtime.Failed, journal.Call{Kind: journal.Observed}, saw("sound", "", runtime.Failed))
		}, map[string]string{"proof": "failed; NO-GO", "server": "waiting; a waiting; b waiting; from 03-02 09:01"}, nil},
		{"a run goes on", func(w *world) {
			w.proven()
			w.alive = w.run("server", "", journal.Call{}, did("a", runtime.OK), did("b", ""))
		}, map[string]string{"server": "running; a done; b running"}, nil},
		{"a run was cut off", func(w *world) {
			w.proven()
			w.run("server", "", journal.Call{}, did("a", runtime.OK), did("b", ""))
		}, map[string]string{"server": "interrupted; a done; b interrupted install; run run2 was cut off"}, nil},
		{"a run failed on one host", func(w *world) {
			w.proven()
			w.run("server", runtime.Failed, journal.Call{}, did("a", runtime.OK), did("b", runtime.Failed))
		}, map[string]string{"server": "failed; a done; b failed install; run run2 ended as failed, with changes"}, nil},
		{"which was then done alone", func(w *world) {
			w.proven()
			w.run("server", runtime.Failed, journal.Call{}, did("a", runtime.OK), did("b", runtime.Failed))
			w.run("server", runtime.OK, only, did("b", runtime.OK))
		}, map[string]string{"server": "ready; a done; b done; run run2 ended as failed, with changes, and run run3 was of a part of it"}, nil},
		{"a person was not there", func(w *world) {
			w.proven()
			w.run("server", runtime.Held, journal.Call{}, did("a", runtime.OK), did("b", runtime.Held))
		}, map[string]string{"server": "held; a done; b held install; run run2 ended as held, with changes"}, nil},
		{"it is soaking", func(w *world) {
			w.installed()
			w.daily(5)
			w.wait(3 * time.Hour)
		}, map[string]string{
			"server": "soaking 5d 3h of 7d; a soaking; b soaking; GO",
			"mac":    "waiting; from 03-09 09:02",
			"last":   "waiting; from 03-30 09:02",
		}, nil},
		{"a minute before the end", func(w *world) {
			w.installed()
			w.daily(6)
			w.wait(day - time.Minute)
		}, map[string]string{"server": "soaking 6d 23h of 7d; a soaking; b soaking; GO", "mac": "waiting; from 03-09 09:02"}, nil},
		{"it is stable enough for the next", func(w *world) {
			w.installed()
			w.daily(7)
		}, map[string]string{"server": "soaking 7d of 28d; a soaking; b soaking; GO", "mac": "ready"}, nil},
		{"it is stable", func(w *world) {
			w.installed()
			w.daily(28)
		}, map[string]string{"server": "stable 28d of 28d; a stable; b stable; GO", "mac": "ready"}, nil},
		{"a required check failed", func(w *world) {
			w.installed()
			w.daily(5)
			w.verify(runtime.OK, runtime.Failed)
		}, map[string]string{"server": "degraded 0s of 7d; a soaking; b degraded up; NO-GO"}, nil},
		{"an optional check failed", func(w *world) {
			w.installed()
			w.daily(2)
			w.run("server", runtime.OK, journal.Call{Kind: journal.Observed}, saw("up", "a", runtime.OK), saw("tidy", "b", runtime.Warned))
		}, map[string]string{"server": "degraded 2d of 7d; a soaking; b degraded tidy; CONDITIONAL GO"}, nil},
		{"nobody looks", func(w *world) {
			w.installed()
			w.wait(32 * time.Hour)
		}, map[string]string{"server": "soaking 1d 8h of 7d; a soaking; b soaking; GO"},
			[]string{"nobody looked at server for 1d 8h: within 4h somebody has to, or its time begins anew (infra verify plans/server.star)"}},
		{"nobody looked", func(w *world) {
			w.installed()
			w.wait(2 * day)
		}, map[string]string{"server": "soaking 0s of 7d; a soaking; b soaking; GO"},
			[]string{"nobody looked at server for 2d, and it has to be observed 1/day (infra verify plans/server.star)"}},
		{"the run was taken back", func(w *world) {
			w.installed()
			w.run("server", runtime.OK, journal.Call{Undoes: "run2"}, did("a", runtime.OK), did("b", runtime.OK))
		}, map[string]string{"server": "rolled back; a rolled back; b rolled back; run run2 was taken back by run run3"}, nil},
		{"one host was taken back", func(w *world) {
			w.installed()
			w.run("rollback b", runtime.OK, journal.Call{}, did("b", runtime.OK))
		}, map[string]string{"server": "rolled back; a done; b rolled back; b was taken back to an earlier generation by run run3"}, nil},
		{"a gate was passed", func(w *world) {
			w.installed()
			w.wait(time.Hour)
			w.run("mac", runtime.OK, journal.Call{Overrides: []journal.Override{{Gate: "stable:server", Because: "it burns"}}}, piece{"switch", "", false, runtime.OK})
		}, map[string]string{"server": "soaking 1h 1m of 7d; a soaking; b soaking; GO", "mac": "soaking 0s of 14d"},
			[]string{"mac went on although stable:server was closed, and still is: it burns"}},
		{"a clock was set back", func(w *world) {
			w.installed()
			w.now.Wall = w.now.Wall.Add(-3 * time.Hour)
			w.now.Up += time.Hour
		}, map[string]string{"server": "soaking 1h of 7d; a soaking; b soaking; GO"},
			[]string{"this machine's clock is 4h behind what it was at the end of run run2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tt.do(w)
			v := w.view()
			for name, want := range tt.want {
				if diff := cmp.Diff(want, show(v.Phase(name))); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			var said []string
			for _, w := range v.Warnings {
				said = append(said, strings.TrimSuffix(w.Text+" ("+w.Hint+")", " ()"))
			}
			if len(said) != len(tt.warn) || !strings.HasPrefix(strings.Join(said, "\n"), strings.Join(tt.warn, "\n")) {
				t.Errorf("warnings: %q, want %q", said, tt.warn)
			}
		})
	}
}

// TestDetail is of a phase that nobody looked at for two days, and of which a check
// then began to fail.
func TestDetail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.installed()
	w.wait(2 * day)
	w.verify(runtime.OK, runtime.OK)
	w.daily(1)
	w.wait(time.Hour)
	w.verify(runtime.Failed, runtime.OK)
	failed := w.now.Wall.Add(-time.Minute)
	w.run("server", runtime.OK, journal.Call{Kind: journal.Decided, Decision: &journal.Decision{By: "Ann", Because: "wait"}})
	w.wait(time.Hour)
	book := w.book()
	v, err := Of(fleet(), book)
	if err != nil {
		t.Fatal(err)
	}
	d, err := book.Detail(v.Phase("server"))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Runs) != 1 || len(d.Decisions) != 1 || d.Decisions[0].Call().Decision.By != "Ann" {
		t.Errorf("%d runs and %d decisions, want 1 of each", len(d.Runs), len(d.Decisions))
	}
	want := Window{From: monday.Add(2 * time.Minute), Times: 3, Failed: 1, Gap: 2 * day, GapAfter: monday.Add(2 * time.Minute)}
	if diff := cmp.Diff(want, d.Window); diff != "" {
		t.Errorf("window (-want +got):\n%s", diff)
	}
	var checks []string
	for _, c := range d.Checks {
		checks = append(checks, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", c.Name, c.Host, c.Status, c.Since.Format("01-02 15:04"))))
	}
	done := monday.Add(2 * time.Minute).Format("01-02 15:04")
	if diff := cmp.Diff([]string{"up a failed " + failed.Format("01-02 15:04"), "up b ok " + done, "tidy b  01-01 00:00"}, checks); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
}

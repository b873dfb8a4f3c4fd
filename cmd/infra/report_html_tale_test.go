package main

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"infra/runtime"
	"infra/runtime/clock"
	"infra/runtime/journal"
)

// A tale is a project in which a migration went on for weeks, as its record has it.
type tale struct {
	t    *testing.T
	root string
	j    *journal.Journal
	n    int
	bad  map[string]string // the checks that fail at the moment, and how, by plan and name
}

// taleStart is the day on which tales begin, a Monday.
var taleStart = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

// taleDay is a moment of a tale.
func taleDay(days float64) time.Time { return taleStart.Add(time.Duration(days * float64(day))) }

// atInstant is it as the tale's only machine has it.
func atInstant(days float64) clock.Instant {
	return clock.Instant{Wall: taleDay(days), Mark: clock.Mark{Boot: "tale", Up: taleDay(days).Sub(taleStart) + day}}
}

// newTale makes a project of these plan files.
func newTale(t *testing.T, files map[string]string) *tale {
	t.Helper()
	root := filepath.Join(inMemory(t), "nix-config")
	files["infra.toml"] = ""
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	j, err := journal.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return &tale{t, root, j, 0, map[string]string{}}
}

// inMemory is a folder that need not wait for a disk, where there is one: a tale is
// more than a thousand records.
func inMemory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "infra-tale-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// record keeps a run with these events between its begin and its end.
func (s *tale) record(days float64, took time.Duration, plan, file string, call journal.Call, status runtime.Status, events ...runtime.Event) string {
	s.t.Helper()
	s.n++
	id := fmt.Sprintf("%s-%04d", taleDay(days).Format("20060102T150405"), s.n)
	call.Clock = atInstant(days).Mark
	options, err := json.Marshal(call)
	if err != nil {
		s.t.Fatal(err)
	}
	start := runtime.Event{Kind: runtime.RunStarted, Text: "test", Start: &runtime.RunStart{File: file, Options: options, Plan: &runtime.Plan{Name: plan, Title: "of " + plan}}}
	end := runtime.Event{Kind: runtime.RunEnded, Status: status, Took: took}
	if status == runtime.Failed && call.Kind == "" {
		end.Err = errors.New("step update: the disk is full")
	}
	for _, e := range append(append([]runtime.Event{start}, events...), end) {
		e.Run, e.Time = id, taleDay(days)
		if e.Kind == runtime.RunEnded {
			e.Time = taleDay(days).Add(took)
		}
		if err := s.j.Record(e); err != nil {
			s.t.Fatal(err)
		}
	}
	return id
}

// step is one that changed something on a host.
func (s *tale) step(n int, name, host string, status runtime.Status) []runtime.Event {
	op := &runtime.OpEvent{ID: n, Changed: status == runtime.OK, Op: runtime.Op{Name: "nix.switch", Host: host, Effect: runtime.Change, Args: runtime.Args{}, Show: "generation 41 -> 42 of " + host}}
	asked := *op
	asked.Changed = false
	var err error
	if status == runtime.Failed {
		err = errors.New("the disk is full")
	}
	on := runtime.Event{Step: name, Host: host, Status: status, Took: 94 * time.Second, Err: err}
	var events []runtime.Event
	for _, k := range []runtime.EventKind{runtime.StepStarted, runtime.OpAsked, runtime.OpEnded, runtime.StepEnded} {
		e := on
		e.Kind = k
		switch k {
		case runtime.OpAsked:
			e.Op = &asked
		case runtime.OpEnded:
			e.Op = op
		}
		events = append(events, e)
	}
	return events
}

// run is a run of a plan, which changes its host.
func (s *tale) run(days float64, plan string, status runtime.Status, call journal.Call) string {
	events := s.step(1, "update", plan, runtime.OK)
	if status == runtime.Failed {
		events = append(events, s.step(2, "home-manager", plan, runtime.Failed)...)
	}
	return s.record(days, 7*time.Minute, plan, "plans/"+plan+".star", call, status, append(events, s.checks(plan)...)...)
}

// checks are how the checks of a plan go at the moment.
func (s *tale) checks(plan string) []runtime.Event {
	var events []runtime.Event
	for _, name := range taleChecks {
		e := runtime.Event{Step: name, Host: plan, Check: true, Status: runtime.OK, Took: time.Second}
		switch how := s.bad[plan+" "+name]; how {
		case "":
		case "warned":
			e.Status, e.Err = runtime.Warned, errors.New("it is slow: 412 ms")
		default:
			e.Status, e.Err = runtime.Failed, errors.New(how)
		}
		started := e
		started.Kind, started.Status, started.Err, started.Took = runtime.StepStarted, "", nil, 0
		e.Kind = runtime.StepEnded
		events = append(events, started, e)
	}
	return events
}

var taleChecks = []string{"reachable", "zerotier peers", "backups are fresh"}

// look is an observation of a plan.
func (s *tale) look(days float64, plan string) string {
	status := runtime.OK
	for _, name := range taleChecks {
		if how := s.bad[plan+" "+name]; how != "" && how != "warned" {
			status = runtime.Failed
		}
	}
	return s.record(days, 4*time.Second, plan, "plans/"+plan+".star", journal.Call{Kind: journal.Observed}, status, s.checks(plan)...)
}

// looks are observations at one time of each day, from one up to before another.
func (s *tale) looks(from, to float64, plans ...string) {
	for d := from; d < to; d++ {
		for i, plan := range plans {
			s.look(d+float64(i)/200, plan)
		}
	}
}

// decide is a person's word.
func (s *tale) decide(days float64, of string, d journal.Decision) {
	if d.By == "" {
		d.By = "Ann Archer <ann@example.org>"
	}
	s.record(days, 0, of, "infra decide "+of, journal.Call{Kind: journal.Decided, Decision: &d}, runtime.OK)
}

// phaseFile is a plan with these gates.
func phaseFile(name, title string, phase int, after string) string {
	return fmt.Sprintf(`"""%s."""
plan_host = host(%q, system = "aarch64-darwin", ssh = "root@%s.example.org")
%s = plan(title = %q, phase = %d, hosts = [plan_host], after = [%s],
    steps = [step(lambda: log("x"), name = "update")], checks = [check(lambda: True, name = "reachable")])
`, title, name, name, name, title, phase, after)
}

// migration is seven phases over thirteen weeks, in which about everything happens.
func migration(t *testing.T) *tale {
	t.Helper()
	s := newTale(t, map[string]string{
		"plans/validation.star": phaseFile("validation", "Validation", 0, ""),
		"plans/cinnabar.star":   phaseFile("cinnabar", "The server that is always on", 1, `go("validation")`),
		"plans/blackphos.star":  phaseFile("blackphos", "The first Mac", 2, `stable("cinnabar", "7d")`),
		"plans/rosegold.star":   phaseFile("rosegold", "The second Mac", 3, `stable("blackphos", "7d")`),
		"plans/argentum.star":   phaseFile("argentum", "The third Mac", 4, `stable("rosegold", "7d")`),
		"plans/stibnite.star": phaseFile("stibnite", "The Mac of every day", 5,
			`stable("cinnabar", "4w"), stable("blackphos", "4w"), stable("rosegold", "4w"), stable("argentum", "4w"), approved("weekend-window")`),
		"plans/cleanup.star":   phaseFile("cleanup", "What is left of the old ways", 6, `stable("stibnite", "2w")`),
		"plans/migration.star": `migration = plan(title = "From nixos-unified to dendritic and clan", phases = ["validation", "cinnabar", "blackphos", "rosegold", "argentum", "stibnite", "cleanup"])` + "\n",
	})
	s.bad["validation zerotier peers"] = "down: failed 3 of 3 times: no route to 10.144.0.1"
	first := s.run(0, "validation", runtime.Failed, journal.Call{})
	s.decide(0.2, "validation", journal.Decision{Because: "the network has to be up before anything else", Evidence: first, Despite: []string{"zerotier peers validation"}})
	s.bad = map[string]string{"validation backups are fresh": "warned"}
	second := s.run(2, "validation", runtime.OK, journal.Call{})
	s.decide(2.3, "validation", journal.Decision{Go: true, Because: "slow backups are known, see ticket 112", Evidence: second, Despite: []string{"backups are fresh validation"}})
	s.run(3, "cinnabar", runtime.OK, journal.Call{})
	s.looks(4, 9, "cinnabar")
	s.bad["cinnabar zerotier peers"] = "down: failed 3 of 3 times: 3 of 5 peers answer"
	s.looks(9, 11, "cinnabar")
	s.bad = map[string]string{}
	s.looks(11, 20, "cinnabar")
	s.run(19.2, "blackphos", runtime.OK, journal.Call{})
	s.looks(20, 23, "cinnabar", "blackphos")
	s.looks(23, 27, "cinnabar") // nobody asks blackphos
	s.looks(27, 33, "cinnabar", "blackphos")
	s.run(31.1, "rosegold", runtime.Failed, journal.Call{Overrides: []journal.Override{{Gate: "stable:blackphos", Because: "Rosa travels on Friday and needs the new mail setup"}}})
	s.run(32.1, "rosegold", runtime.OK, journal.Call{Overrides: []journal.Override{{Gate: "stable:blackphos", Because: "Rosa travels on Friday and needs the new mail setup"}}})
	s.looks(33, 36, "cinnabar", "blackphos", "rosegold")
	s.bad["rosegold backups are fresh"] = "flapping: failed 2 of 3 times: 26 h old"
	s.looks(36, 37, "cinnabar", "blackphos", "rosegold")
	s.bad = map[string]string{"cinnabar backups are fresh": "warned"}
	s.looks(37, 46, "cinnabar", "blackphos", "rosegold")
	s.bad = map[string]string{}
	s.run(45.1, "argentum", runtime.OK, journal.Call{})
	s.looks(46, 49, "cinnabar", "blackphos", "rosegold", "argentum")
	s.record(48.1, 3*time.Minute, "rollback argentum", "infra rollback argentum", journal.Call{}, runtime.OK, s.step(1, "rollback", "argentum", runtime.OK)...)
	s.looks(49, 53, "cinnabar", "blackphos", "rosegold")
	s.run(52.1, "argentum", runtime.OK, journal.Call{})
	s.looks(53, 71, "cinnabar", "blackphos", "rosegold", "argentum")
	s.decide(68, "weekend-window", journal.Decision{Go: true, Because: "nobody needs the machine from Friday to Sunday", By: "Bo Berg <bo@example.org>"})
	return s
}

// observeOften keeps a month of observations that are closer than a recorder could
// make them in a test: only the tables, without a chain.
func (s *tale) observeOften(plan string, times int) {
	s.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(s.root, ".infra", "journal.db"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	const runs = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
		INSERT INTO runs (id, plan, file, title, options, user, host, version, started, ended, took, status)
		SELECT 'often-' || i, ?2, 'plans/' || ?2 || '.star', '', json_object('kind', 'verify', 'clock', json_object('boot', 'tale', 'up', i * ?4 + ?5)), 'ann', 'desk', '',
			?3 + i * ?4, ?3 + i * ?4 + 1000, 1000, iif(i % 37 = 0, 'failed', 'ok') FROM n`
	const steps = `INSERT INTO steps (run, name, host, is_check, part, started, took, status, err)
		SELECT runs.id, value, ?1, 1, 0, started, 1, iif(runs.status = 'failed' AND value = 'reachable', 'failed', 'ok'), iif(seq % 2 = 1 AND runs.status = 'failed', 'flapping: x', '')
		FROM runs, json_each('["reachable", "zerotier peers", "backups are fresh"]') WHERE runs.id LIKE 'often-%'`
	apart := int64(100*day) / int64(times)
	if _, err := db.Exec(runs, times, plan, taleDay(1).UnixNano(), apart, int64(2*day)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := db.Exec(steps, plan); err != nil {
		s.t.Fatal(err)
	}
}

// infra is the program at a moment of the tale.
func (s *tale) infra(days float64, args ...string) (code int, out, words string) {
	s.t.Helper()
	s.t.Chdir(s.root)
	var files [2]*os.File
	for i := range files {
		f, err := os.CreateTemp(s.t.TempDir(), "said")
		if err != nil {
			s.t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		files[i] = f
	}
	code = runAt(func() clock.Instant { return atInstant(days) }, args, strings.NewReader(""), files[0], files[1])
	var said [2]string
	for i, f := range files {
		text, err := os.ReadFile(f.Name())
		if err != nil {
			s.t.Fatal(err)
		}
		said[i] = string(text)
	}
	return code, said[0], said[1]
}

// page is what infra report --html prints at a moment.
func (s *tale) page(days float64) string {
	s.t.Helper()
	began := time.Now()
	code, page, words := s.infra(days, "report", "--html", "-")
	if code != exitOK {
		s.t.Fatalf("infra report ended with %d: %s", code, words)
	}
	s.t.Logf("%d bytes in %s", len(page), time.Since(began).Round(time.Millisecond))
	return page
}

package journal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.starlark.net/syntax"

	"infra/runtime"
)

// noon is when the runs of these tests begin.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 500, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

func position(line int32) syntax.Position {
	file := "plans/blackphos.star"
	return syntax.MakePosition(&file, line, 5)
}

func samePos(a, b syntax.Position) bool { return a.String() == b.String() && a.Line == b.Line }

func started(run string, when time.Time) runtime.Event {
	return runtime.Event{Kind: runtime.RunStarted, Run: run, Time: when, Start: &runtime.RunStart{
		Plan: &runtime.Plan{Name: "blackphos", Title: "Move blackphos"}, File: "plans/blackphos.star",
	}}
}

func ended(run string, when time.Time, status runtime.Status) runtime.Event {
	return runtime.Event{Kind: runtime.RunEnded, Run: run, Time: when, Took: time.Minute, Status: status}
}

func op(kind runtime.EventKind, run, step string, id int) runtime.Event {
	return runtime.Event{Kind: kind, Run: run, Step: step, Host: "blackphos", Time: at(id), Status: runtime.OK, Op: &runtime.OpEvent{
		ID: id, Op: runtime.Op{Name: "ssh.run", Host: "blackphos", Effect: runtime.Change, Args: runtime.Args{"argv": []string{"true"}},
			Show: "true", Pos: position(31)},
	}}
}

func asked(run, step string, id int) runtime.Event { return op(runtime.OpAsked, run, step, id) }

func answered(run, step string, id int) runtime.Event { return op(runtime.OpEnded, run, step, id) }

func open(t testing.TB, root string) *Journal {
	t.Helper()
	j, err := Open(root)
	if err != nil {
		t.Fatalf("%v (%s)", err, runtime.HintOf(err))
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func read(t testing.TB, root string) *Ledger {
	t.Helper()
	l, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func record(t testing.TB, j *Journal, events ...runtime.Event) {
	t.Helper()
	for _, e := range events {
		if err := j.Record(e); err != nil {
			t.Fatal(err)
		}
	}
}

// wholeRun is a run with everything that can happen in it.
func wholeRun() []runtime.Event {
	build, status := asked("r1", "switch", 1), asked("r1", "reachable", 2)
	build.Op.Op.Args = runtime.Args{"b": 2, "a": []string{"<x>"}}
	status.Check, status.Op.Op.Effect = true, runtime.Read
	built, answer := answered("r1", "switch", 1), answered("r1", "reachable", 2)
	built.Took, built.Op.Changed, built.Op.Output, built.Op.Result = 3*time.Second, true, "1.log", []byte(`{"code":0}`)
	built.Op.Prediction = &runtime.Prediction{Verdict: runtime.WillChange, Detail: "+ a line"}
	answer.Check, answer.Status, answer.Err = true, runtime.Failed, runtime.WithHint(errors.New("exit code 1"), "look")
	in := func(kind runtime.EventKind, step string, e runtime.Event) runtime.Event {
		e.Kind, e.Run, e.Step, e.Host = kind, "r1", step, "blackphos"
		return e
	}
	begin := started("r1", noon)
	begin.Text, begin.Start.Options = "v1.2.3", []byte(`{"hosts":["blackphos"]}`)
	begin.Start.Sources = []runtime.Source{{Path: "plans/blackphos.star", SHA256: "00ff"}, {Path: "fleet.star", SHA256: "11ee"}}
	return []runtime.Event{
		begin,
		{Kind: runtime.Logged, Run: "r1", Time: at(1), Text: "reading", Pos: position(3)},
		in(runtime.StepStarted, "switch", runtime.Event{Time: at(2)}),
		in(runtime.StepRetried, "switch", runtime.Event{Time: at(3), Err: errors.New("connection lost")}),
		build,
		in(runtime.OpOutput, "switch", runtime.Event{Text: "building"}),
		built,
		in(runtime.StepEnded, "switch", runtime.Event{Took: 4 * time.Second, Status: runtime.OK, Result: []byte(`"done"`)}),
		in(runtime.StepEnded, "cleanup", runtime.Event{Status: runtime.Skipped, Err: runtime.WithHint(errors.New("a check failed"), "mend it")}),
		in(runtime.StepStarted, "reachable", runtime.Event{Time: at(6), Check: true}),
		status, answer,
		in(runtime.StepEnded, "reachable", runtime.Event{Check: true, Status: runtime.Failed, Text: "no answer"}),
		{Kind: runtime.RunEnded, Run: "r1", Time: at(9), Took: 9 * time.Second, Status: runtime.Failed, Err: runtime.WithHint(errors.New("1 check failed"), "see above")},
	}
}

func TestWholeRunIsReadBack(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	record(t, j, wholeRun()...)
	got, err := read(t, root).Run("r1")
	if err != nil {
		t.Fatal(err)
	}
	want := Run{
		ID: "r1", Plan: "blackphos", File: "plans/blackphos.star", Title: "Move blackphos", Version: "v1.2.3",
		Options: []byte(`{"hosts":["blackphos"]}`),
		Sources: []runtime.Source{{Path: "plans/blackphos.star", SHA256: "00ff"}, {Path: "fleet.star", SHA256: "11ee"}},
		Started: noon, Ended: at(9), Took: 9 * time.Second, Status: runtime.Failed, Err: "1 check failed", Hint: "see above", Asked: 2, Changed: 1, LastOp: 2, FailedChecks: 1,
		Logs: []Log{{Kind: runtime.Logged, Time: at(1), Text: "reading", Pos: position(3)}},
		Steps: []Step{{
			Name: "switch", Host: "blackphos", Status: runtime.OK, Started: at(2), Took: 4 * time.Second, Attempts: 2, Result: []byte(`"done"`),
			Logs: []Log{{Kind: runtime.StepRetried, Time: at(3), Text: "connection lost"}},
			Ops: []Op{{ID: 1, Attempt: 2, Name: "ssh.run", Host: "blackphos", Effect: "change", Args: []byte(`{"a":["\u003cx\u003e"],"b":2}`),
				Show: "true", Pos: position(31), Started: at(1), Took: 3 * time.Second, Status: runtime.OK, Changed: true,
				Verdict: "change", Detail: "+ a line", Output: "1.log", Result: []byte(`{"code":0}`)}},
		}, {
			Name: "cleanup", Host: "blackphos", Status: runtime.Skipped, Attempts: 1, Err: "a check failed", Hint: "mend it",
		}, {
			Name: "reachable", Host: "blackphos", Check: true, Status: runtime.Failed, Started: at(6), Attempts: 1, Text: "no answer",
			Ops: []Op{{ID: 2, Attempt: 1, Name: "ssh.run", Host: "blackphos", Effect: "read", Args: []byte(`{"argv":["true"]}`),
				Show: "true", Pos: position(31), Started: at(2), Status: runtime.Failed, Err: "exit code 1", Hint: "look"}},
		}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Run{}, "User", "Host", "Seq"), cmp.Comparer(samePos)); diff != "" {
		t.Error(diff)
	}
	machine, err := os.Hostname()
	if err != nil || got.User == "" || got.Host != machine {
		t.Errorf("run by %q on %q, want someone on %q", got.User, got.Host, machine)
	}
}

func TestFilesArePrivateAndIgnoredByGit(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	record(t, j, started("r1", noon))
	want := map[string]fs.FileMode{
		".": fs.ModeDir | 0o700, ".gitignore": 0o600, "journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600,
		"runs": fs.ModeDir | 0o700, "runs/r1": fs.ModeDir | 0o700,
	}
	got := map[string]fs.FileMode{}
	err := fs.WalkDir(os.DirFS(filepath.Join(root, ".infra")), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		got[path] = info.Mode()
		return err
	})
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if text, err := os.ReadFile(filepath.Join(root, ".infra/.gitignore")); string(text) != "*\n" {
		t.Errorf(".gitignore is %q (%v)", text, err)
	}
	if j.Folder("r1") != filepath.Join(root, ".infra/runs/r1") {
		t.Error(j.Folder("r1"))
	}
}

func TestTwoWhoMakeItShareIt(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	record(t, j, started("r1", noon))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := create(j.dir, filepath.Join(j.dir, fileName)); err != nil { // as one who saw none a moment ago
		t.Fatal(err)
	}
	if runs, err := read(t, root).Runs(1); err != nil || len(runs) != 1 {
		t.Errorf("%d runs are left, %v", len(runs), err)
	}
	if left, err := filepath.Glob(filepath.Join(j.dir, "*.new-*")); err != nil || left != nil {
		t.Errorf("left over: %v (%v)", left, err)
	}
}

func TestRunsAreListedInTheOrderOfStarting(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	record(t, j, started("20260301-a1", noon), ended("20260301-a1", at(60), runtime.OK),
		started("20260301-b2", noon.Add(-time.Hour)), // the clock was set back
		started("20260302-a1b", noon))
	runs, err := read(t, root).Runs(2)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range runs {
		got = append(got, r.ID+" "+string(r.Status))
	}
	if diff := cmp.Diff([]string{"20260302-a1b unfinished", "20260301-b2 unfinished"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestRunIsNamedByAPartOfItsID(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	record(t, j, started("20260301-a1", noon), started("20260301-b2", noon), started("20260301-a1-again", noon))
	l := read(t, root)
	for _, c := range []struct{ id, want, err string }{
		{id: "last", want: "20260301-a1-again"},
		{id: "b2", want: "20260301-b2"},
		{id: "20260301-a1", want: "20260301-a1"}, // whole, although another id begins with it
		{id: "again", want: "20260301-a1-again"},
		{id: "a1", err: `"a1" is a part of several runs' ids`},
		{id: "c3", err: `there is no run "c3"`},
		{id: "", err: `there is no run ""`},
	} {
		run, err := l.Run(c.id)
		switch {
		case c.err == "" && (err != nil || run.ID != c.want):
			t.Errorf("%s: got %s, %v; want %s", c.id, run.ID, err, c.want)
		case c.err != "" && (err == nil || err.Error() != c.err || runtime.HintOf(err) == ""):
			t.Errorf("%s: got %v (%s), want %s", c.id, err, runtime.HintOf(err), c.err)
		}
	}
}

func TestWhatHasNoEndSaysSo(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	record(t, j, started("r1", noon), runtime.Event{Kind: runtime.StepStarted, Run: "r1", Step: "switch", Host: "blackphos", Time: at(1)},
		asked("r1", "switch", 1))
	run, err := read(t, root).Run("last")
	if err != nil {
		t.Fatal(err)
	}
	if run.Status != Unfinished || run.Steps[0].Status != Unfinished || run.Steps[0].Ops[0].Status != InFlight {
		t.Errorf("run %s, step %s, operation %s", run.Status, run.Steps[0].Status, run.Steps[0].Ops[0].Status)
	}
}

func TestWhatCannotBeIsNotRecorded(t *testing.T) {
	j := open(t, t.TempDir())
	record(t, j, started("r1", noon), asked("r1", "switch", 1), answered("r1", "switch", 1))
	nowhere := started("../r2", noon)
	empty := runtime.Event{Kind: runtime.OpAsked, Run: "r1", Time: noon}
	for name, e := range map[string]runtime.Event{
		"an operation of an unknown run":    asked("r2", "switch", 1),
		"an operation asked twice":          asked("r1", "switch", 1),
		"an end without a beginning":        answered("r1", "switch", 2),
		"a second end":                      answered("r1", "switch", 1),
		"the end of an unknown run":         ended("r2", noon, runtime.OK),
		"a second run of one id":            started("r1", noon),
		"a run outside of the folder":       nowhere,
		"an operation event without an op":  empty,
		"a run without a time":              started("r3", time.Time{}),
		"arguments that cannot be encoded":  withArgs(asked("r1", "switch", 3), runtime.Args{"f": func() {}}),
		"a result that is not JSON (leaks)": {Kind: runtime.StepEnded, Run: "nope", Step: "x", Result: []byte("{")},
	} {
		if err := j.Record(e); err == nil {
			t.Errorf("%s was recorded", name)
		}
	}
}

func withArgs(e runtime.Event, args runtime.Args) runtime.Event {
	e.Op.Op.Args = args
	return e
}

func TestReadMakesNothing(t *testing.T) {
	root := t.TempDir()
	if _, err := Read(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	if names, err := os.ReadDir(root); err != nil || len(names) > 0 {
		t.Errorf("reading made %v (%v)", names, err)
	}
}

func TestPositionsAreReadBack(t *testing.T) {
	file := "a:7.star"
	for _, p := range []syntax.Position{{}, syntax.MakePosition(&file, 3, 4), syntax.MakePosition(&file, 3, 0), syntax.MakePosition(&file, 0, 0)} {
		if got := posOf(posText(p)); !samePos(got, p) || got.IsValid() && got.Filename() != p.Filename() {
			t.Errorf("got %s, want %s", got, p)
		}
	}
}

// TestRecordWaitsForTheDisk: what SQLite may leave to the kernel, a power cut
// takes away; no test can cut the power.
func TestRecordWaitsForTheDisk(t *testing.T) {
	j := open(t, t.TempDir())
	for pragma, want := range map[string]string{"synchronous": "2", "fullfsync": "1", "journal_mode": "wal", "foreign_keys": "1"} {
		var got string
		if err := j.writer.row("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q (%v), want %q", pragma, got, err, want)
		}
	}
}

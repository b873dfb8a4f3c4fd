package journal

import (
	"errors"
	"strings"
	"testing"
	"time"

	"infra/runtime"
)

// resumedRun is a run that failed, was gone on with by another process, and was
// ok then.
func resumedRun(id string) []runtime.Event {
	step := func(kind runtime.EventKind, name string, e runtime.Event) runtime.Event {
		e.Kind, e.Run, e.Step, e.Host = kind, id, name, "blackphos"
		return e
	}
	failed := ended(id, at(20), runtime.Failed)
	failed.Err = errors.New("switch failed")
	return []runtime.Event{
		started(id, at(10)),
		step(runtime.StepStarted, "build", runtime.Event{Time: at(11)}),
		step(runtime.StepEnded, "build", runtime.Event{Time: at(12), Took: time.Second, Status: runtime.OK, Result: []byte(`1`)}),
		step(runtime.StepStarted, "switch", runtime.Event{Time: at(13)}),
		asked(id, "switch", 1),
		step(runtime.StepEnded, "switch", runtime.Event{Time: at(14), Took: time.Second, Status: runtime.Failed, Err: errors.New("link lost")}),
		step(runtime.StepEnded, "after", runtime.Event{Time: at(14), Status: runtime.Skipped, Err: errors.New("switch did not succeed")}),
		failed,
		{Kind: runtime.RunResumed, Run: id, Time: at(30), Text: "v2"},
		answered(id, "switch", 1), // it was found out how it had ended
		step(runtime.StepStarted, "switch", runtime.Event{Time: at(31)}),
		asked(id, "switch", 2),
	}
}

func TestRunIsGoneOnWith(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	record(t, j, resumedRun("r1")...)
	run, err := read(t, root).Run("r1")
	if err != nil {
		t.Fatal(err)
	}
	if run.Status != Unfinished || run.Err != "" || !run.Ended.IsZero() || run.Took != 0 || run.LastOp != 2 {
		t.Errorf("it has ended: %+v", run)
	}
	if len(run.Resumes) != 1 || run.Resumes[0].Before.Status != runtime.Failed || run.Resumes[0].Before.Err != "switch failed" ||
		!run.Resumes[0].Before.Ended.Equal(at(20)) || !run.Resumes[0].Time.Equal(at(30)) || run.Resumes[0].Version != "v2" || run.Resumes[0].User == "" {
		t.Errorf("resumes: %+v", run.Resumes)
	}
	if len(run.Steps) != 3 {
		t.Fatalf("%d steps", len(run.Steps))
	}
	build, again, after := run.Steps[0], run.Steps[1], run.Steps[2]
	if build.Status != runtime.OK || build.Part != 0 || string(build.Result) != "1" || after.Status != runtime.Skipped {
		t.Errorf("build %+v, after %+v", build, after)
	}
	if again.Status != Unfinished || again.Part != 1 || again.Attempts != 2 || again.Err != "" || len(again.Earlier) != 1 || again.Earlier[0].Err != "link lost" {
		t.Errorf("switch: %+v", again)
	}
	if len(again.Ops) != 2 || again.Ops[0].Attempt != 1 || again.Ops[0].Status != runtime.OK || again.Ops[1].Attempt != 2 {
		t.Errorf("operations: %+v", again.Ops)
	}
	step := func(kind runtime.EventKind, name string, check bool) runtime.Event {
		return runtime.Event{Kind: kind, Run: "r1", Step: name, Host: "blackphos", Check: check, Time: at(40), Status: runtime.OK}
	}
	record(t, j, step(runtime.StepStarted, "build", false), step(runtime.StepEnded, "build", false)) // it was ok, and is entered again
	for name, e := range map[string]runtime.Event{
		"a step that has ended in this part": step(runtime.StepStarted, "build", false),
		"a second end of it":                 step(runtime.StepEnded, "build", false),
		"an operation's id once more":        asked("r1", "switch", 1),
		"a run that nobody ever began":       {Kind: runtime.RunResumed, Run: "r2", Time: noon},
	} {
		if err := j.Record(e); err == nil {
			t.Errorf("%s was recorded", name)
		}
	}
	record(t, j, answered("r1", "switch", 2), step(runtime.StepEnded, "switch", false), step(runtime.StepStarted, "after", false),
		step(runtime.StepEnded, "after", false), step(runtime.StepStarted, "seen", true), step(runtime.StepEnded, "seen", true), ended("r1", at(50), runtime.OK))
	if err := j.Record(runtime.Event{Kind: runtime.RunResumed, Run: "r1", Time: at(60)}); err == nil {
		t.Error("a run that was ok was resumed")
	}
	if got := verified(t, root); got != "" {
		t.Error(got)
	}
}

// TestEveryEndButOKMayBeGoneOnWith also resumes twice, and a run that died.
func TestEveryEndButOKMayBeGoneOnWith(t *testing.T) {
	for _, status := range []runtime.Status{"", runtime.Failed, runtime.Interrupted, runtime.Held} {
		root := t.TempDir()
		j := open(t, root)
		check := runtime.Event{Kind: runtime.StepStarted, Run: "r1", Step: "seen", Check: true, Time: at(1)}
		checked := runtime.Event{Kind: runtime.StepEnded, Run: "r1", Step: "seen", Check: true, Status: runtime.OK}
		record(t, j, started("r1", noon), check, checked, asked("r1", "switch", 1))
		for range 2 {
			if status != "" {
				record(t, j, ended("r1", at(1), status))
			}
			record(t, j, runtime.Event{Kind: runtime.RunResumed, Run: "r1", Time: at(2)}, check, checked) // a check may always be made again
		}
		run, err := read(t, root).Run("r1")
		if err != nil || len(run.Resumes) != 2 || run.Status != Unfinished || len(run.Steps[1].Earlier)+len(run.Steps[0].Earlier) != 2 {
			t.Errorf("%q: %+v, %v", status, run, err)
		}
		if got := verified(t, root); got != "" {
			t.Errorf("%q: %s", status, got)
		}
	}
}

func TestOutputIsNamedWhenAsked(t *testing.T) {
	root := t.TempDir()
	j := open(t, root)
	ask, done := asked("r1", "switch", 1), answered("r1", "switch", 1)
	ask.Op.Output = "0001-ssh-run.log"
	record(t, j, started("r1", noon), ask)
	if run, err := read(t, root).Run("r1"); err != nil || run.Steps[0].Ops[0].Output != ask.Op.Output {
		t.Errorf("%+v, %v", run, err)
	}
	record(t, j, done) // it printed nothing
	if run, err := read(t, root).Run("r1"); err != nil || run.Steps[0].Ops[0].Output != "" {
		t.Errorf("%+v, %v", run, err)
	}
}

func TestDryRunIsNotKept(t *testing.T) {
	dry := started("r1", noon)
	dry.Start.DryRun = true
	if err := open(t, t.TempDir()).Record(dry); err == nil || !strings.Contains(err.Error(), "dry run") {
		t.Errorf("got %v", err)
	}
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.starlark.net/syntax"

	"infra/runtime"
	"infra/runtime/journal"
)

// logNow is when the runs of these tests are looked at, in a zone of its own.
var logNow = time.Date(2026, 11, 22, 23, 0, 0, 0, time.FixedZone("CET", 3600))

func logAt(minutes int) time.Time { return logNow.Add(time.Duration(minutes-60) * time.Minute).UTC() }

func loggedRun() journal.Run {
	file := "plans/blackphos.star"
	pos := syntax.MakePosition(&file, 31, 5)
	return journal.Run{
		ID: "20261122T2100-k3f9", Plan: "blackphos", File: file, Title: "First Mac", User: "hanna", Host: "laptop", Version: "v1.2.3",
		Started: logAt(0), Ended: logAt(5), Took: 5 * time.Minute, Status: runtime.Failed, Asked: 4, Changed: 1,
		Options: []byte(`{"hosts":["blackphos"]}`), Sources: []runtime.Source{{Path: file, SHA256: "00ff"}}, LastOp: 11,
		Resumes: []journal.Resume{{Time: logAt(3), User: "hanna", Host: "desk", Version: "v1.2.4",
			Before: journal.Ending{Ended: logAt(2), Took: 2 * time.Minute, Status: runtime.Interrupted, Err: "stopped by Ctrl-C"}}},
		Logs: []journal.Log{{Kind: runtime.Logged, Time: logAt(0), Text: "reading"}},
		Steps: []journal.Step{{
			Name: "update", Host: "blackphos", Status: runtime.Failed, Started: logAt(1), Took: 4 * time.Minute, Attempts: 2,
			Err: "nix.switch: activate exited with 1", Hint: "mend it", Part: 1,
			Earlier: []journal.Step{{Name: "update", Host: "blackphos", Status: runtime.Interrupted, Started: logAt(1), Took: time.Minute, Attempts: 1, Err: "stopped"}},
			Logs:    []journal.Log{{Kind: runtime.StepRetried, Time: logAt(2), Text: "connection lost\nto blackphos", After: 1}},
			Ops: []journal.Op{
				{ID: 1, Attempt: 1, Name: "nix.build", Effect: "build", Show: ".#blackphos", Args: []byte(`{"a":1}`), Started: logAt(1), Took: 59 * time.Second,
					Status: runtime.OK, Output: "0001-nix-build.log", Pos: pos, Result: []byte(`"/nix/store/x"`)},
				{ID: 2, Attempt: 2, Name: "ssh.run", Host: "cinnabar", Effect: "change", Show: "touch\n/x", Args: []byte(`{}`), Started: logAt(3),
					Status: runtime.OK, Changed: true, Pos: pos},
				{ID: 10, Attempt: 2, Name: "nix.switch", Host: "blackphos", Effect: "change", Show: "/nix/store/x", Args: []byte(`{}`), Started: logAt(3), Took: time.Second,
					Status: runtime.Failed, Err: "activate exited with 1", Hint: "look at the log", Output: "0010-nix-switch.log", Pos: pos},
			},
		}, {
			Name: "announce", Status: runtime.Skipped, Attempts: 1, Err: `"update" did not succeed`,
		}, {
			Name: "reachable", Host: "blackphos", Check: true, Status: journal.Unfinished, Started: logAt(4), Attempts: 1,
			Ops: []journal.Op{{ID: 11, Attempt: 1, Name: "ssh.reachable", Host: "blackphos", Effect: "read", Args: []byte(`{}`), Started: logAt(4), Status: journal.InFlight, Pos: pos,
				Output: "0011-gone.log"}},
		}},
	}
}

// logView prints the run with outputs from a folder of real files.
func logView(t *testing.T, p palette, whole bool) string {
	t.Helper()
	dir := t.TempDir()
	var lines strings.Builder
	for i := range 12 {
		fmt.Fprintf(&lines, "line %d\n", i+1)
	}
	for name, text := range map[string]string{"0001-nix-build.log": "building\x1b[2J\n  0%\r100%\n", "0010-nix-switch.log": lines.String() + "no newline"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var b strings.Builder
	runView{p, &b, logNow, dir, whole}.print(loggedRun())
	return strings.ReplaceAll(b.String(), dir, "FOLDER")
}

func TestLogOfOneRun(t *testing.T) {
	golden(t, "log-run.txt", logView(t, false, false))
	golden(t, "log-run-color.txt", logView(t, true, false))
	golden(t, "log-run-output.txt", logView(t, false, true))
}

func TestLogOfRuns(t *testing.T) {
	now := loggedRun()
	now.ID, now.Plan, now.Started, now.Ended, now.Status = "20261122T2259-a", "日本", logNow.Add(-time.Second), time.Time{}, journal.Unfinished
	old := loggedRun()
	old.ID, old.Started, old.Status, old.User = "20260101T0000-b", logNow.AddDate(0, -2, 0), runtime.OK, "o\x1b[31m"
	runs := []journal.Run{now, loggedRun(), old}
	golden(t, "log-list.txt", runTable(runs, logNow, false))
	golden(t, "log-list-color.txt", runTable(runs, logNow, true))
}

func TestLogAsJSON(t *testing.T) {
	folder := func(run string) string { return "/project/.infra/runs/" + run }
	var b strings.Builder
	for _, doc := range []jsonLog{jsonRuns(folder, nil), jsonRuns(folder, []journal.Run{loggedRun()}), jsonOneRun(folder, loggedRun())} {
		if err := printJSON(&b, doc); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "log-json.txt", b.String())
}

func TestLogOfSomeSteps(t *testing.T) {
	steps := loggedRun().Steps
	got, err := only(steps, []string{"reachable", "update"})
	if err != nil || len(got) != 2 || got[0].Name != "update" {
		t.Errorf("got %v, %v", got, err)
	}
	_, err = only(steps, []string{"updat"})
	if err == nil || runtime.HintOf(err) != "it has update, announce, reachable" {
		t.Errorf("got %v (%s)", err, runtime.HintOf(err))
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "in the future", time.Second: "just now", time.Minute: "1m ago", 119 * time.Minute: "1h ago",
		47 * time.Hour: "47h ago", 48 * time.Hour: "2d ago",
	} {
		if got := age(d); got != want {
			t.Errorf("%s: got %s, want %s", d, got, want)
		}
	}
}

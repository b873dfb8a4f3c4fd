package main

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"infra/runtime"
	"infra/runtime/journal"
)

// recorded is a project with a journal in which a run has begun.
func recorded(t *testing.T) (root string, j *journal.Journal) {
	t.Helper()
	root = t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "infra.toml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	keep(t, j, runtime.Event{Kind: runtime.RunStarted, Run: "r1", Start: &runtime.RunStart{Plan: &runtime.Plan{Name: "p"}, File: "p.star"}})
	return root, j
}

func keep(t *testing.T, j *journal.Journal, events ...runtime.Event) {
	t.Helper()
	for _, e := range events {
		e.Run, e.Time = "r1", logNow
		if err := j.Record(e); err != nil {
			t.Fatal(err)
		}
	}
}

// follow starts infra log --follow, and returns once it has shown marker.
func follow(t *testing.T, root, marker string, args ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command("infra", append([]string{"log", "--follow"}, args...)...)
	cmd.Dir = root
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	shown(t, lines, marker)
	return cmd, lines
}

func shown(t *testing.T, lines *bufio.Reader, marker string) {
	t.Helper()
	for {
		line, err := lines.ReadString('\n')
		if strings.Contains(line, marker) {
			return
		}
		if err != nil {
			t.Fatalf("it ended without %q: %v", marker, err)
		}
	}
}

func TestFollowShowsWhatIsRecordedAndEnds(t *testing.T) {
	root, j := recorded(t)
	cmd, lines := follow(t, root, "run r1 of p.star")
	keep(t, j, runtime.Event{Kind: runtime.Logged, Step: "s", Text: "half-way"})
	shown(t, lines, "s | half-way")
	keep(t, j, runtime.Event{Kind: runtime.RunEnded, Status: runtime.Failed}, runtime.Event{Kind: runtime.RunResumed},
		runtime.Event{Kind: runtime.Logged, Text: "again"}, runtime.Event{Kind: runtime.RunEnded, Status: runtime.OK, Took: time.Second})
	rest, err := io.ReadAll(lines)
	if end := cmd.Wait(); end != nil || err != nil || !strings.Contains(string(rest), "again") || !strings.Contains(string(rest), "ok in 1.0s") {
		t.Errorf("%v, %v:\n%s", end, err, rest)
	}
}

func TestCtrlCEndsFollowing(t *testing.T) {
	root, _ := recorded(t)
	cmd, lines := follow(t, root, `"event":"run_started"`, "r1", "--json")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(lines)
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != exitInterrupted || len(rest) > 0 {
		t.Errorf("%v\n%s", err, rest)
	}
}

// TestVerifyNamesWhatWasAltered alters an operation behind the journal's back.
func TestVerifyNamesWhatWasAltered(t *testing.T) {
	root, j := recorded(t)
	keep(t, j, runtime.Event{Kind: runtime.OpAsked, Step: "s", Host: "h", Op: &runtime.OpEvent{ID: 1, Op: runtime.Op{Name: "ssh.run"}}})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(root, ".infra", "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("UPDATE ops SET name = 'ssh.put'"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	const want = "what this record is about was altered: record 2, op_asked, run r1, step s h, operation 1, 2026-11-22T22:00:00Z"
	cmd := exec.Command("infra", "log", "--verify", "--json")
	cmd.Dir = root
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	var doc jsonLog
	if bad := json.Unmarshal(out, &doc); bad != nil || doc.Verify == nil || doc.Verify.Broken == nil || doc.Verify.Broken.Op != 1 || doc.Verify.Whole {
		t.Errorf("%v: %s", bad, out)
	}
	if err == nil || cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(said.String(), want) || !strings.Contains(said.String(), "1 record before") {
		t.Errorf("%v: %s\nwant %s", err, said.String(), want)
	}
}

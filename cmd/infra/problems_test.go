package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"infra/runtime"
	"infra/runtime/interp"
)

func TestPrintProblems(t *testing.T) {
	ps := runtime.Problems{
		{Pos: at("plans/blackphos.star", 52, 9), Msg: `step "switch" needs 2 results but its function takes 1`,
			Source: "        step(switch, needs = [vars, system]),", Hint: "def switch(vars, system): ...", Trace: []string{"plans/all.star:3:1 in <toplevel>"}},
		{Pos: at("plans/blackphos.star", 3, 6), Msg: "tabs and wide runes", Source: "\ta\t日本b = x"},
		{Pos: at("plans/lib/a.star", 1, 1), Msg: "load cycle\nplans/lib/a.star loads b.star\nplans/lib/b.star loads a.star",
			Source: `load("b.star", "b")`, Hint: "move what both need\ninto a third file"},
		{Pos: at("plans/lib/b.star", 0, 0), Msg: "the file cannot be read"},
		{Msg: "a problem without a place"},
	}
	for name, color := range map[string]bool{"problems.txt": false, "problems-color.txt": true} {
		var b strings.Builder
		printProblems(&b, ps, color)
		golden(t, name, b.String())
	}
}

func TestCaretUnderRune(t *testing.T) {
	for _, tt := range []struct {
		source string
		col    int32
		want   string // what stands before the caret
	}{
		{"abc", 1, ""},
		{"abc", 3, "  "},
		{"\tabc", 3, "\t "},
		{"日本x", 3, "    "},
		{"e\u0301x", 3, " "},
		{"abc", 99, "   "},
	} {
		got := snippet(at("f", 7, tt.col), tt.source, false)
		want := "    7 | " + tt.source + "\n      | " + tt.want + "^\n"
		if got != want {
			t.Errorf("column %d of %q:\n%swant:\n%s", tt.col, tt.source, got, want)
		}
	}
}

func TestProblemsAreNotLimited(t *testing.T) {
	var ps runtime.Problems
	for i := range int32(50) {
		ps = append(ps, runtime.Problem{Pos: at("a.star", i+1, 1), Msg: "wrong", Source: "x"})
	}
	var b strings.Builder
	printProblems(&b, ps, false)
	if got := strings.Count(b.String(), "error: wrong"); got != 50 {
		t.Errorf("50 problems show as %d", got)
	}
	if !strings.HasSuffix(b.String(), "\n50 problems in 1 file\n") {
		t.Errorf("no count at the end: %q", b.String()[b.Len()-60:])
	}
}

// What the message quotes of a tool's output is not shown twice.
func TestFailureSaysItOnce(t *testing.T) {
	said := []string{"building...", "error: no space left"}
	for msg, want := range map[string]int{"nix build: error: no space left": 1, "nix build exited with 1": 1} {
		var b strings.Builder
		printFailure(&b, `step "build"`, errors.New(msg), said, false)
		if got := strings.Count(b.String(), "no space left"); got != want {
			t.Errorf("%q: said %d times:\n%s", msg, got, b.String())
		}
	}
}

func TestPrintFailure(t *testing.T) {
	failure := &interp.Failure{
		Pos: at(planFile, 21, 12), Source: "    return nix.switch(mac, system, confirm_within = \"2m\")",
		Msg:   "nix.switch on blackphos: activate ended with code 1:\nsetting up /etc...\n\x1b[31merror:\x1b[0m launchd said no",
		Hint:  "the old system still runs;\nmend it and run again",
		Trace: []string{"plans/lib/darwin.star:8:5 in deploy", planFile + ":30:9 in switch"},
	}
	var b strings.Builder
	for _, err := range []error{
		fmt.Errorf("wrapped: %w", failure),
		runtime.WithHint(errors.New("there is no plan file x.star"), "name one"),
		&runtime.NotKnownError{Field: "stdout", Origin: runtime.Unknown{Op: "ssh.run", Pos: at(planFile, 31, 9)}},
	} {
		printFailure(&b, "", err, nil, false)
		printFailure(&b, `step "switch"`, err, []string{"last line"}, false)
	}
	golden(t, "failure.txt", b.String())
}

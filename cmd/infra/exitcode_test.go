package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"infra/runtime"
)

// Every way to end, with every combination of the flags that decide on it.
func TestExitCodes(t *testing.T) {
	steps := func(st runtime.Status) runtime.Totals {
		return runtime.Totals{Steps: map[runtime.Status]int{runtime.OK: 2, st: 1}}
	}
	verdict := func(v ...runtime.Verdict) runtime.Totals {
		t := runtime.Totals{Verdicts: map[runtime.Verdict]int{runtime.NoChange: 1}}
		for _, v := range v {
			t.Verdicts[v]++
		}
		return t
	}
	for _, tt := range []struct {
		name   string
		status runtime.Status
		totals runtime.Totals
		want   [4]int // without flags, --strict, --detailed-exitcode, both
	}{
		{"nothing", runtime.OK, runtime.Totals{}, [4]int{0, 0, 0, 0}},
		{"no change", runtime.OK, verdict(), [4]int{0, 0, 0, 0}},
		{"change", runtime.OK, verdict(runtime.WillChange), [4]int{0, 0, 3, 3}},
		{"destroy", runtime.OK, verdict(runtime.WillDestroy), [4]int{0, 0, 3, 3}},
		{"unknown", runtime.OK, verdict(runtime.NotKnown), [4]int{0, 1, 3, 1}},
		{"change and unknown", runtime.OK, verdict(runtime.WillChange, runtime.NotKnown), [4]int{0, 1, 3, 1}},
		{"stopped", runtime.OK, steps(runtime.Stopped), [4]int{0, 1, 3, 1}},
		{"skipped", runtime.OK, steps(runtime.Skipped), [4]int{0, 1, 3, 1}},
		{"a stopped check", runtime.OK, runtime.Totals{Checks: map[runtime.Status]int{runtime.Stopped: 1}}, [4]int{0, 1, 3, 1}},
		{"warned", runtime.OK, runtime.Totals{Checks: map[runtime.Status]int{runtime.Warned: 1}}, [4]int{0, 0, 0, 0}},
		{"failed", runtime.Failed, verdict(runtime.WillChange), [4]int{1, 1, 1, 1}},
		{"failed and unknown", runtime.Failed, verdict(runtime.NotKnown), [4]int{1, 1, 1, 1}},
		{"held", runtime.Held, steps(runtime.Held), [4]int{4, 4, 4, 4}},
		{"interrupted", runtime.Interrupted, verdict(runtime.NotKnown), [4]int{130, 130, 130, 130}},
	} {
		for i, want := range tt.want {
			f := runFlags{strict: i&1 != 0, detailed: i&2 != 0}
			if got := f.code(tt.status, &tt.totals); got != want {
				t.Errorf("%s, strict %v, detailed %v: exit code %d, want %d", tt.name, f.strict, f.detailed, got, want)
			}
		}
	}
}

func TestExitCodesOfErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{fmt.Errorf("read: %w", runtime.Problems{{Msg: "x"}}), 2},
		{exit{exitUsage, errors.New("x")}, 2},
		{exit{code: exitPending}, 3},
		{fmt.Errorf("host: %w", runtime.ErrLocked), 5},
	} {
		if got := exitCodeOf(tt.err); got != tt.want {
			t.Errorf("%v: exit code %d, want %d", tt.err, got, tt.want)
		}
	}
}

// The help lists every exit code there is.
func TestExitCodesAreDocumented(t *testing.T) {
	for _, code := range []int{exitOK, exitFailed, exitUsage, exitPending, exitHeld, exitLocked, exitInterrupted} {
		if !strings.Contains(exitCodes, fmt.Sprintf("\n  %-4d ", code)) {
			t.Errorf("the help does not say what exit code %d is", code)
		}
	}
	for _, flag := range []string{"--strict", "--detailed-exitcode"} {
		if !strings.Contains(exitCodes, flag) {
			t.Errorf("the help's exit codes do not name %s", flag)
		}
	}
}

// A flag that is for previews is refused by a run, rather than ignored.
func TestPreviewFlagsWantAPreview(t *testing.T) {
	for _, name := range []string{"strict", "detailed-exitcode", "offline", "build"} {
		for _, dry := range []bool{false, true} {
			c := newRun(&app{})
			if err := c.Flags().Set(name, "true"); err != nil {
				t.Fatal(err)
			}
			if err := (runFlags{dryRun: dry}).check(c); (err == nil) != dry {
				t.Errorf("--%s, a dry run %v: %v", name, dry, err)
			}
		}
	}
}

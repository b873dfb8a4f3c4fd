package remote

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"infra/runtime"
)

// Whatever shell a login has must take the scripts as one word.
func TestUnitScriptsAreOneWord(t *testing.T) {
	for _, script := range []string{unitStarts, unitSettles, unitForgets} {
		text, found := strings.CutPrefix(oneWord(script, true), "exec sudo -n /bin/sh -c '")
		text, ended := strings.CutSuffix(text, "'")
		if !found || !ended || strings.ContainsAny(text, "'\n") || strings.Contains(text, `\\`) {
			t.Errorf("%q", text)
		}
		for name, shell := range shells(t) {
			if out, err := exec.Command(shell[0], append(shell[1:], "-n", "-c", text)...).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s: %v, %s", name, err, out)
			}
		}
	}
}

func TestUnitRuns(t *testing.T) {
	for name, shell := range shells(t) {
		if out, err := exec.Command(shell[0], append(shell[1:], "-n", "-c", joined(unitRuns))...).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
}

func TestUnitNames(t *testing.T) {
	for _, name := range []string{"", "a b", "a/b", "a.b", "a%b", "a\n", strings.Repeat("a", 201)} {
		if _, err := NewPool(Config{}).Settle(t.Context(), target, Command{Unit: name}); err == nil || !strings.Contains(err.Error(), "name of a unit") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestGoesOn(t *testing.T) {
	for cause, want := range map[error]bool{
		fmt.Errorf("x: %w", runtime.ErrInterrupted): true, context.Canceled: true,
		context.DeadlineExceeded: false, fmt.Errorf("the step's timeout of %s is over", time.Second): false,
	} {
		if goesOn(cause) != want {
			t.Errorf("%v: %t", cause, !want)
		}
	}
}

func TestResumed(t *testing.T) {
	var got strings.Builder
	r := &resumed{w: &got}
	for _, stream := range [][]string{{"ab"}, {"a", "bc"}, {"abcd", "e"}, {"abc"}, {"abcdef"}} {
		w := r.again()
		for _, part := range stream {
			if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
				t.Error(n, err)
			}
		}
	}
	if got.String() != "abcdef" {
		t.Errorf("got %q", &got)
	}
}

func FuzzCutWord(f *testing.F) {
	for _, s := range []string{"", "infra-unit unit 1\n", "noise\ninfra-unit ended 3\nmore", "infra-unit", "infra-unit \r\n", "infra-unit void x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, noise string) {
		words, rest := cutWord(noise)
		if len(rest) > len(noise) {
			t.Fatalf("%q became %q", noise, rest)
		}
		f := &following{host: target, unit: "u", number: 1}
		if s, err := f.read(words); err == nil && s.Fate == runtime.Untold && s.Why == "" {
			t.Errorf("%q: nothing is said", noise)
		}
	})
}

package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"infra/runtime"
)

// fleetFailure is a run of 500 hosts that failed on a few of them.
func fleetFailure(undo bool) []runtime.Event {
	var hosts []*runtime.Host
	for i := range 500 {
		hosts = append(hosts, &runtime.Host{Name: fmt.Sprintf("mac-%03d", i)})
	}
	sw := &runtime.Step{Name: "switch", Each: hosts}
	verify := &runtime.Step{Name: "verify it", Each: hosts, Needs: []*runtime.Step{sw}}
	s := &script{}
	s.start(false, []*runtime.Step{sw, verify}, nil)
	s.events[0].Start.Plan.UndoOnFailure = undo
	for i, h := range hosts {
		why := &runtime.SkippedError{Why: "not started", Step: "switch", Host: "mac-007", Ended: runtime.Failed}
		switch {
		case i%100 == 7:
			s.end(time.Second, "switch", h.Name, runtime.Failed, fmt.Errorf("ssh.run: %s has no space left:\n/nix is full", h.Name))
			s.end(0, "verify it", h.Name, runtime.Skipped, &runtime.SkippedError{Step: "switch", Host: h.Name, Ended: runtime.Failed})
		case i < 20:
			s.end(time.Second, "switch", h.Name, runtime.OK, nil)
			s.end(time.Second, "verify it", h.Name, runtime.OK, nil)
		default:
			s.end(0, "switch", h.Name, runtime.Skipped, why)
			s.end(0, "verify it", h.Name, runtime.Skipped, why)
		}
	}
	s.end(0, "ask", "", runtime.Held, fmt.Errorf("%w: nobody is here", runtime.ErrHeld))
	s.add(0, runtime.Event{Kind: runtime.RunEnded, Status: runtime.Failed, Took: time.Minute, Totals: &runtime.Totals{}})
	return s.events
}

func endOf(events []runtime.Event) string {
	w := newWords(false, true)
	for _, e := range events[:len(events)-1] {
		w.tell(e)
	}
	return w.tell(events[len(events)-1])
}

// The end of a run says what failed, what was left out and why, and what to do
// next, in a few lines for a fleet too.
func TestTheEndOfAFailedRun(t *testing.T) {
	const want = `failed:
  switch on mac-007, mac-107, mac-207, mac-307, mac-407: ssh.run: mac-007 has no space left: /nix is full
      it is ok on 19 other hosts
held:
  ask: nobody is here
skipped:
  verify it on 481 hosts: switch on mac-007, mac-107, mac-207, mac-307, mac-407 failed
  switch on 476 hosts: switch on mac-007 failed
failed in 1m00s: 0 operations, no change completed
next:
  infra resume 20261122T2119-k3f9             goes on with what is left, once it is mended
  infra log 20261122T2119-k3f9 --step switch  shows what was done and printed
`
	if got := endOf(fleetFailure(false)); got != want {
		t.Errorf("it ends with\n%s\nwant\n%s", got, want)
	}
	got := endOf(fleetFailure(true))
	if !strings.Contains(got, "is taken back now") || strings.Contains(got, "infra resume") {
		t.Errorf("what is taken back ends with\n%s", got)
	}
}

// Of a run that was resumed, only how it ended now counts.
func TestTheTallyBeginsAnew(t *testing.T) {
	events := fleetFailure(false)
	resumed := events[0]
	resumed.Kind = runtime.RunResumed
	again := append(events[:len(events)-1:len(events)-1], resumed,
		runtime.Event{Kind: runtime.StepEnded, Step: "switch", Host: "mac-007", Status: runtime.Interrupted, Err: errors.New("cut")}, events[len(events)-1])
	if got := endOf(again); strings.Contains(got, "failed:") || !strings.Contains(got, "interrupted:\n  switch on mac-007: cut") {
		t.Error(got)
	}
}

func TestAStepIsQuotedForAShell(t *testing.T) {
	for in, want := range map[string]string{"switch": "switch", "undo switch": "'undo switch'", "it's": `'it'\''s'`, "$(x)": "'$(x)'"} {
		if got := quoted(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

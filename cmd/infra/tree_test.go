package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"go.starlark.net/starlark"

	"infra/runtime"
)

// stateAfter is the tree after a run's first events, a moment later.
func stateAfter(events []runtime.Event) *treeState {
	s := newTreeState()
	for _, e := range events {
		s.apply(e)
	}
	s.now = s.now.Add(1500 * time.Millisecond)
	return s
}

// fleetRun is a run over many hosts, twenty of them at work, two failed.
func fleetRun(hosts, steps int) []runtime.Event {
	update := &runtime.Step{Name: "update"}
	for i := range hosts {
		update.Each = append(update.Each, &runtime.Host{Name: fmt.Sprintf("host-%03d", i)})
	}
	all := []*runtime.Step{{Name: "prepare"}, update}
	for i := range steps {
		all = append(all, &runtime.Step{Name: fmt.Sprintf("later-%03d", i)})
	}
	s := &script{}
	s.start(false, all, nil)
	s.step("prepare", "")
	s.end(time.Second, "prepare", "", runtime.OK, nil)
	for i := range min(hosts, 30) {
		host := update.Each[i].Name
		s.step("update", host)
		done := s.ask("update", host, runtime.Op{Name: "nix.switch", Host: host, Show: "/nix/store/…-nixos-system-" + host}, "activating", fmt.Sprintf("setting up unit %d of 20...", i))
		if i%3 != 0 {
			continue
		}
		done(0, runtime.OK, changed)
		if i%12 == 0 {
			s.end(time.Second, "update", host, runtime.Failed, errors.New("the disk is full"))
		} else {
			s.end(time.Second, "update", host, runtime.OK, nil)
		}
	}
	return s.events
}

// manySteps is a run of many steps in a row, at its middle.
func manySteps(n int) []runtime.Event {
	var steps []*runtime.Step
	for i := range n {
		steps = append(steps, &runtime.Step{Name: fmt.Sprintf("step-%03d", i)})
	}
	s := &script{}
	s.start(false, steps, nil)
	for i := range n / 2 {
		s.step(steps[i].Name, "")
		op := runtime.Op{Name: "local.run", Effect: runtime.Change, Show: "make " + steps[i].Name}
		done := s.ask(steps[i].Name, "", op, "compiling …")
		switch {
		case i >= n/2-3:
		case i == 1:
			s.end(time.Second, steps[i].Name, "", runtime.Failed, errors.New("make exited with 2"))
		default:
			done(time.Second, runtime.OK, changed)
			s.end(0, steps[i].Name, "", runtime.OK, nil)
		}
	}
	return s.events
}

func TestView(t *testing.T) {
	mac := okRun()
	for _, tt := range []struct {
		golden string
		events []runtime.Event
	}{
		{"tree-start.txt", mac[:1]},
		{"tree-few.txt", mac[:10]},
		{"tree-end.txt", mac},
		{"tree-failed.txt", failedRun()},
		{"tree-fleet.txt", fleetRun(50, 4)},
		{"tree-steps.txt", manySteps(200)},
		{"tree-parts.txt", partsRun()},
	} {
		t.Run(tt.golden, func(t *testing.T) {
			var b strings.Builder
			for _, width := range []int{40, 80, 120} {
				for _, height := range []int{5, 24, 60} {
					got := view(stateAfter(tt.events), width, height, false)
					fmt.Fprintf(&b, "=== %dx%d\n%s\n", width, height, got)
					fits(t, got, width, height)
				}
			}
			golden(t, tt.golden, b.String())
		})
	}
}

func fits(t *testing.T, view string, width, height int) {
	t.Helper()
	lines := strings.Split(view, "\n")
	if len(lines) > height {
		t.Errorf("%d lines on a terminal %d high", len(lines), height)
	}
	for _, line := range lines {
		if w := ansi.StringWidth(line); w >= width {
			t.Errorf("a line of %d columns on a terminal %d wide: %q", w, width, line)
		}
	}
}

// However small the terminal, the view fits; colours do not count.
func TestViewFits(t *testing.T) {
	for _, events := range [][]runtime.Event{okRun()[:10], failedRun(), fleetRun(50, 4), manySteps(200), partsRun(), nil} {
		for width := 10; width < 130; width += 29 {
			for height := 1; height < 70; height += 7 {
				fits(t, view(stateAfter(events), width, height, true), width, height)
			}
		}
	}
}

// No step is lost when not all have room: lines and counts add up.
func TestViewCounts(t *testing.T) {
	for height := 5; height < 220; height += 9 {
		shown, counted := 0, 0
		for _, line := range strings.Split(view(stateAfter(manySteps(200)), 80, height, false), "\n") {
			var n, m int
			switch {
			case strings.HasPrefix(line, "… ✓"):
				fmt.Sscanf(line, "… ✓ %d ok  ✗ %d failed", &n, &m)
			case strings.HasPrefix(line, "…"):
				fmt.Sscanf(line, "… %d more", &n)
			case strings.Contains(line, "step-"):
				shown++
			}
			counted += n + m
		}
		if shown+counted != 200 {
			t.Errorf("height %d: %d steps shown and %d counted, of 200", height, shown, counted)
		}
	}
}

// A run that is cut off leaves nothing that seems to run on.
func TestViewAfterInterrupt(t *testing.T) {
	events := append(okRun()[:5], runtime.Event{Kind: runtime.RunEnded, Time: t0.Add(time.Second), Status: runtime.Interrupted})
	got := view(stateAfter(events), 80, 24, false)
	if strings.Contains(got, spinnerFrames[0]) || !strings.Contains(got, "! system") {
		t.Errorf("after an interrupt:\n%s", got)
	}
}

// A part that ends keeps its line until the next one takes it, so that the lines below
// do not jump; without a next one it goes after a while.
func TestPartsKeepTheirLines(t *testing.T) {
	s := newTreeState()
	run := &script{}
	run.start(false, []*runtime.Step{{Name: "build"}}, nil)
	run.step("build", "")
	run.ask("build", "", runtime.Op{Name: "nix.build"})
	for _, e := range run.events {
		s.apply(e)
	}
	parts := func(after time.Duration) (names string) {
		s.now = s.now.Add(after)
		for _, line := range strings.Split(view(s, 80, 24, false), "\n")[1:] {
			if fields := strings.Fields(line); strings.HasPrefix(line, "    ") {
				names += strings.Join(fields[1:], " ") + "\n"
			}
		}
		return names
	}
	for _, tt := range []struct {
		part runtime.Part
		want string
	}{
		{runtime.Part{Name: "a", Does: "building"}, "a building\n"},
		{runtime.Part{Name: "b", Does: "building"}, "a building\nb building\n"},
		{runtime.Part{Name: "a", Does: "built", Over: true}, "a built\nb building\n"},
		{runtime.Part{Name: "c", Does: "building"}, "c building\nb building\n"},
		{runtime.Part{Name: "unseen", Does: "built", Over: true}, "c building\nb building\n"},
		{runtime.Part{Name: "b", Does: "built", Over: true}, "c building\nb built\n"},
	} {
		e := runtime.Event{Kind: runtime.OpProgress, Time: s.now, Step: "build", Op: &runtime.OpEvent{ID: 1}, Part: &tt.part}
		if s.apply(e); parts(time.Second) != tt.want {
			t.Errorf("after %+v:\n%s", tt.part, parts(0))
		}
	}
	if got := parts(partStays); got != "c building\n" {
		t.Errorf("after a while:\n%s", got)
	}
}

// Of operations that were sent ahead the first one runs.
func TestTreeShowsTheOneThatRuns(t *testing.T) {
	s := newTreeState()
	op := func(kind runtime.EventKind, id int, statement starlark.CallStack) {
		op := &runtime.OpEvent{ID: id, Op: runtime.Op{Name: fmt.Sprint("op", id), Host: "h", Statement: statement}}
		s.apply(runtime.Event{Kind: kind, Time: time.Unix(1, 0), Step: "act", Host: "h", Op: op})
	}
	shows := func(want string) {
		t.Helper()
		if got := view(s, 80, 24, false); !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
	statement := starlark.CallStack{{}}
	op(runtime.OpAsked, 1, nil) // has the others done
	op(runtime.OpAsked, 2, statement)
	shows("  op2\n")
	op(runtime.OpAsked, 3, statement)
	op(runtime.OpAsked, 4, statement)
	shows("  op2 (+2)\n")
	op(runtime.OpEnded, 2, statement)
	shows("  op3 (+1)\n")
	op(runtime.OpEnded, 3, statement)
	op(runtime.OpEnded, 4, statement)
	shows("  op1\n")
}

func BenchmarkView1000(b *testing.B) {
	s := stateAfter(manySteps(1000))
	for b.Loop() {
		view(s, 120, 50, true)
	}
}

func BenchmarkOutput(b *testing.B) {
	tr := newTreeState()
	for _, e := range okRun()[:4] {
		tr.apply(e)
	}
	w := newWords(false, true)
	e := okRun()[4]
	for b.Loop() {
		tr.apply(e)
		w.tell(e)
	}
}

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"infra/runtime"
	"infra/runtime/engine"
)

// passed are the gates that a person passes, and why, by their names.
func (f runFlags) passed() map[string]string {
	passed := map[string]string{}
	for _, gate := range f.overrides {
		passed[gate] = strings.TrimSpace(f.because)
	}
	return passed
}

// hintsOf is what a person does about gates that hold a plan back, each once.
func hintsOf(closed *engine.ClosedError) string {
	var lines []string
	for _, g := range closed.Gates {
		if g.Hint != "" && !slices.Contains(lines, g.Hint) {
			lines = append(lines, g.Hint)
		}
	}
	lines = append(lines, fmt.Sprintf("--override %s --because \"...\" begins all the same, and is kept on record", closed.Gates[0].Gate.Name()))
	return strings.Join(lines, "; ")
}

// gate is a line of a run's header.
func (w *words) gate(g runtime.GateState) string {
	name, why := oneLine(g.Gate.String()), oneLine(g.Why)
	switch {
	case g.Open:
		return w.dim("gate "+name+" is open: ") + why + "\n"
	case g.Overridden != "":
		return w.bad("gate "+name+" is OVERRIDDEN") + ": " + oneLine(g.Overridden) + w.dim(" (it is closed: "+why+")") + "\n"
	}
	line := w.change("gate "+name+" is closed") + ": " + why
	if !g.From.IsZero() {
		line += "; it can open at " + runtime.FormatTime(g.From) + " at the earliest"
	}
	if g.Hint != "" {
		line += "\n  " + w.dim("hint: "+oneLine(g.Hint))
	}
	return line + "\n"
}

// rfc3339 is a time in UTC; "" for none.
func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// A jsonGate is a gate of a plan, and whether it is open.
type jsonGate struct {
	Gate       string `json:"gate"` // such as "stable:cinnabar"
	Shown      string `json:"shown"`
	Open       bool   `json:"open"`
	Why        string `json:"why"`
	Hint       string `json:"hint,omitempty"`
	Earliest   string `json:"earliest,omitempty"`
	Since      string `json:"since,omitempty"`
	SoakedMS   int64  `json:"soaked_ms,omitempty"`
	WantsMS    int64  `json:"wants_ms,omitempty"`
	Overridden string `json:"overridden,omitempty"`
}

func jsonGatesOf(states []runtime.GateState) []jsonGate {
	var list []jsonGate
	for _, g := range states {
		list = append(list, jsonGate{
			Gate: g.Gate.Name(), Shown: g.Gate.String(), Open: g.Open, Why: printable(runtime.Scrub(g.Why)), Hint: printable(runtime.Scrub(g.Hint)),
			Earliest: rfc3339(g.From), Since: rfc3339(g.Since), SoakedMS: g.Soaked.Milliseconds(), WantsMS: g.Gate.For.Milliseconds(),
			Overridden: printable(runtime.Scrub(g.Overridden)),
		})
	}
	return list
}

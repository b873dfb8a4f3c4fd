package engine

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/clock"
	"infra/runtime/gates"
	"infra/runtime/interp"
	"infra/runtime/journal"
)

// gates says what the record has of the plan's gates at this moment, and which of them
// a person passes all the same. A run that is gone on with has passed them, and what
// takes a run back waits for none.
func (e *Engine) gates(r *run) ([]runtime.GateState, error) {
	if err := r.overridable(); err != nil {
		return nil, err
	}
	if len(r.plan.After) == 0 || r.opts.Past != nil {
		return nil, nil
	}
	ledger, err := journal.ReadIfAny(e.root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ledger.Close() }() // nothing was written
	record := gates.At(r.opts.instant(), ledger)
	record.Known, record.Nearest = planNames(e.root), builtins.Nearest
	states, err := record.States(r.plan)
	for i := range states {
		states[i].Overridden = r.opts.Overrides[states[i].Gate.Name()]
	}
	return states, err
}

// planNames are the names that the project's plan files give plans.
func planNames(root string) []string {
	names := []string{}
	for _, path := range interp.PlanFiles(root) {
		names = append(names, strings.TrimSuffix(filepath.Base(path), ".star"))
	}
	return names
}

// overridable refuses to override what is no gate of the plan.
func (r *run) overridable() error {
	names := map[string]bool{}
	var there []string
	for _, g := range r.plan.After {
		names[g.Name()] = true
		there = append(there, g.Name())
	}
	for name := range r.opts.Overrides {
		switch {
		case names[name]:
		case len(there) == 0:
			return fmt.Errorf("%w: the plan has no gates, and so no %q", ErrSelection, name)
		default:
			return runtime.WithHint(fmt.Errorf("%w: the plan has no gate %q", ErrSelection, name), "there are: %s", strings.Join(there, ", "))
		}
	}
	return nil
}

// pass refuses to begin while a gate holds the plan back.
func (e *Engine) pass(r *run) (err error) {
	if r.start.Gates, err = e.gates(r); err != nil {
		return err
	}
	var held []runtime.GateState
	for _, g := range r.start.Gates {
		if g.Holds() {
			held = append(held, g)
		}
	}
	if len(held) > 0 {
		return &ClosedError{Plan: r.plan.Name, Gates: held}
	}
	return nil
}

// A ClosedError is that gates hold a plan back. It is [runtime.ErrHeld].
type ClosedError struct {
	Plan  string
	Gates []runtime.GateState // those that do
}

func (e *ClosedError) Is(target error) bool { return target == runtime.ErrHeld }

func (e *ClosedError) Error() string {
	lines := make([]string, len(e.Gates))
	for i, g := range e.Gates {
		lines[i] = fmt.Sprintf("\n  %s: %s", g.Gate, g.Why)
		if !g.From.IsZero() {
			lines[i] += fmt.Sprintf("; it can open at %s at the earliest", runtime.FormatTime(g.From))
		}
	}
	return fmt.Sprintf("%s is held back, and nothing was done:%s", e.Plan, strings.Join(lines, ""))
}

// stamp keeps with how the run was called when it begins: what was asked and waited
// for since then is no part of it.
func (r *run) stamp(began clock.Instant) {
	var call map[string]json.RawMessage
	if err := json.Unmarshal(r.start.Options, &call); err != nil || call == nil {
		return // nobody will ask how it was called
	}
	mark, err := json.Marshal(began.Mark)
	if err != nil {
		return // strings and numbers
	}
	call["clock"] = mark
	if options, err := json.Marshal(call); err == nil {
		r.start.Options = options
	}
}

// took is how long the run took, with the sleep of the machine, which the time that
// programs measure leaves out.
func (r *run) took(began clock.Instant) time.Duration {
	took := time.Since(r.started)
	if now := r.opts.instant(); now.SameBoot(began) {
		took = max(took, now.Sub(began))
	}
	return took
}

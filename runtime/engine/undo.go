package engine

import (
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"infra/runtime"
	"infra/runtime/interp"
	"infra/runtime/journal"
)

// Undo returns file with a plan that takes back what a run of it did: the undo
// of each step that ended well, after those of the steps that needed it. The
// plan also says what nothing takes back. It may have no steps.
func Undo(file *interp.File, past *journal.Run) (*interp.File, error) {
	tasks, err := build(file.Plan, nil, nil)
	if err != nil {
		return nil, err
	}
	results := map[instance]journal.Step{}
	for _, s := range past.Steps {
		if !s.Check && s.Status == runtime.OK {
			results[instance{s.Name, s.Host}] = s
		}
	}
	taken := map[instance]bool{}
	steps, err := undoing(tasks.groups, func(t *task) (starlark.Value, bool, error) {
		s, ok := results[t.instance()]
		if !ok || t.group.step.Undo == nil {
			return nil, false, nil
		}
		taken[t.instance()] = true
		v, err := runtime.Decode(s.Result)
		if err != nil {
			err = fmt.Errorf("what step %s returned is not in the journal, and its undo needs it: %w", t, err)
		}
		return v, true, err
	})
	if err != nil {
		return nil, err
	}
	undo := *file
	undo.Plan = &runtime.Plan{Name: file.Plan.Name, Title: "undo of run " + past.ID, Phase: -1,
		Hosts: file.Plan.Hosts, Steps: steps, Pos: file.Plan.Pos, Undoes: &runtime.Undo{Run: past.ID, Left: left(past, taken)}}
	return &undo, nil
}

// Hold keeps every other process from going on with a run of the project, or
// taking it back, until release is called. It refuses a run that still goes on.
func (e *Engine) Hold(run string) (release func(), err error) { return lockRun(e.root, run) }

// undoing makes a step of each task's undo. result says what the task returned,
// and whether there is something to undo.
func undoing(groups []*group, result func(*task) (starlark.Value, bool, error)) ([]*runtime.Step, error) {
	var steps []*runtime.Step
	after := map[*task][]*runtime.Step{} // what must be undone before the task is
	for _, g := range slices.Backward(groups) {
		for _, t := range g.tasks {
			v, ended, err := result(t)
			if err != nil {
				return nil, err
			}
			waits := waitsOf(t, after)
			if ended {
				s := undoStep(t, v, len(steps))
				s.Needs = waits
				steps = append(steps, s)
				waits = []*runtime.Step{s}
			}
			after[t] = waits
		}
	}
	return steps, nil
}

// waitsOf are the undos of what came after t, each once.
func waitsOf(t *task, after map[*task][]*runtime.Step) []*runtime.Step {
	var waits []*runtime.Step
	seen := map[*runtime.Step]bool{}
	for _, n := range t.next {
		for _, s := range after[n] {
			if !seen[s] {
				seen[s] = true
				waits = append(waits, s)
			}
		}
	}
	return waits
}

// undoStep is the step that undoes t. Of a fan-out each host has one of its
// own, since each waits for something else; n, the number of steps before it,
// spreads them over as many locks as hosts may be worked on at once.
func undoStep(t *task, result starlark.Value, n int) *runtime.Step {
	s := t.group.step
	undo := &runtime.Step{Name: "undo " + s.Name, Pos: s.Pos, OnFailure: runtime.StopOnFailure, Locks: s.Locks}
	args := starlark.Tuple{result}
	if t.host != nil {
		args, undo.Each = starlark.Tuple{t.host, result}, []*runtime.Host{t.host}
	}
	if s.Parallel > 0 {
		undo.Locks = append(slices.Clone(s.Locks), fmt.Sprintf("%s, %d of %d", undo.Name, n%s.Parallel, s.Parallel))
	}
	undo.Fn = starlark.NewBuiltin("undo", func(thread *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		_, err := runtime.CallBack(thread, s.Undo, args)
		return starlark.None, err
	})
	if fn, ok := s.Undo.(*starlark.Function); ok {
		undo.Doc = strings.TrimSpace(firstLineOf(fn.Doc()))
	}
	return undo
}

func firstLineOf(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

// left is what was done and is not taken back.
func left(past *journal.Run, taken map[instance]bool) []runtime.Left {
	var all []runtime.Left
	for _, s := range past.Steps {
		if s.Check || taken[instance{s.Name, s.Host}] {
			continue
		}
		if done := doings(s); len(done) > 0 {
			all = append(all, runtime.Left{Step: s.Name, Host: s.Host, Status: s.Status, Done: done})
		}
	}
	return all
}

// doings are the operations of a step that altered something, or may have.
func doings(s journal.Step) []string {
	var done []string
	for _, op := range s.Ops {
		word := ""
		switch {
		case op.Effect == runtime.Read.String() || op.Effect == runtime.Build.String():
			continue
		case op.Status == runtime.OK && op.Changed:
			word = "done"
		case op.Status == runtime.OK, op.Status == runtime.Failed && s.Status == runtime.OK:
			continue // it changed nothing, or failed and the step saw to it
		case op.Status == journal.InFlight:
			word = "it may have happened"
		default:
			word = string(op.Status)
		}
		text := strings.Join(strings.Fields(op.Name+" "+onHost(op, s)+" "+op.Show), " ") + " (" + word + ")"
		if !slices.Contains(done, text) {
			done = append(done, text)
		}
	}
	return done
}

// onHost is the operation's host, where the step's does not say it.
func onHost(op journal.Op, s journal.Step) string {
	if op.Host == s.Host {
		return ""
	}
	return op.Host
}

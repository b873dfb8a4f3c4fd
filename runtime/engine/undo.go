package engine

import (
	"fmt"
	"slices"

	"go.starlark.net/starlark"

	"infra/runtime"
	"infra/runtime/interp"
	"infra/runtime/journal"
)

// Undo returns file with a plan that takes back what a run of it did: the undo
// of each step that ended well, after those of the steps that needed it.
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
	steps, err := undoing(tasks.groups, func(t *task) (starlark.Value, bool, error) {
		s, ok := results[t.instance()]
		if !ok {
			return nil, false, nil
		}
		v, err := runtime.Decode(s.Result)
		if err != nil {
			err = fmt.Errorf("what step %s returned is not in the journal, and its undo needs it: %w", t, err)
		}
		return v, true, err
	})
	if err != nil {
		return nil, err
	}
	if len(steps) == 0 {
		return nil, runtime.WithHint(fmt.Errorf("run %s has nothing to undo: no step that ended well has an undo", past.ID),
			"step(fn, undo = ...) says how a step is taken back")
	}
	undo := *file
	undo.Plan = &runtime.Plan{Name: file.Plan.Name, Title: "undo of run " + past.ID, Phase: -1,
		Hosts: file.Plan.Hosts, Steps: steps, Pos: file.Plan.Pos}
	return &undo, nil
}

// undoing makes a step of each task's undo. result says what the task returned,
// and whether it ended well at all.
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
			if ended && g.step.Undo != nil {
				s := undoStep(t, v)
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

func undoStep(t *task, result starlark.Value) *runtime.Step {
	s := t.group.step
	args := starlark.Tuple{result}
	if t.host != nil {
		args = starlark.Tuple{t.host, result}
	}
	call := func(thread *starlark.Thread, _ *starlark.Builtin, _ starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		_, err := starlark.Call(thread, s.Undo, args, nil)
		return starlark.None, err
	}
	doc := ""
	if fn, ok := s.Undo.(*starlark.Function); ok {
		doc = fn.Doc()
	}
	return &runtime.Step{Name: "undo " + t.String(), Doc: doc, Fn: starlark.NewBuiltin("undo", call), Pos: s.Pos, OnFailure: runtime.StopOnFailure}
}

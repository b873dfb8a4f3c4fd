package engine

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"infra/runtime"
)

// An entry is one thing that a task showed: a line that it logged, or an
// operation as it ended.
type entry struct {
	text string // of a line
	op   *runtime.OpEvent
	err  error
	note string
}

func (e entry) String() string {
	if e.op == nil {
		return "log " + e.text
	}
	args, _ := json.Marshal(e.op.Op.Args) // they are JSON's types
	s := fmt.Sprintf("%s %s %s", e.op.Op.Name, cmp.Or(e.op.Op.Host, "here"), args)
	if p := e.op.Prediction; p != nil {
		s += ": " + p.Verdict.String()
	} else if e.op.Changed {
		s += ": changed"
	}
	if e.err != nil {
		s += ": failed: " + e.err.Error()
	}
	return s + " " + e.note
}

// A trace is what a task showed, and how it ended.
type trace struct {
	entries []entry
	status  runtime.Status
	err     error
	result  string
	given   bool // it received what other steps returned, which may not be known
}

// A taskID names a step, or its share for a host.
type taskID struct{ step, host string }

// A recording is what a whole run showed.
type recording struct {
	mu      sync.Mutex
	tasks   map[taskID]*trace
	doubted map[string]bool // steps
	needs   map[string][]string
	order   []taskID
}

func newRecording() *recording {
	return &recording{tasks: map[taskID]*trace{}, doubted: map[string]bool{}, needs: map[string][]string{}}
}

func (r *recording) show(e runtime.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Kind == runtime.RunStarted {
		for _, s := range e.Start.Steps {
			for _, n := range s.Needs {
				r.needs[s.Name] = append(r.needs[s.Name], n.Name)
			}
		}
	}
	if e.Kind == runtime.Doubted {
		r.doubted[e.Step] = true
	}
	if e.Kind == runtime.Doubted || e.Step == "" {
		return
	}
	id := taskID{e.Step, e.Host}
	t := r.tasks[id]
	if t == nil {
		t = &trace{given: len(r.needs[e.Step]) > 0}
		r.tasks[id] = t
		r.order = append(r.order, id)
	}
	switch e.Kind {
	case runtime.Logged:
		t.entries = append(t.entries, entry{text: e.Text})
	case runtime.OpEnded:
		t.entries = append(t.entries, entry{op: e.Op, err: e.Err, note: e.Text})
	case runtime.StepEnded:
		t.status, t.err, t.result = e.Status, e.Err, unknownResult.ReplaceAllString(string(e.Result), "$1")
	}
}

// unknown says whether the dry run named the step, or one that it needs, as
// one of which it does not know what comes first.
func (r *recording) unknown(step string) bool {
	if r.doubted[step] {
		return true
	}
	for _, n := range r.needs[step] {
		if r.unknown(n) {
			return true
		}
	}
	return false
}

// compare returns what the dry run showed and the run did not do.
func compare(dry, run *recording) error {
	for _, id := range dry.order {
		r := run.tasks[id]
		if dry.unknown(id.step) || r == nil {
			continue
		}
		if err := dry.tasks[id].against(r); err != nil {
			return fmt.Errorf("step %s %s: %w\n\ndry run:\n%s\nrun:\n%s", id.step, id.host, err, dry.tasks[id], r)
		}
	}
	return nil
}

func (t *trace) String() string {
	var b strings.Builder
	for _, e := range t.entries {
		fmt.Fprintf(&b, "    %s\n", e)
	}
	fmt.Fprintf(&b, "    %s %v\n", t.status, t.err)
	return b.String()
}

// against compares a task's dry run to its run.
func (t *trace) against(run *trace) error {
	if run.status == runtime.Skipped || t.status == runtime.Skipped {
		return nil // another task failed
	}
	d, r := t.entries, run.entries
	unknown := t.given
	for len(d) > 0 {
		early := unknown && (len(r) == 0 && run.status == runtime.Failed || len(r) > 0 && r[0].endsAttempt() && !d[0].endsAttempt())
		if !early {
			if len(r) == 0 {
				return fmt.Errorf("the run has no %s", d[0])
			}
			failed, err := d[0].against(r[0])
			if err != nil {
				return err
			}
			unknown = unknown || d[0].open()
			d, r = d[1:], r[1:]
			early = failed
		}
		if early { // a value that only the run knew, or an operation, failed
			if len(r) == 0 && run.status == runtime.Failed {
				return nil
			}
			d = afterAttempt(d)
		}
	}
	return t.ending(run, r, unknown)
}

// ending compares how a dry run that was wholly compared ended.
func (t *trace) ending(run *trace, rest []entry, unknown bool) error {
	switch {
	case t.status == runtime.Stopped:
		return nil
	case len(rest) > 0:
		return fmt.Errorf("the dry run ended before %s", rest[0])
	case t.status == runtime.OK && run.status == runtime.Failed && unknown:
		return nil // a value that only the run knew failed
	case t.status != run.status:
		return fmt.Errorf("the dry run ended as %s, the run as %s", t.status, run.status)
	case t.status == runtime.OK && !matches(t.result, run.result):
		return fmt.Errorf("the dry run returned %s, the run %s", t.result, run.result)
	}
	return nil
}

// stoppedAt is the place that ended a preview, "the condition of an if".
func (t *trace) stoppedAt() string {
	var unknown *runtime.NotKnownError
	if errors.As(t.err, &unknown) {
		return unknown.Field
	}
	return ""
}

package main

import (
	"fmt"
	"strings"

	"infra/runtime"
	"infra/runtime/journal"
)

// A runRow is a run with what happened in it.
type runRow struct {
	ID, Plan, What, At, By, Took, Changes string
	Status, Tone                          string
	Loud                                  string // gates that were passed
	Err, Hint                             string
	Steps                                 []stepRow
	Left                                  int  // steps that are not among them
	Brief                                 bool // the page has no room for its steps
}

// A stepRow is a step or check of a run.
type stepRow struct {
	Name, Status, Tone, Took, Text string
	Changes                        []string
}

const (
	stepRows   = 80 // of a run
	changeRows = 20 // of a step
)

// runs are the newest runs with their steps, the newest first, and how many more there are.
func (s *storyteller) runs() (rows []runRow, older int, err error) {
	for i := len(s.acts) - 1; i >= 0; i-- {
		r := s.acts[i]
		if r.Call().Decision != nil {
			continue
		}
		if len(rows) == detailed {
			older++
			continue
		}
		row := runRowOf(r)
		if err := s.detail(&row); err != nil {
			return nil, 0, err
		}
		s.shown[r.ID] = true
		rows = append(rows, row)
	}
	return rows, older, nil
}

func runRowOf(r journal.Run) runRow {
	row := runRow{ID: r.ID, Plan: printable(r.Plan), What: whatOf(r), At: minute(r.Started), By: printable(r.User + "@" + r.Host),
		Took: tookOr(r.Took, r.Ended.IsZero()), Changes: count(r.Changed, "change"), Status: string(r.Status), Tone: statusTone(r.Status),
		Err: clipped(r.Err), Hint: clipped(r.Hint)}
	var loud []string
	for _, o := range r.Call().Overrides {
		loud = append(loud, printable(o.Gate))
	}
	row.Loud = listed("", loud)
	return row
}

// whatOf says what kind of run it was, where it was none of a whole plan.
func whatOf(r journal.Run) string {
	c := r.Call()
	switch {
	case c.Undoes != "":
		return "undo of " + c.Undoes
	case r.File == journal.UnlockFile:
		return "lock broken"
	case !r.Whole():
		return "only " + printable(listed("", append(c.Steps, c.Hosts...)))
	}
	return ""
}

// detail adds the steps of a run, as far as the page has room.
func (s *storyteller) detail(row *runRow) error {
	if s.room <= 0 {
		row.Brief = true
		return nil
	}
	run, err := s.ledger.Run(row.ID)
	if err != nil {
		return err
	}
	for i, st := range run.Steps {
		if i == stepRows {
			row.Left = len(run.Steps) - i
			break
		}
		step := stepRowOf(st)
		s.room -= 1 + len(step.Changes)
		row.Steps = append(row.Steps, step)
	}
	return nil
}

func stepRowOf(st journal.Step) stepRow {
	row := stepRow{Name: instance{st.Name, st.Host, st.Check}.title(), Status: string(st.Status), Tone: statusTone(st.Status), Took: tookOr(st.Took, st.Started.IsZero())}
	row.Name = printable(row.Name)
	var words []string
	for _, text := range []string{st.Text, st.Err} {
		if text != "" {
			words = append(words, text)
		}
	}
	row.Text = clipped(strings.Join(words, ": "))
	for i, op := range changesOf(st) {
		if i == changeRows {
			row.Changes = append(row.Changes, fmt.Sprintf("and %d more", len(changesOf(st))-i))
			break
		}
		row.Changes = append(row.Changes, clipped(op))
	}
	return row
}

// changesOf are the operations of a step that changed something, or may have.
func changesOf(st journal.Step) []string {
	var list []string
	for _, op := range st.Ops {
		text := op.Name + " " + op.Show
		switch {
		case op.Changed:
			list = append(list, text)
		case op.Status == journal.InFlight && op.Effect != "read":
			list = append(list, text+" (nobody knows whether it happened)")
		}
	}
	return list
}

func statusTone(s runtime.Status) string {
	switch s {
	case runtime.OK:
		return "good"
	case runtime.Failed:
		return "bad"
	case runtime.Skipped:
		return "idle"
	}
	return "warn"
}

// markOf is a run or a decision in a lane.
func (s *storyteller) markOf(r journal.Run) mark {
	c := r.Call()
	m := mark{X: s.axis.x(r.Started), Kind: "open", Override: len(c.Overrides) > 0}
	if s.shown[r.ID] {
		m.Run = r.ID
	}
	text := fmt.Sprintf("%s, run %s: %s, %s, by %s@%s", minute(r.Started), r.ID, r.Status, count(r.Changed, "change"), r.User, r.Host)
	if what := whatOf(r); what != "" {
		text += ", " + what
	}
	for _, o := range c.Overrides {
		text += fmt.Sprintf("; OVERRIDDEN %s: %s", o.Gate, o.Because)
	}
	switch d := c.Decision; {
	case d != nil:
		m.Decide, m.Run, m.Kind = true, r.ID, "nogo"
		text = fmt.Sprintf("%s, %s about %s by %s: %s", minute(r.Started), "NO-GO", r.Plan, d.By, d.Because)
		if d.Go {
			m.Kind, text = "go", strings.Replace(text, "NO-GO", "GO", 1)
		}
	case r.RolledBack() != "":
		m.Kind = "rollback"
	case c.Undoes != "":
		m.Kind = "undone"
	case r.File == journal.UnlockFile:
		m.Kind = "unlock"
	case r.Status == runtime.Failed:
		m.Kind = "failed"
	case r.Status == runtime.OK && r.Changed > 0:
		m.Kind = "ok"
	case r.Status == runtime.OK:
		m.Kind = "same"
	}
	m.Text = clipped(text)
	return m
}

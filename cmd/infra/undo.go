package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/interp"
	"infra/runtime/journal"
)

func newUndo(a *app) *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use:   "undo RUN",
		Short: "Take back what a run did",
		Long: `undo runs the undo of each step of a run that ended well, after those of the
steps that needed it, as a run of its own: it is journaled, and can be resumed.
With --dry-run it shows what that would do. It asks before it begins.

What has no undo, and a step that failed or was cut off half-way, is left as it
is, and listed. RUN is a run's id, a part of it that no other id has, or last.

A plan with on_failure = "undo" does the same of itself when a step fails.

` + exitCodes,
		Example: `  infra undo k3f9 --dry-run
  infra undo k3f9
  infra undo last --yes`,
		Args:              exactly(1, "one run"),
		ValidArgsFunction: a.runIDs,
		RunE:              func(c *cobra.Command, args []string) error { return a.undo(c.Context(), args[0], f) },
	}
	fl := c.Flags()
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what it would do, and change nothing")
	fl.BoolVar(&f.yes, "yes", false, "do not ask")
	fl.BoolVar(&f.json, "json", false, "print one JSON object for each event on stdout")
	fl.StringVar(&f.junit, "junit", "", "write the result to this file as JUnit XML, however it ends")
	fl.DurationVar(&f.grace, "grace", 30*time.Second, "how long running operations may go on after Ctrl-C")
	waitFlag(fl, &f.wait)
	destroyFlag(fl, &f.destroy)
	_ = c.MarkFlagFilename("junit", "xml") // fails only for a flag that is not there
	return c
}

// undo runs infra undo.
func (a *app) undo(ctx context.Context, id string, f runFlags) error {
	root, past, err := a.pastRun(id)
	if err != nil {
		return err
	}
	if err := f.as(past); err != nil {
		return err
	}
	if err := f.refuseRollback(past); err != nil {
		return err
	}
	if f.undoes != "" {
		return exit{exitUsage, runtime.WithHint(fmt.Errorf("run %s is itself an undo, of run %s", past.ID, f.undoes), "infra resume %s goes on with it; infra run %s does again what it took back", past.ID, past.File)}
	}
	f.undoes, f.steps, f.preview = past.ID, nil, nil
	out, err := a.newOutputs(past.File, f)
	if err != nil {
		return err
	}
	out.in(root)
	s := a.newSession(ctx, root, f, out)
	defer s.close()
	return out.finish(s.undoRun(past))
}

func (s *session) undoRun(past *journal.Run) error {
	if err := refuseUndone(s.root, past, "taken back"); err != nil {
		return err
	}
	read := s.engine.Read
	if s.flags.dryRun {
		read = s.engine.Preview
	}
	file, err := s.read(read, past.File)
	if err != nil {
		return err
	}
	return s.undo(file)
}

// undo takes a run of file back, which nobody else works on meanwhile.
func (s *session) undo(file *interp.File) error {
	if !s.flags.dryRun {
		release, err := s.engine.Hold(s.flags.undoes)
		if err != nil {
			return err
		}
		defer release()
	}
	past, err := pastRun(s.root, s.flags.undoes)
	if err == nil {
		err = refuseUndone(s.root, past, "taken back")
	}
	if err != nil {
		return err
	}
	plan, err := undone(file, past)
	if err != nil {
		return err
	}
	if err := s.confirm(plan); err != nil {
		return err
	}
	out, err := s.carryOut(plan, s.options())
	return s.end(plan, out, err)
}

// undone is file with the plan that takes a run of it back.
func undone(file *interp.File, past *journal.Run) (*interp.File, error) {
	undo, err := engine.Undo(file, past)
	if err != nil {
		return nil, exit{exitUsage, err}
	}
	if len(undo.Plan.Steps) == 0 {
		why := fmt.Errorf("run %s has nothing to undo: no step that ended well has an undo%s", past.ID, bullets(leftLines(undo.Plan.Undoes)))
		return nil, exit{exitUsage, runtime.WithHint(why, "step(fn, undo = ...) says how a step is taken back; one that failed half way is not: infra run %s goes on from what is there", past.File)}
	}
	return undo, nil
}

// confirm asks whether a run is to be taken back. A plan that does so of itself
// has been asked for it.
func (s *session) confirm(undo *interp.File) error {
	if s.flags.dryRun || s.flags.failed {
		return nil
	}
	what := undo.Plan.Undoes
	var b strings.Builder
	fmt.Fprintf(&b, "run %s of %s is taken back:", what.Run, undo.Path)
	b.WriteString(bullets(undoLines(undo.Plan.Steps)))
	if left := leftLines(what); len(left) > 0 {
		b.WriteString("\nthis is not:" + bullets(left))
	}
	yes, err := s.asker(s.flags.yes, s.to.show)(s.hard, printable(b.String())+"\nTake it back?")
	switch {
	case err != nil:
		return exit{exitHeld, err}
	case !yes:
		return exit{exitHeld, fmt.Errorf("%w: run %s was not taken back", runtime.ErrHeld, what.Run)}
	}
	return nil
}

// undoLines are the steps of an undo, those of one name as one line.
func undoLines(steps []*runtime.Step) []string {
	var lines []string
	hosts := map[string][]string{}
	for _, s := range steps {
		if !slices.Contains(lines, s.Name) {
			lines = append(lines, s.Name)
		}
		for _, h := range s.Each {
			hosts[s.Name] = append(hosts[s.Name], h.Name)
		}
	}
	for i, name := range lines {
		if on := hosts[name]; len(on) > 0 {
			lines[i] += " on " + someOf(on)
		}
	}
	return lines
}

// leftLines are what no undo takes back, the same of several hosts as one.
func leftLines(u *runtime.Undo) []string {
	type kind struct {
		step, why string
	}
	var kinds []kind
	hosts := map[kind][]string{}
	for _, l := range u.Left {
		k := kind{l.Step, leftBecause(l)}
		if _, there := hosts[k]; !there {
			kinds = append(kinds, k)
			hosts[k] = nil
		}
		if l.Host != "" {
			hosts[k] = append(hosts[k], l.Host)
		}
	}
	var lines []string
	for _, k := range kinds {
		line := "step " + k.step
		if on := hosts[k]; len(on) > 0 {
			line += " on " + someOf(on)
		}
		lines = append(lines, line+k.why)
	}
	return lines
}

// leftBecause says why something is not taken back, and what it is.
func leftBecause(l runtime.Left) string {
	const most = 3
	why := ", which " + string(l.Status) + " half-way: "
	switch l.Status {
	case runtime.OK:
		why = ", which has no undo: "
	case runtime.Held, runtime.Interrupted:
		why = ", which was " + string(l.Status) + " half-way: "
	case journal.Unfinished:
		why = ", which was cut off half-way: "
	}
	done := l.Done
	if len(done) > most+1 {
		done = append(slices.Clone(done[:most]), fmt.Sprintf("and %d more operations", len(done)-most))
	}
	return why + strings.Join(done, "; ")
}

// refuseUndone refuses a run of which something was taken back: what its steps
// did is not so any more. what is what was to be done with it.
func refuseUndone(root string, past *journal.Run, what string) error {
	by, err := undoOf(root, past)
	switch {
	case err != nil || by == nil:
		return err
	case by.Status == runtime.OK:
		return exit{exitUsage, runtime.WithHint(fmt.Errorf("run %s cannot be %s: run %s has taken it back", past.ID, what, by.ID),
			"infra run %s begins anew; infra log %s shows what was taken back", past.File, by.ID)}
	}
	return exit{exitUsage, runtime.WithHint(fmt.Errorf("run %s cannot be %s: run %s was begun to take it back, and has not ended well (%s)", past.ID, what, by.ID, by.Status),
		"infra resume %s goes on with that", by.ID)}
}

// undoOf is the run that was begun to take another one back, or nil. It is
// newer, and so among the first that the journal lists.
func undoOf(root string, past *journal.Run) (*journal.Run, error) {
	ledger, err := journal.Read(root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ledger.Close() }() // nothing was written
	for limit := 100; ; limit *= 10 {
		runs, err := ledger.Runs(limit)
		if err != nil {
			return nil, err
		}
		for i, r := range runs {
			var c call
			if json.Unmarshal(r.Options, &c) == nil && c.Undoes == past.ID {
				return &runs[i], nil
			}
			if r.ID == past.ID {
				return nil, nil
			}
		}
		if len(runs) < limit {
			return nil, errors.New("run " + past.ID + " is not in the journal any more")
		}
	}
}

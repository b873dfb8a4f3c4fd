package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"infra/builtins/nix"
	"infra/runtime"
	"infra/runtime/clock"
	"infra/runtime/engine"
	"infra/runtime/interp"
	"infra/runtime/journal"
)

// A call is how a run was called, as far as going on with it needs that.
type call struct {
	journal.Call
	SSHConfig string        `json:"ssh_config,omitempty"` // absolute
	Flake     string        `json:"flake,omitempty"`      // absolute, or a URL
	Jobs      int           `json:"jobs,omitempty"`
	Budgets   *budgets      `json:"budgets,omitempty"`
	Preview   *savedPreview `json:"preview,omitempty"`  // that it is held to
	Rollback  *nix.Rollback `json:"rollback,omitempty"` // that it is
}

// call is kept of a run that begins at some moment.
func (f runFlags) call(at clock.Instant) json.RawMessage {
	of := journal.Call{Kind: f.kind, Steps: f.steps, Hosts: f.hosts, Undoes: f.undoes, Clock: at.Mark}
	for _, gate := range f.overrides {
		of.Overrides = append(of.Overrides, journal.Override{Gate: gate, Because: f.because})
	}
	c := call{Call: of, SSHConfig: f.sshConfig, Flake: f.flake, Jobs: f.jobs, Preview: f.preview, Rollback: f.rollback}
	if f.budgets != (budgets{}) {
		c.Budgets = &f.budgets
	}
	data, _ := json.Marshal(c) // strings and numbers
	return data
}

// resumeFlags are the flags of infra resume.
type resumeFlags struct {
	runFlags
	accept   bool
	inFlight string
}

func newResume(a *app) *cobra.Command {
	var f resumeFlags
	c := &cobra.Command{
		Use:   "resume [RUN]",
		Short: "Go on with a run that failed, was stopped or was killed",
		Long: `resume goes on with a run where it was. Steps that ended well hand their results
on and are not run again. A step that was begun is entered again, and its
operations are answered from the journal up to the first that had not ended. A
question to a person (step(human = ...)) that was not answered is asked again.

An operation that was in flight may or may not have happened. What may be
repeated is; about anything else a person is asked, or says it with --in-flight,
of each step about one: the next in line is then held until it is said again.
An operation that differs from the one in the journal stops the step and shows
both. Plans that changed since are refused, unless --accept-changes carries out
what differs. RUN is a run's id, a part of it that no other id has, or last.

` + exitCodes,
		Example: `  infra resume
  infra resume k3f9 --in-flight=done
  infra resume last --accept-changes`,
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return usage(c, fmt.Errorf("%s wants at most one run, got %d arguments", c.CommandPath(), len(args)))
			case f.inFlight != "" && f.inFlight != string(engine.InFlightDone) && f.inFlight != string(engine.InFlightAgain):
				return usage(c, fmt.Errorf("--in-flight is done or again, not %q", f.inFlight))
			}
			return nil
		},
		ValidArgsFunction: a.runIDs,
		RunE: func(c *cobra.Command, args []string) error {
			return a.resume(c.Context(), cmp.Or(strings.Join(args, ""), "last"), f)
		},
	}
	fl := c.Flags()
	fl.BoolVar(&f.accept, "accept-changes", false, "go on although the plan's files changed, and carry out what differs")
	fl.StringVar(&f.inFlight, "in-flight", "", "what to make of the operation of each step that was in flight, the first where there were several: done or again")
	fl.BoolVar(&f.yes, "yes", false, "answer the steps' questions with yes")
	fl.BoolVar(&f.json, "json", false, "print one JSON object for each event on stdout")
	fl.StringVar(&f.junit, "junit", "", "write the result to this file as JUnit XML, however it ends")
	evalWorkersFlag(fl, &f.budgets)
	copyRateFlag(fl, &f.budgets)
	fl.DurationVar(&f.grace, "grace", 30*time.Second, "how long running operations may go on after Ctrl-C")
	waitFlag(fl, &f.wait)
	destroyFlag(fl, &f.destroy)
	didFlag(fl, &f.did)
	_ = c.MarkFlagFilename("junit", "xml") // fails only for a flag that is not there
	_ = c.RegisterFlagCompletionFunc("in-flight", cobra.FixedCompletions([]string{"done", "again"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// resume runs infra resume.
func (a *app) resume(ctx context.Context, id string, f resumeFlags) error {
	root, past, err := a.pastRun(id)
	if err != nil {
		return err
	}
	if err := refuseKind(past); err != nil {
		return err
	}
	unlike := f.as(past)
	if past.Status == runtime.OK {
		return exit{exitUsage, runtime.WithHint(fmt.Errorf("run %s ended well: there is nothing to go on with", past.ID), "%s runs it again", f.anew(past))}
	}
	if unlike != nil {
		return unlike
	}
	out, err := a.newOutputs(past.File, f.runFlags)
	if err != nil {
		return err
	}
	out.in(root)
	s := a.newSession(ctx, root, f.runFlags, out)
	defer s.close()
	return out.finish(s.resume(past, f))
}

// pastRun returns a run of the project that the working directory belongs to,
// and the project's root.
func (a *app) pastRun(id string) (root string, past *journal.Run, err error) {
	if root, err = a.root(); err != nil {
		return "", nil, exit{exitUsage, err}
	}
	past, err = pastRun(root, id)
	return root, past, err
}

// pastRun returns a run of the project, with its steps and operations.
func pastRun(root, id string) (*journal.Run, error) {
	ledger, err := journal.Read(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, exit{exitUsage, fmt.Errorf("there is no run %q: nothing has been run here yet", id)}
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = ledger.Close() }() // nothing was written
	past, err := ledger.Run(id)
	return &past, err
}

// as takes over how the run was called.
func (f *runFlags) as(past *journal.Run) error {
	var c call
	if err := refuseKind(past); err != nil {
		return err
	}
	if err := json.Unmarshal(past.Options, &c); err != nil {
		return exit{exitUsage, runtime.WithHint(fmt.Errorf("the journal does not say how run %s was called", past.ID), "an older infra recorded it: run the plan again")}
	}
	f.steps, f.hosts, f.sshConfig, f.flake, f.jobs, f.undoes, f.preview = c.Steps, c.Hosts, c.SSHConfig, c.Flake, c.Jobs, c.Undoes, c.Preview
	f.rollback = c.Rollback
	if c.Budgets != nil {
		f.budgets = f.budgets.over(*c.Budgets)
	}
	return nil
}

// resume goes on with a run.
func (s *session) resume(past *journal.Run, f resumeFlags) error {
	if err := refuseUndone(s.root, past, "gone on with"); err != nil {
		return err
	}
	reviewed, err := f.preview.open(past.ID)
	if err != nil {
		return err
	}
	file, err := s.resumed(past)
	if err != nil {
		return err
	}
	if err := f.accepts(past, file); err != nil {
		return err
	}
	if f.undoes != "" {
		if file, err = s.undoneBefore(file); err != nil {
			return err
		}
	}
	opts := s.options()
	opts.Past, opts.Accept, opts.InFlight, opts.Reviewed = past, f.accept, engine.InFlight(f.inFlight), reviewed
	out, err := s.carryOut(file, opts)
	return s.end(file, out, err)
}

// undoneBefore is file with the plan of an undo that was begun.
func (s *session) undoneBefore(file *interp.File) (*interp.File, error) {
	undoes, err := pastRun(s.root, s.flags.undoes)
	if err != nil {
		return nil, err
	}
	return undone(file, undoes)
}

// accepts refuses a plan that is not what the run was begun with.
func (f resumeFlags) accepts(past *journal.Run, file *interp.File) error {
	changed := changedSince(past, file)
	switch {
	case f.accept && f.preview != nil:
		return exit{exitHeld, runtime.WithHint(fmt.Errorf("%w: run %s is held to the preview in %s: nothing else is accepted", runtime.ErrHeld, past.ID, f.preview.Path),
			"leave --accept-changes out, or have a new preview reviewed: infra run --dry-run --out FILE %s", past.File)}
	case len(changed) == 0 || f.accept:
		return nil
	}
	err := fmt.Errorf("%w: the plan is not what run %s was begun with:%s", runtime.ErrHeld, past.ID, bullets(changed))
	if f.preview != nil {
		return exit{exitHeld, runtime.WithHint(err, "put the files back, or have a new preview reviewed: infra run --dry-run --out FILE %s", past.File)}
	}
	return exit{exitHeld, runtime.WithHint(err, "put the files back, or carry out what differs: infra resume %s --accept-changes", past.ID)}
}

// changedSince says which of the plan's files are not what the run was begun with.
func changedSince(past *journal.Run, file *interp.File) []string {
	was := map[string]string{}
	for _, s := range past.Sources {
		was[s.Path] = s.SHA256
	}
	var changed []string
	for _, now := range file.Sources() {
		switch digest, there := was[now.Path]; {
		case !there:
			changed = append(changed, now.Path+" is read now")
		case digest != now.SHA256:
			changed = append(changed, now.Path+" was edited")
		}
		delete(was, now.Path)
	}
	for _, path := range slices.Sorted(maps.Keys(was)) {
		changed = append(changed, path+" is not read any more")
	}
	return changed
}

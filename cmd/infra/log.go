package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"infra/runtime"
	"infra/runtime/journal"
)

// logFlags are the flags of infra log.
type logFlags struct {
	limit        int
	steps        []string
	output, json bool
}

func newLog(a *app) *cobra.Command {
	var f logFlags
	c := &cobra.Command{
		Use:   "log [RUN]",
		Short: "Show what runs did",
		Long: `log lists the latest runs of the project, or shows one of them: its steps and
checks with their operations, how long each took, what changed, and where its
output is. RUN is a run's id, a part of it that no other id has, or last.

A run that is "unfinished" still goes on, or died; an operation of it that is
"in flight" may or may not have happened.

With --json: {"schema": 1, "runs": [...]}, the newest first, or, for one run,
{"schema": 1, "run": {..., "steps": [{..., "operations": [...]}]}}. Times are
RFC 3339 in UTC; took_ms is absent for what has not ended; output is a file in
"folder".`,
		Example: `  infra log
  infra log last
  infra log k3f9 --step update --output
  infra log last --json | jq '.run.steps[] | select(.status == "failed")'`,
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return usage(c, fmt.Errorf("%s wants at most one run, got %d arguments", c.CommandPath(), len(args)))
			case len(args) == 0 && (f.output || len(f.steps) > 0):
				return usage(c, errors.New("--step and --output show a part of one run: name it, or write last"))
			case f.limit < 1:
				return usage(c, fmt.Errorf("--limit wants a number from 1, got %d", f.limit))
			case f.json && f.output:
				return usage(c, errors.New("--json names the files of outputs and cannot be used with --output"))
			}
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions([]string{"last"}, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.log(strings.Join(args, ""), f)
		},
	}
	fl := c.Flags()
	fl.IntVar(&f.limit, "limit", 20, "list at most so many runs")
	fl.StringSliceVar(&f.steps, "step", nil, "show only this step or check (repeatable)")
	fl.BoolVar(&f.output, "output", false, "print the whole output of each operation")
	fl.BoolVar(&f.json, "json", false, "print one JSON document")
	return c
}

// log shows one run, or lists the latest ones where none is named.
func (a *app) log(id string, f logFlags) error {
	root, err := a.root()
	if err != nil {
		return exit{exitUsage, err}
	}
	ledger, err := journal.Read(root)
	if errors.Is(err, fs.ErrNotExist) {
		return a.logNothing(id, f)
	}
	if err != nil {
		return err
	}
	defer func() { _ = ledger.Close() }() // nothing was written
	if id != "" {
		return a.logRun(ledger, id, f)
	}
	runs, err := ledger.Runs(f.limit)
	switch {
	case err != nil:
		return err
	case len(runs) == 0:
		return a.logNothing(id, f)
	case f.json:
		return printJSON(a.stdout, jsonRuns(ledger.Folder, runs))
	}
	_, err = io.WriteString(a.stdout, runTable(runs, time.Now(), palette(wantsColor(a.stdout, a.getenv))))
	return err
}

// logNothing answers for a project in which nothing was run yet.
func (a *app) logNothing(id string, f logFlags) error {
	if id != "" {
		return runtime.WithHint(fmt.Errorf("there is no run %q: nothing has been run here yet", id), "infra run PLAN runs a plan")
	}
	fmt.Fprintln(a.stderr, "nothing has been run here yet; infra run PLAN runs a plan")
	if f.json {
		return printJSON(a.stdout, jsonRuns(nil, nil))
	}
	return nil
}

func (a *app) logRun(ledger *journal.Ledger, id string, f logFlags) error {
	run, err := ledger.Run(id)
	if err != nil {
		return err
	}
	if run.Steps, err = only(run.Steps, f.steps); err != nil {
		return exit{exitUsage, err}
	}
	if f.json {
		return printJSON(a.stdout, jsonOneRun(ledger.Folder, run))
	}
	out := bufio.NewWriter(a.stdout)
	v := runView{palette(wantsColor(a.stdout, a.getenv)), out, time.Now(), shortest(ledger.Folder(run.ID)), f.output}
	v.print(run)
	return out.Flush()
}

// only keeps the steps of these names, or all where none is named.
func only(steps []journal.Step, names []string) ([]journal.Step, error) {
	if len(names) == 0 {
		return steps, nil
	}
	var kept []journal.Step
	var known []string
	for _, s := range steps {
		if slices.Contains(names, s.Name) {
			kept = append(kept, s)
		}
		if !slices.Contains(known, s.Name) {
			known = append(known, s.Name)
		}
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, runtime.WithHint(fmt.Errorf("the run has no step or check %q", name), "it has %s", strings.Join(known, ", "))
		}
	}
	return kept, nil
}

// shortest is how a path is shown: from here, where that is below.
func shortest(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

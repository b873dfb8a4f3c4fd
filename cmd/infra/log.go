package main

import (
	"bufio"
	"cmp"
	"context"
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
	limit                          int
	steps                          []string
	output, json, all              bool
	follow, verify, dryRun, pruned bool
	prune                          string
	age                            time.Duration // that prune says
}

func newLog(a *app) *cobra.Command {
	var f logFlags
	c := &cobra.Command{
		Use:   "log [RUN]",
		Short: "Show what runs did",
		Long: `log lists the latest runs of the project, and what people decided, or shows one of them: its steps and
checks with their operations, how long each took, what changed, and where its
output is. RUN is a run's id, a part of it that no other id has, or last.

A run that is "unfinished" still goes on, or died; an operation of it that is
"in flight" may or may not have happened.

--follow shows a run while it goes on, also one that another terminal started,
and ends with it. Without RUN it is the last one.

--verify recomputes the chain of hashes that every record is a link of. It names
the first record that was altered, added, removed or moved, and ends with exit
code 1 then. Whoever can write the journal could make the whole chain anew: to
be sure of that too, keep the head that it prints and compare.

--prune 90d removes the runs that ended longer ago, with their outputs. What
stays is what gates go by: of each plan all runs since the last whole one that
was ok and changed something, what observations found failing since then, all
observations of the last 90 days, decisions and rollbacks; and the newest run,
and what has not ended. With --dry-run it only says what it would remove.

With --json: {"schema": 1, "runs": [...]}, the newest first, or, for one run,
{"schema": 1, "run": {..., "steps": [{..., "operations": [...]}]}}; --verify
prints {"schema": 1, "verify": {...}}, --prune {"schema": 1, "prune": {...}}, and
--follow the lines of infra run --json. Times are RFC 3339 in UTC; took_ms is
absent for what has not ended; output is a file in "folder".`,
		Example: `  infra log
  infra log last
  infra log k3f9 --step update --output
  infra log --follow
  infra log last --json | jq '.run.steps[] | select(.status == "failed")'
  infra log --verify
  infra log --prune 90d --dry-run`,
		Args: func(c *cobra.Command, args []string) error {
			if err := f.check(c, args); err != nil {
				return usage(c, err)
			}
			return nil
		},
		ValidArgsFunction: a.runIDs,
		RunE: func(c *cobra.Command, args []string) error {
			return a.log(c.Context(), strings.Join(args, ""), f)
		},
	}
	fl := c.Flags()
	fl.IntVar(&f.limit, "limit", 20, "list at most so many runs")
	fl.StringSliceVar(&f.steps, "step", nil, "show only this step or check (repeatable)")
	fl.BoolVar(&f.all, "all", false, "list what infra verify observed, too")
	fl.BoolVar(&f.output, "output", false, "print the whole output of each operation")
	fl.BoolVar(&f.json, "json", false, "print one JSON document, or with --follow one object for each event")
	fl.BoolVarP(&f.follow, "follow", "f", false, "show the run while it goes on, until it ends")
	fl.BoolVar(&f.verify, "verify", false, "find out whether the journal is what was recorded")
	fl.StringVar(&f.prune, "prune", "", "remove runs that are older than this, such as 90d or 12w")
	fl.BoolVar(&f.dryRun, "dry-run", false, "with --prune: only say what it would remove")
	_ = c.RegisterFlagCompletionFunc("step", a.stepNames) // fails only for a flag that is not there
	_ = c.RegisterFlagCompletionFunc("prune", cobra.FixedCompletions([]string{"30d", "90d", "52w"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// check refuses flags that do not go together, or would do nothing.
func (f *logFlags) check(c *cobra.Command, args []string) error {
	f.pruned = c.Flags().Changed("prune")
	whole := f.verify || f.pruned
	switch {
	case len(args) > 1:
		return fmt.Errorf("%s wants at most one run, got %d arguments", c.CommandPath(), len(args))
	case f.verify && f.pruned || f.follow && whole:
		return errors.New("--follow, --verify and --prune are different things: choose one")
	case whole && (len(args) > 0 || f.output || len(f.steps) > 0):
		return errors.New("--verify and --prune are about the whole journal: leave the run, --step and --output out")
	case f.dryRun && !f.pruned:
		return errors.New("--dry-run wants --prune")
	case f.follow && f.output:
		return errors.New("--follow shows what is recorded, which outputs are not: tail -f their files")
	case len(args) == 0 && !f.follow && (f.output || len(f.steps) > 0):
		return errors.New("--step and --output show a part of one run: name it, or write last")
	case f.limit < 1:
		return fmt.Errorf("--limit wants a number from 1, got %d", f.limit)
	case f.json && f.output:
		return errors.New("--json names the files of outputs and cannot be used with --output")
	}
	if !f.pruned {
		return nil
	}
	var err error
	if f.age, err = runtime.ParseDuration(f.prune); err != nil {
		return fmt.Errorf("--prune: %w", err)
	}
	return nil
}

// log shows one run, or lists the latest ones where none is named.
func (a *app) log(ctx context.Context, id string, f logFlags) error {
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
	switch {
	case f.follow:
		return a.logFollow(ctx, ledger, cmp.Or(id, "last"), f)
	case f.verify:
		return a.logVerify(ledger, f)
	case f.pruned && f.dryRun:
		return a.logPrunable(ledger, f)
	case f.pruned:
		_ = ledger.Close() // pruning makes the file smaller, which a reader would be in the way of
		return a.logPrune(root, f)
	case id != "":
		return a.logRun(ledger, id, f)
	}
	list := ledger.Runs
	if f.all {
		list = ledger.All
	}
	runs, err := list(f.limit)
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
	if id != "" || f.follow {
		id = cmp.Or(id, "last")
		return runtime.WithHint(fmt.Errorf("there is no run %q: nothing has been run here yet", id), "infra run PLAN runs a plan")
	}
	fmt.Fprintln(a.stderr, "nothing has been run here yet; infra run PLAN runs a plan")
	switch {
	case !f.json:
		return nil
	case f.verify:
		return printJSON(a.stdout, jsonLog{Schema: jsonSchema, Verify: &jsonVerify{Whole: true}})
	case f.pruned:
		return printJSON(a.stdout, jsonPruned(journal.Pruned{}, f.dryRun))
	}
	return printJSON(a.stdout, jsonRuns(nil, nil))
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

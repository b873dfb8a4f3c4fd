package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"infra/runtime/engine"
	"infra/runtime/gates"
	"infra/runtime/journal"
	"infra/runtime/phases"
)

// statusFlags are the flags of infra status.
type statusFlags struct{ json, watch bool }

func newStatus(a *app) *cobra.Command {
	var f statusFlags
	c := &cobra.Command{
		Use:   "status [PLAN]",
		Short: "Show where the migration is, and what holds the next phase back",
		Long: `status shows each phase and its hosts: what was done, how it has been since, and
what holds the next one back. PLAN, a plan's name or its file, is shown in
depth: its gates, runs, observations, checks, decisions, and what to do next.

It reads the plans and the record of runs, and asks no host. The phases are the
plans of the project's root and its folder plans, in the order of the plan that
is made of others, or else by phase and name.

  waiting      a gate is closed
  ready        every gate is open: it can be run
  running      a run of it goes on now
  soaking      it is done, and a later phase waits for it to be stable
  stable       it is, as long as the later phases want it
  done         it is done, and nobody waits for it
  degraded     it is done, and a check failed when it was looked at last
  failed       its last run failed
  held         its last run waits for a person
  interrupted  its last run was stopped, or cut off
  rolled back  what was done was taken back

With --json: {"schema": 1, "phases": [...], "warnings": [...]}; docs/json.md has
the fields.`,
		Example: `  infra status
  infra status blackphos
  infra status --watch
  infra status --json | jq -r '.phases[] | select(.state == "ready").file'`,
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return usage(c, fmt.Errorf("%s wants at most one plan, got %d arguments", c.CommandPath(), len(args)))
			case f.json && f.watch:
				return usage(c, errors.New("--json and --watch are different things: choose one"))
			}
			return nil
		},
		ValidArgsFunction: a.planNames,
		RunE: func(c *cobra.Command, args []string) error {
			return a.status(c.Context(), strings.Join(args, ""), f)
		},
	}
	fl := c.Flags()
	fl.BoolVar(&f.json, "json", false, "print one JSON document")
	fl.BoolVarP(&f.watch, "watch", "w", false, "draw it anew every 2 seconds, until Ctrl-C")
	return c
}

// status runs infra status.
func (a *app) status(ctx context.Context, plan string, f statusFlags) error {
	root, err := a.root()
	if err != nil {
		return exit{exitUsage, err}
	}
	if f.watch {
		return a.watch(ctx, root, plan)
	}
	s, err := a.standing(ctx, root, plan)
	if err != nil {
		return err
	}
	if f.json {
		return writeJSON(a.stdout, s.json())
	}
	width, _ := a.size()
	_, err = io.WriteString(a.stdout, s.text(width, palette(wantsColor(a.stdout, a.getenv)), canRedraw(a.stdout, a.getenv)))
	return err
}

// A standing is what infra status shows.
type standing struct {
	all    projectPlans
	view   *phases.View
	one    *phases.Phase  // the phase that is shown in depth; nil: all are shown
	detail *phases.Detail // of it
}

// standing reads the plans and the record.
func (a *app) standing(ctx context.Context, root, plan string) (*standing, error) {
	s := &standing{all: allPlans(ctx, root)}
	var asked *phases.Source
	var err error
	if plan != "" {
		if asked, err = s.all.find(root, plan); err != nil {
			return nil, exit{exitUsage, err}
		}
	}
	ledger, err := journal.ReadIfAny(root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ledger.Close() }() // nothing was written
	book := a.book(root, ledger)
	if s.view, err = phases.Of(s.all.plans, book); err != nil || asked == nil {
		return s, err
	}
	s.one = s.view.Phase(asked.Plan.Name)
	s.detail, err = book.Detail(s.one)
	return s, err
}

// book is what a view of the project's phases is made from. ledger may be nil.
func (a *app) book(root string, ledger *journal.Ledger) phases.Book {
	now := a.clock()
	return phases.Book{Now: now, Record: gates.At(now, ledger), Ledger: ledger, Alive: engine.New(root, nil).Alive}
}

// size is that of the terminal, or what COLUMNS says of what reads the output.
func (a *app) size() (width, height int) {
	width, height, err := term.GetSize(int(a.stdout.Fd()))
	if err == nil && width > 0 && height > 0 {
		return width, height
	}
	if columns, err := strconv.Atoi(a.getenv("COLUMNS")); err == nil && columns >= 40 {
		return columns, 24
	}
	return 80, 24
}

// planNames completes the names of the project's plans.
func (a *app) planNames(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	root, err := a.root()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, s := range allPlans(c.Context(), root).plans {
		names = append(names, cobra.CompletionWithDesc(s.Plan.Name, s.Plan.Title))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

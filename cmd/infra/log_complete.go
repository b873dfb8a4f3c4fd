package main

import (
	"strings"

	"github.com/spf13/cobra"

	"infra/runtime/journal"
)

// completed is how many of the latest runs completion offers.
const completed = 50

// runIDs completes ids of runs.
func (a *app) runIDs(_ *cobra.Command, args []string, part string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ids := []cobra.Completion{"last"}
	_ = a.reading(func(l *journal.Ledger) error { // there is nobody to tell
		runs, err := l.Runs(completed)
		for _, r := range runs {
			if strings.HasPrefix(r.ID, part) {
				ids = append(ids, cobra.CompletionWithDesc(r.ID, printable(r.Plan)+", "+string(r.Status)))
			}
		}
		return err
	})
	return ids, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// stepNames completes the steps and checks of the run that was named.
func (a *app) stepNames(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	_ = a.reading(func(l *journal.Ledger) error {
		run, err := l.Run(strings.Join(append(args, "last")[:1], ""))
		seen := map[string]bool{}
		for _, s := range run.Steps {
			if !seen[s.Name] {
				names = append(names, s.Name)
			}
			seen[s.Name] = true
		}
		return err
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}

// reading lets do read the project's journal.
func (a *app) reading(do func(*journal.Ledger) error) error {
	root, err := a.root()
	if err != nil {
		return err
	}
	l, err := journal.Read(root)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }() // nothing was written
	return do(l)
}

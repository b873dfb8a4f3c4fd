package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"infra/runtime/journal"
	"infra/runtime/phases"
)

func newReportPage(a *app) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "report --html FILE",
		Short: "Write a page that tells how the phases went",
		Long: `report writes one HTML page about all phases of the project: when they were run,
how long they have been soaking and what began that anew, their checks over time,
what people decided and why, which gates they passed, what was taken back, and
what holds the next phase.

The page is one file: it loads nothing, runs no script, and can be mailed, kept
and printed. It names the head of the journal's chain, which infra log --verify
prints too, so that the page can be tied to the record. Secrets are not in it.
It is written as a whole or not at all; - is standard output.

The bands are drawn by the machines' clocks. What a gate says is written beside
them: that decides.

` + exitCodes,
		Example: `  infra report --html migration.html
  infra report --html - > migration.html`,
		Args: exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				return usage(c, errors.New("report wants to know where to put the page: --html FILE, or --html - for standard output"))
			}
			return a.reportHTML(c.Context(), file)
		},
	}
	c.Flags().StringVar(&file, "html", "", "put the page here; - is standard output")
	_ = c.MarkFlagFilename("html", "html") // fails only for a flag that is not there
	return c
}

// reportHTML runs infra report --html.
func (a *app) reportHTML(ctx context.Context, file string) error {
	root, err := a.root()
	if err != nil {
		return exit{exitUsage, err}
	}
	if file != "-" {
		if err := writable(file); err != nil {
			return exit{exitUsage, err}
		}
	}
	p, err := a.storyPage(ctx, root)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := storyTemplate.Execute(&b, p); err != nil {
		return fmt.Errorf("make the page: %w", err)
	}
	if file == "-" {
		_, err = a.stdout.Write(b.Bytes())
		return err
	}
	if err := replaceFile(file, b.Bytes()); err != nil {
		return err
	}
	fmt.Fprintf(a.words(), "%s tells of %s\n", file, count(len(p.Phases), "phase"))
	return nil
}

// storyPage is what the page of the project at root says at this moment.
func (a *app) storyPage(ctx context.Context, root string) (*storyPage, error) {
	ledger, err := journal.ReadIfAny(root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ledger.Close() }() // nothing was written
	all := allPlans(ctx, root)
	view, err := phases.Of(all.plans, a.book(root, ledger))
	if err != nil {
		return nil, err
	}
	p, err := story(view, ledger)
	if err != nil {
		return nil, err
	}
	p.Project, p.Title, p.Version = printable(filepath.Base(root)), "Report", version()
	if all.whole != nil {
		p.Title = printable(all.whole.Plan.Title)
	}
	for _, u := range all.not {
		p.Warnings = append(p.Warnings, phases.Warning{Text: printable(u.file + " cannot be read: " + oneLine(u.err.Error()))})
	}
	return p, nil
}

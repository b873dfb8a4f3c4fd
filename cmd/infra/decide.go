package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"infra/runtime"
	"infra/runtime/gates"
	"infra/runtime/journal"
)

// decideFlags are the flags of infra decide.
type decideFlags struct {
	because   string
	yes, json bool
}

func newDecide(a *app) *cobra.Command {
	var f decideFlags
	c := &cobra.Command{
		Use:   "decide NAME go|no-go",
		Short: "Record a person's go or no-go, with the evidence they saw",
		Long: `decide shows what is known of a plan: what its checks said when they were run last,
which failed, and whether the plan is done. Once that is answered with yes, it
records the word of the person, as git names them, with the evidence. The last
word counts, and gates go by it: approved(NAME) opens on a go. go(PLAN) closes on
a no-go; where only optional checks failed, it opens on a go that saw them.

No word opens go(PLAN) while a required check fails: mend what is wrong and look
again with infra verify, or begin all the same with infra run --override.

NAME is a plan, its file, or a word that approved() of one of the project's plans
waits for. infra log lists decisions among the runs.

` + exitCodes,
		Example: `  infra decide validation go --because "the failed check is about a printer"
  infra decide weekend-window no-go --because "the uplink is down for repair"
  infra decide plans/cinnabar.star go --because "looked at it with Ann" --yes`,
		Args:              decideArgs,
		ValidArgsFunction: a.decisions,
		RunE: func(c *cobra.Command, args []string) error {
			if strings.TrimSpace(f.because) == "" {
				return usage(c, errors.New(`a decision wants a reason: --because "..."`))
			}
			return a.decide(c.Context(), args[0], args[1] == "go", f)
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.because, "because", "", "why, for the record")
	fl.BoolVar(&f.yes, "yes", false, "do not ask")
	fl.BoolVar(&f.json, "json", false, "print the decision as a JSON document")
	_ = c.RegisterFlagCompletionFunc("because", cobra.NoFileCompletions) // fails only for a flag that is not there
	return c
}

func decideArgs(c *cobra.Command, args []string) error {
	if len(args) != 2 {
		return usage(c, fmt.Errorf("%s wants a name, and go or no-go, got %d arguments", c.CommandPath(), len(args)))
	}
	if args[1] != "go" && args[1] != "no-go" {
		return usage(c, fmt.Errorf("a decision is go or no-go, not %q", args[1]))
	}
	return nil
}

// decide runs infra decide.
func (a *app) decide(ctx context.Context, name string, isGo bool, f decideFlags) error {
	root, err := a.root()
	if err != nil {
		return exit{exitUsage, err}
	}
	all := allPlans(ctx, root)
	on, err := decidable(root, name, &all)
	if err != nil {
		return exit{exitUsage, err}
	}
	seen, err := a.evidence(root, on)
	if err != nil {
		return err
	}
	fmt.Fprint(a.words(), seen.shown(palette(wantsColor(a.stderr, a.getenv)), isGo))
	if err := seen.refuses(isGo); err != nil {
		return exit{exitHeld, err}
	}
	yes, err := a.asker(f.yes, nil)(ctx, seen.question(isGo))
	switch {
	case err != nil:
		return exit{exitHeld, err}
	case !yes:
		return exit{exitHeld, fmt.Errorf("%w: nothing was recorded", runtime.ErrHeld)}
	}
	d := journal.Decision{Go: isGo, Because: printable(strings.TrimSpace(f.because)), By: whoDecides(ctx, root), Evidence: seen.verdict.Run}
	if isGo {
		d.Despite = seen.verdict.Failed
	}
	kept := deciding{root, on.name, d, a.clock()}
	run, err := kept.journaled()
	if err != nil {
		return err
	}
	if f.json {
		return printDecision(a.stdout, run, kept, seen.verdict.Kind)
	}
	_, err = fmt.Fprintf(a.stdout, "%s for %s is recorded, by %s; infra log %s shows it\n", wordOf(isGo), on.name, d.By, run)
	return err
}

// wordOf is how a person says it.
func wordOf(isGo bool) string {
	if isGo {
		return "go"
	}
	return "no-go"
}

// refuses says why no decision can be made: a person cannot say go to what nobody has
// looked at, but where it is theirs alone to say.
func (e *evidence) refuses(isGo bool) error {
	if !isGo || e.on.plan == nil || len(e.on.waiting) > 0 || e.verdict.Kind != "" {
		return nil
	}
	return runtime.WithHint(fmt.Errorf("%w: there is no evidence to decide by: %s", runtime.ErrHeld, e.verdict.Why), "infra verify %s looks at it", e.on.plan.File)
}

func (e *evidence) question(isGo bool) string {
	q := "Record " + wordOf(isGo) + " for " + e.on.name
	if isGo && len(e.verdict.Failed) > 0 {
		q += ", despite " + strings.Join(e.verdict.Failed, ", ")
	}
	return q + "?"
}

// isNoGo says whether required checks failed.
func (e *evidence) isNoGo() bool { return e.verdict.Kind == gates.NoGo }

// decisions completes what can be decided on, and how.
func (a *app) decisions(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	root, err := a.root()
	switch {
	case len(args) == 1:
		return []cobra.Completion{"go", "no-go"}, cobra.ShellCompDirectiveNoFileComp
	case err != nil || len(args) > 1:
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all := allPlans(c.Context(), root)
	return decidables(&all), cobra.ShellCompDirectiveNoFileComp
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"infra/runtime"
)

func newGraph(a *app) *cobra.Command {
	var dot bool
	c := &cobra.Command{
		Use:   "graph [PLAN...]",
		Short: "Draw the phases and their gates, or the steps of plans",
		Long: `graph prints a diagram as text: the project's phases, and the gates that hold
them back, or, where plans are named, their steps with what each needs, and the
hosts that they are done on. It is Mermaid, which GitHub draws in a block of
that name in Markdown, or with --dot what Graphviz draws.

It reads the plans alone: infra status shows where they are.`,
		Example: `  infra graph
  infra graph blackphos
  infra graph --dot | dot -Tsvg >phases.svg`,
		ValidArgsFunction: a.planNames,
		RunE: func(c *cobra.Command, args []string) error {
			return a.graph(c.Context(), args, dot)
		},
	}
	c.Flags().BoolVar(&dot, "dot", false, "print DOT, for Graphviz")
	return c
}

// graph runs infra graph.
func (a *app) graph(ctx context.Context, names []string, dot bool) error {
	root, err := a.root()
	if err != nil {
		return exit{exitUsage, err}
	}
	all := allPlans(ctx, root)
	plans, err := all.named(root, names)
	if err != nil {
		return exit{exitUsage, err}
	}
	if len(plans) == 0 {
		return exit{exitUsage, runtime.WithHint(errors.New("the project has no plans"), "a plan is bound in a .star file of the project's root, or of its folder plans")}
	}
	for _, u := range all.not {
		if len(names) == 0 {
			fmt.Fprintf(a.words(), "left out: %s\n", u)
		}
	}
	d := drawingOfPhases(all)
	if len(names) > 0 {
		d = drawingOfSteps(plans)
	}
	text := d.mermaid()
	if dot {
		text = d.dot()
	}
	_, err = io.WriteString(a.stdout, text)
	return err
}

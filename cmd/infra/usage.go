package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"infra/runtime"
)

// usage is the error of a command that was called wrongly.
func usage(c *cobra.Command, err error) error {
	return exit{exitUsage, runtime.WithHint(err, "%s --help shows how", c.CommandPath())}
}

// exactly wants n arguments, and says which when they are not there.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usage(c, fmt.Errorf("%s wants %s, got %d arguments", c.CommandPath(), what, len(args)))
		}
		return nil
	}
}

// planFiles completes the names of plan files.
func planFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"star"}, cobra.ShellCompDirectiveFilterFileExt
}

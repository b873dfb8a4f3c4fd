package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"infra/builtins"
	"infra/runtime"
)

func newDoc(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doc [NAME]",
		Short: "Explain what a plan can say",
		Example: `  infra doc
  infra doc nix.switch`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return specNames(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				list(a.stdout)
				return nil
			}
			return explain(a.stdout, args[0])
		},
	}
}

// specs are the builtins as documentation needs them: nothing is called.
func specs() []builtins.Spec { return builtins.All(builtins.Deps{}) }

func specNames() []string {
	var names []string
	for _, s := range specs() {
		names = append(names, s.Name)
	}
	return names
}

// list prints each builtin with its first sentence.
func list(w io.Writer) {
	for _, s := range specs() {
		first, _, _ := strings.Cut(s.Doc, ". ")
		fmt.Fprintf(w, "%-18s %s\n", s.Name, strings.TrimSuffix(first, "."))
	}
}

// explain prints all there is to know about one builtin.
func explain(w io.Writer, name string) error {
	for _, s := range specs() {
		if s.Name == name {
			_, err := io.WriteString(w, s.Manual())
			return err
		}
	}
	err := fmt.Errorf("there is no builtin %s", name)
	if n := builtins.Nearest(name, specNames()); n != "" {
		err = runtime.WithHint(err, "did you mean %s?", n)
	}
	return exit{exitUsage, err}
}

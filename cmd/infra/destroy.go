package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"infra/runtime"
)

// destroyFlag lets a run destroy what is named.
func destroyFlag(fl *pflag.FlagSet, names *[]string) {
	fl.StringSliceVar(names, "destroy", nil, "destroy this without asking: the name of a host, or of what the operation is about (repeatable)")
}

// mayDestroy wants the name of what an operation destroys: by --destroy, or
// typed by the person at the terminal. --yes is no name.
func (a *app) mayDestroy(named []string, show reader) func(context.Context, runtime.Op) error {
	return func(_ context.Context, op runtime.Op) error {
		name := cmp.Or(op.Host, op.About, op.Name)
		if slices.Contains(named, name) {
			return nil
		}
		what := fmt.Sprintf("%s destroys what is on %s", op.Name, name)
		if op.Host == "" {
			what = fmt.Sprintf("%s destroys: %s", op.Name, op.Show)
		}
		if a.terminal() == nil {
			return runtime.WithHint(fmt.Errorf("%w: %s, and nobody is here to confirm it", runtime.ErrHeld, what),
				"infra run --dry-run shows what it would destroy; --destroy %s confirms it", name)
		}
		answer, err := a.answer(show, fmt.Sprintf("%s, and nothing brings it back.\nType %s to go on: ", runtime.Scrub(what), name))
		if err != nil {
			return fmt.Errorf("%w: %s was not confirmed", runtime.ErrHeld, op.Name)
		}
		if strings.TrimSpace(answer) != name {
			return runtime.WithHint(fmt.Errorf("%w: %s was not confirmed: %s was not typed", runtime.ErrHeld, op.Name, name),
				"infra resume last goes on with it")
		}
		return nil
	}
}

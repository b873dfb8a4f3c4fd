package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/pflag"

	"infra/runtime"
	"infra/runtime/journal"
)

// didFlag says that a person has done what only they can do.
func didFlag(fl *pflag.FlagSet, steps *[]string) {
	fl.StringSliceVar(steps, "did", nil, "this step, which a person does, is done: do not ask (repeatable)")
}

// doneBy is who said that they did what an operation wanted of a person, and when; ""
// of any other operation.
func doneBy(o journal.Op) string {
	var said struct {
		Of struct{ By, At string } `json:"$struct"`
	}
	if o.Name != "human" || json.Unmarshal(o.Result, &said) != nil || said.Of.By == "" {
		return ""
	}
	return "done, says " + said.Of.By + ", at " + said.Of.At
}

// refuseKind refuses to go on with, or to take back, what is kept as a run and is none.
func refuseKind(past *journal.Run) error {
	switch kind := past.Call().Kind; {
	case past.File == journal.UnlockFile:
		return exit{exitUsage, fmt.Errorf("%s is no run of a plan: a lock was broken then", past.ID)}
	case kind == journal.Decided:
		return exit{exitUsage, runtime.WithHint(fmt.Errorf("%s is no run of a plan: a person decided on %s then", past.ID, past.Plan),
			"infra decide %s go|no-go --because \"...\" decides anew, and the last word counts", past.Plan)}
	case kind == journal.Observed:
		return exit{exitUsage, runtime.WithHint(fmt.Errorf("%s is no run of a plan: the checks of %s were run then", past.ID, past.Plan),
			"infra verify %s looks again", past.File)}
	}
	return nil
}

package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"infra/runtime/clock"
	"infra/runtime/journal"
)

func TestBudgetFlags(t *testing.T) {
	for _, tt := range []struct {
		args  string
		want  budgets
		wrong string
	}{
		{"", budgets{}, ""},
		{"--eval-workers 3 --copy-rate 20M", budgets{3, 20 << 20}, ""},
		{"--copy-rate 1.5g", budgets{0, 3 << 29}, ""},
		{"--copy-rate 4000", budgets{0, 4000}, ""},
		{"--eval-workers 0", budgets{}, "at least 1"},
		{"--eval-workers many", budgets{}, "at least 1"},
		{"--copy-rate M", budgets{}, "write 500K"},
		{"--copy-rate=", budgets{}, "write 500K"},
		{"--copy-rate -2M", budgets{}, "1K at least"},
		{"--copy-rate NaNG", budgets{}, "1K at least"},
		{"--copy-rate 1e300G", budgets{}, "1K at least"},
		{"--copy-rate 3é", budgets{}, "1K at least"},
	} {
		parse := func(args []string) (b budgets, err error) {
			fl := pflag.NewFlagSet("", pflag.ContinueOnError)
			evalWorkersFlag(fl, &b)
			copyRateFlag(fl, &b)
			err = fl.Parse(args)
			return b, err
		}
		got, err := parse(strings.Fields(tt.args))
		switch {
		case tt.wrong != "":
			if err == nil || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("%s: %v", tt.args, err)
			}
			continue
		case err != nil || got != tt.want:
			t.Errorf("%s: %+v, %v", tt.args, got, err)
		}
		if again, err := parse(got.args()); err != nil || again != got {
			t.Errorf("%q are %+v, %v; want %+v", got.args(), again, err, got)
		}
	}
}

// TestBudgetsOfAResumedRun: a run that is gone on with keeps within what it was given, unless the call says other.
func TestBudgetsOfAResumedRun(t *testing.T) {
	kept := runFlags{budgets: budgets{2, 1 << 20}}.call(clock.Instant{Wall: time.Now()})
	f := runFlags{budgets: budgets{EvalWorkers: 1}}
	if err := f.as(&journal.Run{Options: kept}); err != nil || f.budgets != (budgets{1, 1 << 20}) {
		t.Errorf("%+v, %v", f.budgets, err)
	}
	var none map[string]json.RawMessage
	if err := json.Unmarshal(runFlags{}.call(clock.Instant{}), &none); err != nil || none["budgets"] != nil {
		t.Errorf("%v, %v", none, err)
	}
	if args := (budgets{}).args(); !slices.Equal(args, nil) {
		t.Errorf("%q", args)
	}
}

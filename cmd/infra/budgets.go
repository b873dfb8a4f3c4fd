package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"infra/builtins"
	"infra/builtins/nix"
	"infra/runtime/remote"
)

// budgets bound what a run takes of this machine and its network at a time.
type budgets struct {
	EvalWorkers int      `json:"eval_workers,omitempty"` // 0: as many as memory and cores allow
	CopyRate    byteRate `json:"copy_rate,omitempty"`    // 0: no bound
}

// evalWorkersFlag bounds the evaluations of what previews, runs or observes.
func evalWorkersFlag(fl *pflag.FlagSet, b *budgets) {
	fl.Var((*workers)(&b.EvalWorkers), "eval-workers", "how many nix evaluate at a time on this machine, over all steps; a real system takes 1.5 to 4 GiB (default: one for each 4 GiB of memory that is available, at least 1, at most one for each core)")
}

// copyRateFlag bounds the copies of what may change hosts.
func copyRateFlag(fl *pflag.FlagSet, b *budgets) {
	fl.Var(&b.CopyRate, "copy-rate", "send no more than this in a second by nix.copy to all hosts together, such as 20M for 20 MiB (default: no bound)")
}

// over are these where they say something, and what an earlier call said where they do not.
func (b budgets) over(earlier budgets) budgets {
	if b.EvalWorkers == 0 {
		b.EvalWorkers = earlier.EvalWorkers
	}
	if b.CopyRate == 0 {
		b.CopyRate = earlier.CopyRate
	}
	return b
}

// args are the flags that say the same.
func (b budgets) args() []string {
	var args []string
	if b.EvalWorkers > 0 {
		args = append(args, "--eval-workers", (*workers)(&b.EvalWorkers).String())
	}
	if b.CopyRate > 0 {
		args = append(args, "--copy-rate", b.CopyRate.String())
	}
	return args
}

// given are deps that keep within the budgets; nothing evaluates that has not begun when stop is closed.
func (b budgets) given(deps builtins.Deps, stop <-chan struct{}) builtins.Deps {
	deps.Turns = nix.NewTurns(b.EvalWorkers, stop)
	deps.CopyRate = remote.NewRate(int64(b.CopyRate))
	return deps
}

// workers is the value of a flag: how many work at a time.
type workers int

func (w *workers) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is no number of evaluations: it is at least 1", text)
	}
	*w = workers(n)
	return nil
}

func (w *workers) String() string {
	if *w == 0 {
		return ""
	}
	return strconv.Itoa(int(*w))
}

func (*workers) Type() string { return "int" }

// byteRate is the value of a flag: bytes a second.
type byteRate int64

// byteUnits are those of a rate, as curl and rsync have them.
var byteUnits = map[byte]int64{'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}

// Set reads "500K", "20M", "1.5G" and a plain number of bytes.
func (r *byteRate) Set(text string) error {
	number, unit := text, int64(1)
	if end := len(text) - 1; end >= 0 {
		if u, ok := byteUnits[strings.ToUpper(text)[end]]; ok {
			number, unit = text[:end], u
		}
	}
	const least, most = 1 << 10, 1 << 40
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n*float64(unit) >= least && n*float64(unit) <= most) {
		return fmt.Errorf("%q is no number of bytes a second: write 500K, 20M or 1G; it is 1K at least", text)
	}
	*r = byteRate(n * float64(unit))
	return nil
}

func (r *byteRate) String() string {
	if *r == 0 {
		return ""
	}
	for _, unit := range []byte{'G', 'M', 'K'} {
		if u := byteUnits[unit]; int64(*r)%u == 0 {
			return strconv.FormatInt(int64(*r)/u, 10) + string(unit)
		}
	}
	return strconv.FormatInt(int64(*r), 10)
}

func (*byteRate) Type() string { return "rate" }

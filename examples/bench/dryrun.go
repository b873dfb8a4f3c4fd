package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// manySteps is a plan of ten steps on each of 1000 hosts, or another number.
//
//go:embed manysteps.star
var manySteps string

func dryRunPlan(hosts int) string {
	return strings.Replace(manySteps, "range(1000)", fmt.Sprintf("range(%d)", hosts), 1)
}

const (
	dryRunLimit = 2 * time.Second // of 1,000 hosts x 10 steps
	dryRunRatio = 4.4             // of four times as many hosts
)

// dryRuns measures previews of 1,000 and of 4,000 hosts, of which no peer has
// a like: what is called so elsewhere either runs nothing or asks the hosts.
func dryRuns(ctx context.Context, out io.Writer, dir string) error {
	infra := filepath.Join(dir, "infra")
	took := map[int]time.Duration{}
	fmt.Fprint(out, "\n| dry run | wall | cpu | memory |\n|---|---|---|---|\n")
	for _, hosts := range []int{1000, 4000} {
		name := fmt.Sprintf("dry-%d.star", hosts)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(dryRunPlan(hosts)), 0o644); err != nil {
			return err
		}
		var figures []figure
		for range 5 {
			f, err := measure(ctx, dir, []string{infra, "run", "--dry-run", name})
			if err != nil {
				return err
			}
			figures = append(figures, f)
		}
		m := median(figures)
		took[hosts] = m.wall
		fmt.Fprintf(out, "| %d hosts x 10 steps of local operations | %s |\n", hosts, m)
	}
	ratio := float64(took[4000]) / float64(took[1000])
	fmt.Fprintf(out, "\nfour times the hosts take %.1f times as long\n", ratio)
	switch {
	case took[1000] > dryRunLimit:
		return fmt.Errorf("the dry run of 1,000 hosts took %s, and should stay under %s", took[1000], dryRunLimit)
	case ratio > dryRunRatio:
		return fmt.Errorf("the dry run of 4,000 hosts took %.1f times that of 1,000, and should stay under %.1f", ratio, dryRunRatio)
	}
	return nil
}

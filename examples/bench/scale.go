package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	scaleRounds = 3
	// linear is how many times as long ten times as much may take.
	linear = 10.5
	// scaleMemory is what 10,000 hosts x 10 steps may take.
	scaleMemory = 2 << 30
)

// benchScale measures ten times as many hosts, of a plan that is read and of one that
// is previewed, in turn.
func benchScale(ctx context.Context, out io.Writer, dir string) error {
	for _, n := range []int{1000, 10_000} {
		read := strings.ReplaceAll(inputs()["big.star"], "range(1000)", fmt.Sprintf("range(%d)", n))
		for name, text := range map[string]string{fmt.Sprintf("read-%d.star", n): read, fmt.Sprintf("dry-%d.star", n): dryRunPlan(n)} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				return err
			}
		}
	}
	fmt.Fprint(out, "\n| ten times as many hosts | wall | cpu | memory |\n|---|---|---|---|\n")
	var missed []error
	var said strings.Builder
	for _, w := range []struct {
		title string
		argv  []string // without the plan
		plan  string
	}{
		{"reading", []string{filepath.Join(dir, "infra"), "run", "--dry-run", "--step", "h0-0"}, "read"},
		{"dry run of local operations", []string{filepath.Join(dir, "infra"), "run", "--dry-run"}, "dry"},
	} {
		few, many, times, err := tenfold(ctx, dir, w.argv, w.plan)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "| %s, 1,000 hosts x 10 steps | %s |\n| %s, 10,000 hosts x 10 steps | %s |\n", w.title, few, w.title, many)
		fmt.Fprintf(&said, "%s takes %.1f times as long for 10,000 hosts as for 1,000. ", w.title, times)
		if times > linear {
			missed = append(missed, fmt.Errorf("%s of 10,000 hosts took %.1f times as long as of 1,000, and should stay under %.1f", w.title, times, linear))
		}
		if many.memory > scaleMemory {
			missed = append(missed, fmt.Errorf("%s of 10,000 hosts took %d MiB, and should stay under %d MiB", w.title, many.memory>>20, scaleMemory>>20))
		}
	}
	fmt.Fprintf(out, "\n%s\n", strings.TrimSpace(said.String()))
	return errors.Join(missed...)
}

// tenfold measures a command on the plan of 1,000 hosts and on that of 10,000. How many
// times as long that takes is the median of the rounds: the machine is not as fast at
// all times.
func tenfold(ctx context.Context, dir string, argv []string, plan string) (few, many figure, times float64, err error) {
	var fews, manys []figure
	var ratios []float64
	for range scaleRounds {
		a, err := measure(ctx, dir, append(slices.Clone(argv), plan+"-1000.star"))
		if err != nil {
			return few, many, 0, err
		}
		b, err := measure(ctx, dir, append(slices.Clone(argv), plan+"-10000.star"))
		if err != nil {
			return few, many, 0, err
		}
		fews, manys, ratios = append(fews, a), append(manys, b), append(ratios, b.wall.Seconds()/a.wall.Seconds())
	}
	slices.Sort(ratios)
	return median(fews), median(manys), ratios[len(ratios)/2], nil
}

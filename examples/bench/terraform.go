package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// terraformRatio is how many times as long as by hand a plan and its apply may
// take with infra.
const terraformRatio = 1.05

const terraformConfig = `resource "terraform_data" "r" {
  count = 100
  input = "number ${count.index}"
}
`

const terraformPlan = `
def made():
    tf = terraform.dir("%s")
    tf.apply(tf.plan())
made_ = plan(steps = [step(made)])
`

// byHand is what a careful person types for the same: look at the plan as data,
// and apply that one.
const byHand = `terraform plan -input=false -out=p >/dev/null && terraform show -json p >shown && terraform apply -input=false p >/dev/null`

// benchTerraform measures a plan and its apply, of 100 resources that cost
// nothing, beside the same commands by hand, in turn.
func benchTerraform(ctx context.Context, out io.Writer, dir string) error {
	if _, err := exec.LookPath("terraform"); err != nil {
		return fmt.Errorf("terraform is not measured: %w", err)
	}
	if err := os.Unsetenv("TF_CLI_CONFIG_FILE"); err != nil {
		return err
	}
	var hand, ours []figure
	var ratios []float64 // of each pair: the machine is not as fast at all times
	for i := range runs + 1 {
		h, err := inTerraform(ctx, dir, "hand", []string{"sh", "-c", byHand})
		if err != nil {
			return err
		}
		o, err := inTerraform(ctx, dir, "ours", []string{filepath.Join(dir, "infra"), "run", "../ours.star"})
		if err != nil {
			return err
		}
		if i > 0 { // the first inits, and is a warm-up
			hand, ours = append(hand, h), append(ours, o)
			ratios = append(ratios, float64(o.wall)/float64(h.wall))
		}
	}
	h, o := median(hand), median(ours)
	slices.Sort(ratios)
	ratio := ratios[len(ratios)/2]
	fmt.Fprint(out, "\n| plan and apply of 100 terraform_data | wall | cpu | memory |\n|---|---|---|---|\n")
	fmt.Fprintf(out, "| infra run | %s |\n| by hand: plan, show, apply | %s |\n\nthe whole of infra takes %.2f times as long (median of the pairs)\n", o, h, ratio)
	if ratio > terraformRatio {
		return fmt.Errorf("plan and apply took %.2f times as long as by hand, and should stay under %.2f", ratio, terraformRatio)
	}
	return nil
}

// inTerraform measures a command in a folder with the configuration, and with
// no state.
func inTerraform(ctx context.Context, dir, name string, argv []string) (figure, error) {
	folder := filepath.Join(dir, name)
	_, err := os.Stat(folder)
	if errors.Is(err, fs.ErrNotExist) {
		err = prepareTerraform(ctx, dir, name)
	}
	if err != nil {
		return figure{}, err
	}
	for _, state := range []string{"terraform.tfstate", "terraform.tfstate.backup"} {
		if err := os.Remove(filepath.Join(folder, state)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return figure{}, err
		}
	}
	return measure(ctx, folder, argv)
}

func prepareTerraform(ctx context.Context, dir, name string) error {
	folder := filepath.Join(dir, name)
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "main.tf"), []byte(terraformConfig), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".star"), fmt.Appendf(nil, terraformPlan, name), 0o644); err != nil {
		return err
	}
	if name != "hand" {
		return nil
	}
	_, err := measure(ctx, folder, []string{"terraform", "init", "-input=false"})
	return err
}

package terraform

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"infra/builtins/internal/terraform/terraformtest"
)

const manyThings = `
resource "terraform_data" "x" {
  count = 100
  input = count.index
}
output "n" { value = length(terraform_data.x) }
`

// BenchmarkPlanAndApply measures a plan and its apply beside the same commands
// by hand, one after the other. "x-by-hand" is the quotient of the medians, and
// should stay below 1.05.
func BenchmarkPlanAndApply(b *testing.B) {
	binary := terraformtest.Binary(b, "terraform")
	ours := folder(b, binary, map[string]string{"main.tf": manyThings})
	must(b, ours.Validate(inTime(b), nil)) // initialises it
	hand := b.TempDir()
	write(b, filepath.Join(hand, "main.tf"), manyThings)
	byHand(b, binary, hand, "init")
	var us, them []time.Duration
	for b.Loop() {
		for _, dir := range []string{ours.Path, hand} {
			_ = os.Remove(filepath.Join(dir, "terraform.tfstate"))
			_ = os.Remove(filepath.Join(dir, "terraform.tfstate.backup"))
		}
		began := time.Now()
		d := &Dir{Binary: binary, Path: ours.Path, Data: ours.Data}
		s, err := d.Plan(inTime(b), io.Discard, false)
		must(b, err)
		_, err = d.Apply(inTime(b), io.Discard, s)
		must(b, err)
		us = append(us, time.Since(began))

		began = time.Now()
		byHand(b, binary, hand, "plan", "-json", "-lock=false", "-input=false", "-out=plan")
		byHand(b, binary, hand, "show", "-json", "plan")
		byHand(b, binary, hand, "apply", "-json", "-input=false", "plan")
		them = append(them, time.Since(began))
	}
	slices.Sort(us)
	slices.Sort(them)
	middle := len(us) / 2
	b.ReportMetric(float64(us[middle])/float64(them[middle]), "x-by-hand")
	b.ReportMetric(float64(them[middle].Milliseconds()), "ms-by-hand")
	b.ReportMetric(float64(us[middle].Milliseconds()), "ms-ours")
}

func byHand(b *testing.B, binary, dir string, args ...string) {
	out, err := os.Create(filepath.Join(dir, "out"))
	must(b, err)
	defer out.Close()
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1")
	must(b, cmd.Run())
}

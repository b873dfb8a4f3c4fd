package engine_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"infra/builtins"
	"infra/runtime/engine"
	"infra/runtime/preview"
)

// manySteps is a plan of ten local steps on each of 1000 hosts: a look, files and
// commands.
const manySteps = "../../examples/bench/manysteps.star"

// BenchmarkPreview is what follows a save of a plan of many hosts: the file is
// read, previewed, and the preview compared to the one before. It counts the
// processor's time of a step, which other work on the machine does not change.
func BenchmarkPreview(b *testing.B) {
	text, err := os.ReadFile(manySteps)
	if err != nil {
		b.Fatal(err)
	}
	for _, hosts := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			root := b.TempDir()
			path := filepath.Join(root, "big.star")
			if err := os.WriteFile(path, bytes.Replace(text, []byte("range(1000)"), fmt.Appendf(nil, "range(%d)", hosts), 1), 0o644); err != nil {
				b.Fatal(err)
			}
			e := engine.New(root, builtins.All(builtins.Deps{Root: root}))
			before := previewed(b, e, root, path)
			began := cpu(b)
			for b.Loop() {
				now := previewed(b, e, root, path)
				preview.Compare(before, now)
				before = now
			}
			b.ReportMetric((cpu(b)-began)/float64(b.N*hosts*10), "µs-cpu/step")
		})
	}
}

// previewed is the document of a dry run.
func previewed(b *testing.B, e *engine.Engine, root, path string) *preview.Document {
	b.Helper()
	file, err := e.Preview(b.Context(), path)
	if err != nil {
		b.Fatal(err)
	}
	c, d := preview.NewCollector(root), new(preview.Document)
	if _, err = e.Run(b.Context(), file, engine.Options{Show: c.Read}); err != nil {
		b.Fatal(err)
	}
	if err = c.Fill(d); err != nil || !c.Complete() {
		b.Fatalf("the preview came to no end: %v", err)
	}
	return d
}

// cpu is the processor's time that this process took, in microseconds.
func cpu(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	us := func(t syscall.Timeval) float64 { return float64(t.Sec)*1e6 + float64(t.Usec) }
	return us(u.Utime) + us(u.Stime)
}

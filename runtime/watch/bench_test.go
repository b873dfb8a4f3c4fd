package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// BenchmarkSet is the Set after a preview that looked at what the one before it
// did: 100 files, and a Tree of 5,000.
func BenchmarkSet(b *testing.B) {
	w, inputs := newFleet(b)
	if err := w.Set(inputs); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := w.Set(inputs); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFirstSet reads all of that.
func BenchmarkFirstSet(b *testing.B) {
	w, inputs := newFleet(b)
	for b.Loop() {
		if err := w.Set(inputs); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := w.Set(nil); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkChange is from the close of a save to the change that is told, of
// which 50 ms are the quiet time.
func BenchmarkChange(b *testing.B) {
	w, inputs := newFleet(b)
	if err := w.Set(inputs); err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for b.Loop() {
		if err := os.WriteFile(inputs[0].Path, fmt.Append(nil, "content ", len(took)), 0o644); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		<-w.Changes()
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
}

func newFleet(b *testing.B) (*Watcher, []Input) {
	w, err := New(Options{Warn: func(err error) { b.Error(err) }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = w.Close() })
	dir := b.TempDir()
	inputs := make([]Input, 100, 101)
	for i := range inputs {
		inputs[i] = Input{Path: filepath.Join(dir, fmt.Sprint("plans/", i%7), fmt.Sprint(i, ".star"))}
	}
	files := slices.Clone(inputs)
	for i := range 5000 {
		files = append(files, Input{Path: filepath.Join(dir, fmt.Sprint("tree/", i%100, "/deep"), fmt.Sprint(i))})
	}
	for _, in := range files {
		if err := os.MkdirAll(filepath.Dir(in.Path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(in.Path, fmt.Append(nil, in.Path), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return w, append(inputs, Input{Path: filepath.Join(dir, "tree"), Tree: true})
}

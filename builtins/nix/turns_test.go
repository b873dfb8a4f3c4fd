package nix

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"infra/builtins/internal/calltest"
	"infra/runtime"
)

func TestWorkersFor(t *testing.T) {
	const gib = 1 << 30
	for _, tt := range []struct {
		memory int64
		cores  int
		want   int
	}{{0, 4, 4}, {0, 0, 1}, {gib, 8, 1}, {8*gib - 1, 8, 1}, {8 * gib, 8, 2}, {64 * gib, 8, 8}, {1 << 62, 2, 2}} {
		if got := workersFor(tt.memory, tt.cores); got != tt.want {
			t.Errorf("%d bytes and %d cores: %d evaluations, want %d", tt.memory, tt.cores, got, tt.want)
		}
	}
	if n := availableMemory(); n <= 0 {
		t.Errorf("this machine has %d bytes available", n)
	}
}

// said lets a test wait until something is said.
type said chan string

func (s said) Write(p []byte) (int, error) { s <- string(p); return len(p), nil }

func TestTurns(t *testing.T) {
	stop := make(chan struct{})
	turns := NewTurns(2, stop)
	take := func(ctx context.Context) (said, chan error) {
		log, ended := make(said, 1), make(chan error, 1)
		go func() { _, err := turns.take(ctx, log); ended <- err }()
		return log, ended
	}
	first, err := turns.take(t.Context(), io.Discard)
	if err != nil || !turns.several() || NewTurns(1, nil).several() {
		t.Fatalf("the first: %v", err)
	}
	if _, err := turns.take(t.Context(), io.Discard); err != nil {
		t.Fatalf("the second: %v", err)
	}
	log, ended := take(t.Context())
	if got := <-log; got != "waiting: 2 evaluations at a time (--eval-workers)\n" {
		t.Errorf("the third is told %q", got)
	}
	first()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	why := errors.New("its time is over")
	ctx, cancel := context.WithCancelCause(t.Context())
	log, ended = take(ctx)
	<-log
	cancel(why)
	if err := <-ended; !errors.Is(err, why) {
		t.Errorf("of a context that ends: %v", err)
	}
	log, ended = take(t.Context())
	<-log
	close(stop)
	if err := <-ended; !errors.Is(err, runtime.ErrInterrupted) {
		t.Errorf("of a run that is stopped: %v", err)
	}
}

// TestEveryEvaluationTakesATurn: and none begins once the run is to stop.
func TestEveryEvaluationTakesATurn(t *testing.T) {
	stop := make(chan struct{})
	close(stop)
	m := New(Config{Root: t.TempDir(), Turns: NewTurns(1, stop)})
	for _, code := range []string{`nix.eval(".#x")`, `nix.build(".#x")`, `nix.flake.show()`, `nix.flake.check()`, `nix.flake.check(build = False)`} {
		for _, dry := range []bool{false, true} {
			d := &calltest.Door{DryRun: dry}
			if _, err := d.Run(t, m.Specs(), code); err == nil || !strings.Contains(err.Error(), "nix was not started: ") {
				t.Errorf("%s: %v", code, err)
			}
		}
	}
	if _, err := m.JSON(t.Context(), io.Discard, ".#x", "x: x"); !errors.Is(err, runtime.ErrInterrupted) {
		t.Errorf("of another module: %v", err)
	}
}

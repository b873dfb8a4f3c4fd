package clan

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"infra/runtime"
)

// A saying hands on what is written to it.
type saying chan string

func (s saying) Write(p []byte) (int, error) { s <- string(p); return len(p), nil }

// TestTurns: who writes to the clan's folder waits for another operation of the
// process, and for another process, which has the same file locked.
func TestTurns(t *testing.T) {
	d := driver{Clan: Clan{Root: t.TempDir()}, dir: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(d.Root, ".infra", "locks"), 0o700); err != nil {
		t.Fatal(err)
	}
	other := flock.New(filepath.Join(d.Root, ".infra", "locks", "clan"))
	if err := other.Lock(); err != nil {
		t.Fatal(err)
	}
	said, had := make(saying, 1), make(chan func(), 1)
	go func() {
		done, err := d.takeTurn(t.Context(), said)
		if err != nil {
			t.Error(err)
		}
		had <- done
	}()
	select {
	case got := <-said:
		if !strings.Contains(got, "waiting") {
			t.Errorf("it says %q", got)
		}
	case <-had:
		t.Fatal("it did not wait")
	}
	if err := other.Unlock(); err != nil {
		t.Fatal(err)
	}
	done := <-had
	if ok, err := other.TryLock(); ok || err != nil {
		t.Errorf("another process can lock it too: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(runtime.ErrInterrupted)
	if _, err := d.takeTurn(ctx, said); !errors.Is(err, runtime.ErrInterrupted) {
		t.Errorf("a run that stops waits on: %v", err)
	}
	done()
	if ok, err := other.TryLock(); !ok || err != nil {
		t.Errorf("it was not unlocked: %v", err)
	}
	// A run that stops while another process has its turn lets the next one in.
	ctx, cancel = context.WithCancelCause(t.Context())
	time.AfterFunc(turnPause/2, func() { cancel(runtime.ErrInterrupted) })
	if _, err := d.takeTurn(ctx, said); !errors.Is(err, runtime.ErrInterrupted) {
		t.Errorf("a run that stops waits on: %v", err)
	}
	if err := other.Unlock(); err != nil {
		t.Fatal(err)
	}
	ctx, cancelAll := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancelAll()
	done, err := d.takeTurn(ctx, said)
	if err != nil {
		t.Fatal(err)
	}
	done()
}

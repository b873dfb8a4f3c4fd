package remote

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestRate: several send together no more than the rate, and each the same, in the time of a clock of their own.
func TestRate(t *testing.T) {
	t.Parallel()
	for _, perSecond := range []int64{1000, 1 << 20, 100 << 20} {
		synctest.Test(t, func(t *testing.T) {
			const hosts, seconds = 4, 5
			rate, began := NewRate(perSecond), time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), seconds*time.Second)
			defer cancel()
			var mu sync.Mutex
			var all int64
			var sent [hosts]int64
			var sending sync.WaitGroup
			for host := range hosts {
				sending.Go(func() {
					from := rate.bound(ctx, fountain{})
					for room := make([]byte, 64<<10); ; {
						n, err := from.Read(room)
						mu.Lock()
						all, sent[host] = all+int64(n), sent[host]+int64(n)
						if most := int64(float64(perSecond) * (time.Since(began) + rateBurst).Seconds()); all > most+hosts {
							t.Errorf("%d bytes were sent in %s, at %d a second", all, time.Since(began), perSecond)
						}
						mu.Unlock()
						if err != nil {
							return
						}
					}
				})
			}
			sending.Wait()
			if least := perSecond*seconds - hosts*rate.piece(); all < least {
				t.Errorf("%d bytes were sent, want %d", all, least)
			}
			for host, n := range sent {
				if few := all/hosts - 2*rate.piece() - perSecond*int64(rateBurst)/int64(time.Second); n < few {
					t.Errorf("host %d sent %d of %d bytes", host, n, all)
				}
			}
		})
	}
}

// TestRateOfOne: who sends alone gets all of it, who sends nothing takes nothing, and
// who waits for long can be ended.
func TestRateOfOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rate, began := NewRate(1<<20), time.Now()
		idle, _ := io.Pipe()
		go func() { _, _ = rate.bound(t.Context(), idle).Read(make([]byte, 1)) }()
		if n, err := io.Copy(io.Discard, io.LimitReader(rate.bound(t.Context(), fountain{}), 5<<20)); n != 5<<20 || err != nil {
			t.Errorf("sent %d: %v", n, err)
		}
		if took := time.Since(began); took < 4800*time.Millisecond || took > 5100*time.Millisecond {
			t.Errorf("5 MiB took %s at 1 MiB a second", took)
		}
		idle.Close()
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Millisecond, func() { cancel(why) })
		if err := NewRate(1).spend(ctx, 1000); !errors.Is(err, why) {
			t.Errorf("after the end: %v", err)
		}
	})
	if r := NewRate(0).bound(t.Context(), fountain{}); r != (fountain{}) {
		t.Errorf("no rate is %v", r)
	}
}

// fountain gives as many bytes as are asked for.
type fountain struct{}

func (fountain) Read(p []byte) (int, error) { return len(p), nil }

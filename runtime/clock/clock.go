// Package clock tells how far apart two moments are, also where somebody set a
// clock between them.
package clock

import (
	"sync/atomic"
	"time"
)

// An Instant is a moment as one machine saw it.
type Instant struct {
	Wall time.Time
	Mark
}

// A Mark is a moment by a clock that nobody can set: how long the machine was up,
// with its sleep. It counts from the boot that it names. The zero Mark is none.
type Mark struct {
	Boot string        `json:"boot,omitempty"`
	Up   time.Duration `json:"up,omitempty"` // nanoseconds
}

// Now is this moment. Where the machine does not tell its boot it has no Mark.
func Now() Instant {
	now := Instant{Wall: time.Now()}
	id, err := bootID()
	if err != nil {
		return now
	}
	if up, err := uptime(); err == nil {
		now.Mark = Mark{id, up}
	}
	return now
}

// boot is the boot that this process belongs to, which it does not outlive; nil
// until it has been read. Every event of a run asks for it.
var boot atomic.Pointer[string]

func bootID() (string, error) {
	if known := boot.Load(); known != nil {
		return *known, nil
	}
	id, err := readBoot()
	if err != nil {
		return "", err
	}
	boot.Store(&id)
	return id, nil
}

// Add is the moment so much later.
func (i Instant) Add(d time.Duration) Instant {
	i.Wall = i.Wall.Add(d)
	if i.Boot != "" {
		i.Up += d
	}
	return i
}

// Sub is how much time went by since earlier, by the clock that nobody can set
// where both moments are of one boot of one machine, else by the machines' own.
// Only what the latter say can be wrong, and negative where earlier was not.
func (i Instant) Sub(earlier Instant) time.Duration {
	if i.SameBoot(earlier) {
		return i.Up - earlier.Up
	}
	return i.Wall.Round(0).Sub(earlier.Wall.Round(0))
}

// SameBoot says whether both moments are of one boot of one machine.
func (i Instant) SameBoot(j Instant) bool { return i.Boot != "" && i.Boot == j.Boot }

// Jump is by how much the machine's clock was set forward between two moments of
// one boot; negative: back. It is 0 where that cannot be told.
func (i Instant) Jump(earlier Instant) time.Duration {
	if !i.SameBoot(earlier) {
		return 0
	}
	return i.Wall.Round(0).Sub(earlier.Wall.Round(0)) - (i.Up - earlier.Up)
}

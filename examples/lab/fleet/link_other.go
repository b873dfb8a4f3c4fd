//go:build !linux

package fleet

import (
	"errors"
	"time"
)

// A Link is a bad link to a host.
type Link struct{}

// Link says that there are no hosts here.
func (f *Fleet) Link(string, time.Duration, float64) (*Link, error) {
	return nil, errors.New("the lab needs Linux")
}

// Cut does nothing.
func (l *Link) Cut() {}

// Mend does nothing.
func (l *Link) Mend() {}

// Close does nothing.
func (l *Link) Close() error { return nil }

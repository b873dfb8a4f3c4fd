//go:build !linux

package remote

import "golang.org/x/sys/unix"

// unsleepingClock goes on while this machine is suspended, and is never set:
// that is what a Mac means by monotonic.
const unsleepingClock = unix.CLOCK_MONOTONIC

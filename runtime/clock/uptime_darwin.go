package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

func readBoot() (string, error) { return unix.Sysctl("kern.bootsessionuuid") }

// uptime counts by CLOCK_MONOTONIC, which on macOS goes on while the machine sleeps.
func uptime() (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano()), err
}

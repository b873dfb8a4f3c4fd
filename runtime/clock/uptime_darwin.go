package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// uptime counts by CLOCK_MONOTONIC, which on macOS goes on while the machine sleeps.
func uptime() (boot string, up time.Duration, err error) {
	boot, err = unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return "", 0, err
	}
	var ts unix.Timespec
	err = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return boot, time.Duration(ts.Nano()), err
}

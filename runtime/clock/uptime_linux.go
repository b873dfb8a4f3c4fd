package clock

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func uptime() (boot string, up time.Duration, err error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", 0, err
	}
	var ts unix.Timespec
	err = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return strings.TrimSpace(string(id)), time.Duration(ts.Nano()), err
}

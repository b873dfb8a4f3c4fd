package remote

import "golang.org/x/sys/unix"

// unsleepingClock goes on while this machine is suspended, and is never set.
const unsleepingClock = unix.CLOCK_BOOTTIME

package watch

import (
	"fmt"
	"syscall"

	"infra/runtime"
)

// kqueue needs an open file for each file of a folder that is watched, so Trees
// are polled, and only folders watched that hold an input. It tells of some
// truncations as of a chmod.
const (
	watchesTrees     = false
	watchesAbove     = false
	chmodMayTruncate = true
)

// The sysctls that limit how many files may be open.
const (
	watchLimit    = "kern.maxfilesperproc"
	instanceLimit = "kern.maxfilesperproc"
	fileLimit     = "kern.maxfilesperproc"
)

func changedAt(st *syscall.Stat_t) int64 { return st.Ctimespec.Nano() }

// limitError says which limit is reached, and what to do.
func limitError(err error, sysctl string) error {
	err = fmt.Errorf("%w (too many files are open: the limit of ulimit -n, or %s, is reached)", err, sysctl)
	return runtime.WithHint(err, "raise the limit, as in: ulimit -n 65536")
}

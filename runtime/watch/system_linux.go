package watch

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"infra/runtime"
)

const (
	watchesTrees     = true
	watchesAbove     = true
	chmodMayTruncate = false
)

// The sysctls that limit inotify.
const (
	watchLimit    = "fs.inotify.max_user_watches"
	instanceLimit = "fs.inotify.max_user_instances"
	fileLimit     = "fs.file-max"
)

func changedAt(st *syscall.Stat_t) int64 { return st.Ctim.Nano() }

// limitError says which limit is reached, where it stands, and what to do.
func limitError(err error, sysctl string) error {
	value, _ := os.ReadFile("/proc/sys/" + strings.ReplaceAll(sysctl, ".", "/"))
	err = fmt.Errorf("%w (the limit %s is reached, which is %s)", err, sysctl, strings.TrimSpace(string(value)))
	return runtime.WithHint(err, "raise the limit, as in: sudo sysctl %s=524288", sysctl)
}

package remote

import "syscall"

// processGroup makes the child the leader of a group of its own, which is told
// to end when infra dies.
func processGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

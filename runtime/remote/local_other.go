//go:build !linux

package remote

import "syscall"

// processGroup makes the child the leader of a group of its own.
func processGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

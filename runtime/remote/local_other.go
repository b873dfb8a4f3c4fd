//go:build !linux

package remote

import "syscall"

// diesWithUs does nothing: only Linux tells a child of its parent's death.
// The reaper does, here.
func diesWithUs(*syscall.SysProcAttr) {}

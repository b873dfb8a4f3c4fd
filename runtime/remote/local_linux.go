package remote

import "syscall"

// diesWithUs has the child told to end when infra dies.
func diesWithUs(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }

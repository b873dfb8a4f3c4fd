package remote

import "golang.org/x/sys/unix"

// unacknowledged is how many bytes a socket holds that the other machine has
// not said it got.
func unacknowledged(fd int) (int, error) { return unix.IoctlGetInt(fd, unix.SIOCOUTQ) }

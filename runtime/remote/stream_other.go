//go:build !linux

package remote

import "golang.org/x/sys/unix"

// soNWrite is SO_NWRITE of macOS.
const soNWrite = 0x1024

// unacknowledged is how many bytes a socket holds that the other machine has
// not said it got.
func unacknowledged(fd int) (int, error) {
	return unix.GetsockoptInt(fd, unix.SOL_SOCKET, soNWrite)
}

package nix

import "golang.org/x/sys/unix"

// availableMemory is this machine's memory, in bytes; 0 where that is not known. How
// much of it is in use a Mac tells nobody in one word: it takes most of it for what it
// can give back.
func availableMemory() int64 {
	size, err := unix.SysctlUint64("hw.memsize")
	if err != nil || size > 1<<62 {
		return 0
	}
	return int64(size)
}

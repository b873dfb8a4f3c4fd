package main

import (
	"errors"

	"golang.org/x/sys/unix"
)

// readable waits until there is something to read at fd, or at other, and says whether
// it is at fd alone. poll(2) knows no terminals on macOS.
func readable(fd, other int) bool {
	for {
		var set unix.FdSet
		set.Set(fd)
		set.Set(other)
		_, err := unix.Select(max(fd, other)+1, &set, nil, nil, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && !set.IsSet(other)
	}
}

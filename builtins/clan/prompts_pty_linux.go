package clan

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const getTermios = unix.TCGETS

// unlocked makes the terminal of a master usable, and returns its name.
func unlocked(master *os.File) (name string, err error) {
	err = control(master, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
		name = fmt.Sprintf("/dev/pts/%d", n)
		return err
	})
	return name, err
}

package clan

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const getTermios = unix.TIOCGETA

// unlocked makes the terminal of a master usable, and returns its name, which
// the device's number says.
func unlocked(master *os.File) (name string, err error) {
	err = control(master, func(fd int) error {
		if err := unix.IoctlSetInt(fd, unix.TIOCPTYGRANT, 0); err != nil {
			return err
		}
		if err := unix.IoctlSetInt(fd, unix.TIOCPTYUNLK, 0); err != nil {
			return err
		}
		var st unix.Stat_t
		err := unix.Fstat(fd, &st)
		name = fmt.Sprintf("/dev/ttys%03d", unix.Minor(uint64(st.Rdev)))
		return err
	})
	return name, err
}

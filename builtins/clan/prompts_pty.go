package clan

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A pty is a pseudo-terminal: what a program that asks a person needs.
type pty struct {
	master *os.File // what the program prints, and gets
	slave  *os.File // its terminal
}

// A ttyMode is what a program has made of its terminal.
type ttyMode struct {
	raw    bool // it gets each key as it is pressed
	silent bool // the terminal does not show what is typed
}

// newPTY opens a terminal that is wide enough for no line to be broken.
func newPTY() (*pty, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open a terminal for clan: %w", err)
	}
	var name string
	if name, err = unlocked(master); err == nil {
		var slave *os.File
		if slave, err = os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0); err == nil {
			err = unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 500})
			if err == nil {
				return &pty{master, slave}, nil
			}
			slave.Close()
		}
	}
	master.Close()
	return nil, fmt.Errorf("open a terminal for clan: %w", err)
}

func (p *pty) close() { _ = errors.Join(p.master.Close(), p.slave.Close()) }

// mode is the terminal's as it is now.
func (p *pty) mode() ttyMode {
	t, err := unix.IoctlGetTermios(int(p.slave.Fd()), getTermios)
	if err != nil {
		return ttyMode{} // it was hung up
	}
	return ttyMode{raw: t.Lflag&unix.ICANON == 0, silent: t.Lflag&unix.ECHO == 0}
}

// control does fn with the descriptor of a file that stays one that can be
// closed while it is read.
func control(f *os.File, fn func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = conn.Control(func(fd uintptr) { inner = fn(int(fd)) })
	return errors.Join(err, inner)
}

package fs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"infra/builtins/internal/file"
)

// foresee says what writing the file alters besides what was asked for: a file
// that is replaced gets the owner that writes it. It fails where writing would.
func (w writing) foresee(context.Context) ([]string, error) {
	target := file.Target(w.at)
	if err := writable(filepath.Dir(target)); err != nil {
		return nil, err
	}
	info, err := os.Stat(target)
	if err != nil {
		return nil, nil // it is new
	}
	has, ok := info.Sys().(*syscall.Stat_t)
	if me := os.Geteuid(); ok && int(has.Uid) != me {
		return []string{fmt.Sprintf("owner %s -> %s", userName(int(has.Uid)), userName(me))}, nil
	}
	return nil, nil
}

// writable says why nothing can be put into a folder that may have to be made first.
func writable(dir string) error {
	for {
		info, err := os.Stat(dir)
		switch {
		case err == nil && !info.IsDir():
			return fmt.Errorf("%s is no folder", dir)
		case err == nil:
			if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
				return &fs.PathError{Op: "write in", Path: dir, Err: err}
			}
			return nil
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		if _, err := os.Lstat(dir); err == nil {
			return fmt.Errorf("%s is a link that leads nowhere", dir)
		}
		dir = filepath.Dir(dir)
	}
}

func userName(id int) string {
	if u, err := user.LookupId(strconv.Itoa(id)); err == nil {
		return u.Username
	}
	return strconv.Itoa(id)
}

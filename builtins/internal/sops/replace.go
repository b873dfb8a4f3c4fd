package sops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"

	"infra/builtins/internal/file"
	"infra/runtime"
)

// newMode is that of a file that is made, as sops makes it: what is in it is
// encrypted, and git keeps no other.
const newMode = 0o644

// lockPause is how long to wait before asking for a lock again.
const lockPause = 20 * time.Millisecond

// lock keeps every other change of ours, in this process and in others, from
// the folder that a file is in, since each reads a file and replaces it.
// Where the file system has no locks there is none.
func (f File) lock(ctx context.Context) (unlock func(), err error) {
	dir := filepath.Dir(file.Target(f.Path()))
	l := flock.New(dir, flock.SetFlag(os.O_RDONLY))
	_, err = l.TryLockContext(ctx, lockPause)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("lock %s: %w", dir, context.Cause(ctx))
	case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EBADF), errors.Is(err, unix.ENOSYS):
		return func() { _ = l.Close() }, nil
	case err != nil:
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { _ = l.Close() }, nil
}

// replace writes the file whole or not at all, with the mode that it has. It
// refuses where the file is no longer what it was when it was read.
func (f File) replace(was, data []byte) error {
	mode := fs.FileMode(newMode)
	if info, err := os.Stat(f.Path()); err == nil {
		mode = info.Mode().Perm()
	}
	var changed error
	err := file.Replace(f.Path(), data, mode, func() error {
		changed = f.still(was)
		return changed
	})
	if err != nil && changed == nil {
		return fmt.Errorf("write %s: %w", f.Name, err)
	}
	return err
}

// still says whether the file is what it was; nil is none.
func (f File) still(was []byte) error {
	now, err := os.ReadFile(f.Path())
	if !errors.Is(err, fs.ErrNotExist) && err != nil || !bytes.Equal(now, was) || (err == nil) != (was != nil) {
		return runtime.WithHint(fmt.Errorf("%s was changed by somebody else while it was being written; it is left as it is", f.Name), "run the plan again")
	}
	return nil
}

// writable says why the file cannot be replaced, or made. Its folder may have
// to be made first.
func (f File) writable() error {
	dir := filepath.Dir(file.Target(f.Path()))
	for {
		info, err := os.Stat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir):
			dir = filepath.Dir(dir)
			continue
		case err != nil:
			return fmt.Errorf("write %s: %w", f.Name, err)
		case !info.IsDir():
			return fmt.Errorf("write %s: %s is no folder", f.Name, dir)
		}
		if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
			return &fs.PathError{Op: "write in", Path: dir, Err: err}
		}
		return nil
	}
}

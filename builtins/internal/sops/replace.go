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
	dir := filepath.Dir(f.target())
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

// target is the file that is written: where a link leads, if it leads anywhere.
func (f File) target() string {
	if resolved, err := filepath.EvalSymlinks(f.Path()); err == nil {
		return resolved
	}
	return f.Path()
}

// replace writes the file whole or not at all, with the mode that it has. It
// refuses where the file is no longer what it was when it was read.
func (f File) replace(was, data []byte) error {
	target := f.target()
	mode := fs.FileMode(newMode)
	if info, err := os.Stat(target); err == nil {
		mode = info.Mode().Perm()
	}
	tmp := filepath.Join(filepath.Dir(target), ".infra-"+filepath.Base(target)) // one name: what a killed process left is replaced
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write %s: %w", f.Name, err)
	}
	defer os.Remove(tmp)
	if err := fill(tmp, data, mode); err != nil {
		return fmt.Errorf("write %s: %w", f.Name, err)
	}
	if now, err := os.ReadFile(target); !errors.Is(err, fs.ErrNotExist) && err != nil || !bytes.Equal(now, was) || (err == nil) != (was != nil) {
		return runtime.WithHint(fmt.Errorf("%s was changed by somebody else while it was being written; it is left as it is", f.Name), "run the plan again")
	}
	if err := os.Rename(tmp, target); err != nil {
		return fmt.Errorf("write %s: %w", f.Name, err)
	}
	return syncDir(filepath.Dir(target))
}

func fill(path string, data []byte, mode fs.FileMode) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	return errors.Join(err, out.Chmod(mode), out.Sync(), out.Close())
}

// syncDir makes a rename outlast a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writable says why the file cannot be replaced, or made. Its folder may have
// to be made first.
func (f File) writable() error {
	dir := filepath.Dir(f.target())
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

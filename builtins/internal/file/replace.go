package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Target is the file that is written: where a link leads, if it leads anywhere.
func Target(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved
	}
	return path
}

// Replace writes a file of this machine whole or not at all: beside the old
// one, which it then takes the place of, so that a reader and a crash see
// either of the two. A link stays one: its target is replaced. check, if not
// nil, is asked last, and its error leaves the old file as it is.
func Replace(path string, data []byte, mode fs.FileMode, check func() error) error {
	target := Target(path)
	// One name: what a killed process left is replaced.
	tmp := filepath.Join(filepath.Dir(target), ".infra-"+filepath.Base(target))
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	defer os.Remove(tmp)
	if err := fill(tmp, data, mode); err != nil {
		return err
	}
	if check != nil {
		if err := check(); err != nil {
			return err
		}
	}
	if err := os.Rename(tmp, target); err != nil {
		return err
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

package preview

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Write puts the document at path as a whole: whoever reads it, and a crash,
// sees the file before or this one. Only the owner may read it: a plan's
// arguments can hold names that are nobody else's business.
func (d *Document) Write(path string) error {
	data, err := d.Encode()
	if err != nil {
		return err
	}
	if err := replace(path, data); err != nil {
		return fmt.Errorf("save the preview in %s: %w", path, err)
	}
	return nil
}

func replace(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".infra-preview-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // it has another name by then, unless something failed
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Open reads the document at path and verifies it.
func Open(path string) (*Document, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the saved preview: %w", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the saved preview: %w", err)
	}
	d, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("read the saved preview %s: %w", path, err)
	}
	return d, nil
}

package sops

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/getsops/sops/v3/cmd/sops/formats"

	"infra/builtins/internal/call"
	"infra/runtime"
)

// largestFile bounds what is read as a sops file.
const largestFile = 16 << 20

// A Format is one that sops writes.
type Format = formats.Format

// The formats.
const (
	Binary = formats.Binary // any bytes, whole; also that of clan's vars
	YAML   = formats.Yaml
	JSON   = formats.Json
	Dotenv = formats.Dotenv
	INI    = formats.Ini
)

// A File is one that sops encrypted, or shall.
type File struct {
	Root   string // the folder that a plain name is relative to
	Name   string // as a person knows it
	Format Format
}

// FileAt is a file whose name says its format, as for sops: yaml, yml, json,
// env, ini, else binary.
func FileAt(root, name string) File { return File{root, name, formats.FormatForPath(name)} }

// Path is where the file is.
func (f File) Path() string {
	if filepath.IsAbs(f.Name) {
		return f.Name
	}
	return filepath.Join(f.Root, f.Name)
}

// Read returns what the file holds, encrypted.
func (f File) Read() ([]byte, error) {
	path := f.Path()
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, f.missing()
	case err != nil:
		return nil, fmt.Errorf("read the sops file %s: %w", f.Name, errors.Unwrap(err))
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read the sops file %s: it is not a file", f.Name)
	case info.Size() > largestFile:
		return nil, fmt.Errorf("read the sops file %s: it has %d bytes, more than the %d that are read", f.Name, info.Size(), largestFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the sops file %s: %w", f.Name, errors.Unwrap(err))
	}
	return data, nil
}

func (f File) missing() error {
	err := fmt.Errorf("there is no sops file %s", f.Name)
	entries, _ := os.ReadDir(filepath.Dir(f.Path()))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if near := call.Nearest(filepath.Base(f.Path()), names); near != "" {
		return runtime.WithHint(err, "did you mean %s?", filepath.Join(filepath.Dir(f.Name), near))
	}
	return runtime.WithHint(err, "plain names are relative to the project's root, %s", f.Root)
}

package clan

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// A snapshot is what clan may write to in its folder, by path: the digest of a
// file's content, or where a link leads. It holds no content.
type snapshot map[string]string

// snapshotParts are what clan's commands that are driven may change.
func snapshotParts(machine string) []string {
	return []string{"vars", "sops", filepath.Join("machines", machine), "inventory.json"}
}

// snapshot looks at what clan may change of a machine. Links are not followed.
func (d driver) snapshot(machine string) (snapshot, error) {
	return d.snapshotOf(snapshotParts(machine)...)
}

func (d driver) snapshotOf(parts ...string) (snapshot, error) {
	s := snapshot{}
	for _, part := range parts {
		err := filepath.WalkDir(filepath.Join(d.dir, part), func(path string, e fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil || e.IsDir():
				return err
			}
			rel, err := filepath.Rel(d.dir, path)
			if err == nil {
				s[rel], err = stateOf(path, e)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("look at what clan may change: %w", err)
		}
	}
	return s, nil
}

func stateOf(path string, e fs.DirEntry) (string, error) {
	switch {
	case e.Type()&fs.ModeSymlink != 0:
		to, err := os.Readlink(path)
		return "-> " + to, err
	case e.Type().IsRegular():
		digest, err := digestOf(path)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil // it went away meanwhile
		}
		return digest, err
	}
	return "special", nil
}

// since lists the paths that are not as they were before.
func (s snapshot) since(before snapshot) []string {
	changed := map[string]bool{}
	for path, state := range s {
		if was, ok := before[path]; !ok || was != state {
			changed[path] = true
		}
	}
	for path := range before {
		if _, ok := s[path]; !ok {
			changed[path] = true
		}
	}
	return slices.Sorted(maps.Keys(changed))
}

package preview

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// isFlake says whether nix may take a folder for a flake, or for the repository
// that one is in.
func isFlake(dir string) bool {
	for _, mark := range []string{"flake.nix", ".git"} {
		if _, err := os.Lstat(filepath.Join(dir, mark)); err == nil {
			return true
		}
	}
	return false
}

// localInputs are the folders on this machine that the flakes in some folders take
// their inputs from.
func (in *inputs) localInputs(folders []string) []string {
	dirs := map[string]bool{}
	for _, folder := range folders {
		for _, flake := range in.flakesIn(folder) {
			for _, dir := range localInputsOf(flake) {
				if isFolder(dir) && !Within(dir, storeDir) && !Within(in.root, dir) {
					dirs[dir] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(dirs))
}

// flakesIn are the folders that may hold the flake which a folder was looked at
// for: itself, and in a repository those on the way to the project.
func (in *inputs) flakesIn(folder string) []string {
	flakes := []string{folder}
	for dir := in.root; dir != folder && Within(dir, folder); dir = filepath.Dir(dir) {
		flakes = append(flakes, dir)
	}
	return flakes
}

// localInputsOf reads which folders here the flake in dir takes as inputs: by
// its lock file, and by what its flake.nix says in plain text, since an input
// that is new is not locked yet. A flake that cannot be read has none: nix says
// what is wrong with it.
func localInputsOf(dir string) []string {
	var out []string
	if text, err := os.ReadFile(filepath.Join(dir, "flake.lock")); err == nil {
		out = lockedInputs(dir, text)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "flake.nix")); err == nil {
		out = append(out, writtenInputs(dir, text)...)
	}
	return out
}

// lockedInputs are the folders that the lock file of the flake in dir names. A
// path that is not absolute is from the flake that has the input: of the inputs of
// inputs, it lies in what is fetched with these.
func lockedInputs(dir string, lock []byte) []string {
	type reference struct{ Type, Path string }
	var locked struct {
		Nodes map[string]struct {
			Original, Locked reference
			Parent           []string // by the names of inputs, from the flake
		}
	}
	if json.Unmarshal(lock, &locked) != nil {
		return nil
	}
	var out []string
	for _, n := range locked.Nodes {
		for _, ref := range []reference{n.Original, n.Locked} {
			if ref.Type == "path" && ref.Path != "" && (filepath.IsAbs(ref.Path) || len(n.Parent) == 0) {
				out = append(out, from(dir, ref.Path))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// writtenInputs are the folders that the flake.nix of the flake in dir names: the URLs
// of inputs are never computed. It is read after every preview, for which a regular
// expression is too slow.
func writtenInputs(dir string, text []byte) []string {
	var out []string
	for i := 0; i < len(text); i++ {
		if text[i] != '"' {
			continue
		}
		path, isPath := bytes.CutPrefix(text[i+1:], []byte("path:"))
		if !isPath && !(isRelative(path) && isURL(text[:i])) {
			continue
		}
		if end := bytes.IndexAny(path, "\"?#\n"); end >= 0 {
			path = path[:end]
		}
		if path = bytes.TrimPrefix(path, []byte("//")); len(path) > 0 {
			out = append(out, from(dir, string(path)))
		}
	}
	return out
}

func isRelative(path []byte) bool {
	return bytes.HasPrefix(path, []byte("./")) || bytes.HasPrefix(path, []byte("../"))
}

// isURL says whether what is written before a text names it url.
func isURL(before []byte) bool {
	const space = " \t\n\f\r"
	before, ok := bytes.CutSuffix(bytes.TrimRight(before, space), []byte("="))
	return ok && bytes.HasSuffix(bytes.TrimRight(before, space), []byte("url"))
}

func from(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

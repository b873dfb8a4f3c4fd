package watch

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// isDropping says whether something of this name in a Tree is what editors and
// tools leave beside files, or is no content.
func isDropping(name string) bool {
	switch name {
	case ".git", ".infra", "4913":
		return true
	}
	switch {
	case strings.HasSuffix(name, "~"), strings.HasPrefix(name, ".#"):
		return true
	case len(name) > 1 && name[0] == '#' && name[len(name)-1] == '#':
		return true
	case strings.HasSuffix(name, "___jb_tmp___"), strings.HasSuffix(name, "___jb_old___"):
		return true
	}
	ext := filepath.Ext(name)
	return name[0] == '.' && len(ext) >= 4 && len(ext) <= 5 && strings.HasPrefix(ext, ".sw")
}

// isResult says whether it is a link that nix build makes.
func isResult(name string, mode fs.FileMode) bool {
	return mode&fs.ModeSymlink != 0 && (name == "result" || strings.HasPrefix(name, "result-"))
}

// A walk goes through a Tree, or a part of it.
type walk struct {
	files, folders map[string]bool // that are there: relative, and real paths
}

// scan looks what there is in a Tree at rel and below, has its folders watched and
// touches the files that may not be what they were at the last look.
func (w *Watcher) scan(in *input, rel string) {
	if !in.tree {
		return
	}
	seen := walk{map[string]bool{}, map[string]bool{}}
	root := filepath.Join(in.way.end, rel)
	if in.way.end != "" {
		if info, err := os.Lstat(root); err == nil && info.IsDir() {
			w.walk(in, rel, seen)
		}
	}
	for r := range in.files {
		if r != "" && isUnder(r, rel) && !seen.files[r] {
			w.touch(in, r)
		}
	}
	for f := range in.folders {
		if !seen.folders[f] && (rel == "" || isUnder(f, root)) {
			w.leaveFolder(in, f)
		}
	}
}

func (w *Watcher) walk(in *input, rel string, seen walk) {
	path := filepath.Join(in.way.end, rel)
	if !w.enter(in, path) || w.isQuitting() {
		return
	}
	seen.folders[path] = true
	entries, _ := os.ReadDir(path) // what cannot be read is not there
	for _, entry := range entries {
		name, mode := entry.Name(), entry.Type()
		if isDropping(name) || isResult(name, mode) {
			continue
		}
		r := filepath.Join(rel, name)
		if mode.IsDir() {
			w.walk(in, r, seen)
			continue
		}
		seen.files[r] = true
		if info, err := entry.Info(); err != nil || !in.files[r].isStill(info) {
			w.touch(in, r)
		}
	}
}

// enter has a folder of a Tree watched, before it is read.
func (w *Watcher) enter(in *input, path string) bool {
	if in.polled {
		return true
	}
	var err error
	if in.folders[path] {
		err = w.watch(path)
	} else if err = w.hold(path); err == nil {
		in.folders[path] = true
		put(w.trees, path, in)
	}
	switch {
	case err == nil:
		return true
	case isGone(err) || os.IsPermission(err):
		return false
	}
	w.pollInstead(in, pathError(path, err))
	return true
}

func (w *Watcher) isQuitting() bool {
	select {
	case <-w.quit:
		return true
	default:
		return false
	}
}

package watch

import (
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/fsnotify/fsnotify"
)

// event notes what an event may mean. It moves watches at once, since what comes
// next may be told by them; the rest waits for the window to close.
func (w *Watcher) event(event fsnotify.Event) {
	if event.Op == fsnotify.Chmod && !chmodMayTruncate || event.Name == "" {
		return
	}
	path := filepath.Clean(event.Name)
	moved := event.Has(fsnotify.Create | fsnotify.Remove | fsnotify.Rename)
	if moved {
		w.lose(path)
	}
	for _, in := range slices.Collect(maps.Keys(w.points[path])) {
		w.passed(in, path, moved)
	}
	if isDropping(filepath.Base(path)) {
		return
	}
	for _, in := range slices.Collect(maps.Keys(w.trees[filepath.Dir(path)])) {
		w.happened(in, path, moved)
		w.stir()
	}
}

// passed notes an event at a point of an input's way.
func (w *Watcher) passed(in *input, path string, moved bool) {
	last := in.way.decides(path)
	if !moved && !last {
		return
	}
	w.touch(in, "")
	w.stir()
	switch {
	case !moved:
	case last && !in.tree:
		in.stale = true
	default:
		w.find(in)
		w.scan(in, "")
	}
}

// happened notes an event in a folder of a Tree.
func (w *Watcher) happened(in *input, path string, moved bool) {
	rel, err := filepath.Rel(in.way.end, path)
	if err != nil {
		return
	}
	w.touch(in, rel)
	if !moved {
		return
	}
	info, err := os.Lstat(path)
	if in.folders[path] || err == nil && info.IsDir() {
		w.scan(in, rel)
	}
}

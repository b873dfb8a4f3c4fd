package watch

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// A folder is one that somebody wants to have watched.
type folder struct {
	wanted int // by how many
	on     bool
	id     identity // of what is watched, where it is
}

// An identity tells folders apart, whatever their paths are.
type identity struct{ dev, inode int64 }

func identify(path string) (identity, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return identity{}, err
	}
	s := stampOf(info)
	return identity{s.dev, s.inode}, nil
}

// hold has a folder watched until it is released.
func (w *Watcher) hold(path string) error {
	f := w.folders[path]
	if f == nil {
		f = &folder{}
		w.folders[path] = f
	}
	f.wanted++
	err := w.watch(path)
	if err != nil {
		w.release(path)
	}
	return err
}

// watch watches a folder that is held, if that is not so.
func (w *Watcher) watch(path string) error {
	f := w.folders[path]
	if f.on {
		return nil
	}
	if isStored(path) {
		f.on = true
		return nil
	}
	id, err := identify(path)
	if err != nil {
		return err
	}
	// A folder that was moved here, which we are yet to be told, must not be watched
	// as what it was: the kernel has one watch a folder, whatever it is called.
	if old, ok := w.watched[id]; ok {
		w.unwatch(old)
	}
	if err := w.fs.Add(path); err != nil {
		return err
	}
	f.on, f.id = true, id
	w.watched[id] = path
	if now, err := identify(path); err != nil || now != id {
		w.unwatch(path)
		return fs.ErrNotExist
	}
	return nil
}

// unwatch ends the watch of a folder that may be held still.
func (w *Watcher) unwatch(path string) {
	f := w.folders[path]
	if !f.on {
		return
	}
	f.on = false
	if w.watched[f.id] == path {
		delete(w.watched, f.id)
		_ = w.fs.Remove(path) // it may be gone already
	}
}

// isStored says whether path is of the nix store, where nothing ever changes.
func isStored(path string) bool { return strings.HasPrefix(path, "/nix/store/") }

func (w *Watcher) release(path string) {
	f := w.folders[path]
	f.wanted--
	if f.wanted > 0 {
		return
	}
	w.unwatch(path)
	delete(w.folders, path)
}

// lose ends the watches of a folder and of all below it, since there may be other
// folders at these paths now; the old ones would be told under wrong names.
func (w *Watcher) lose(path string) {
	if w.folders[path] == nil && len(w.points[path]) == 0 && path != "/" {
		return
	}
	for p := range w.folders {
		if isUnder(p, path) {
			w.unwatch(p)
		}
	}
}

// find finds the way to an input, and has what is on it watched.
func (w *Watcher) find(in *input) {
	in.stale = false
	if in.polled {
		in.way = findWay(in.path)
		return
	}
	for range 5 { // while it moves under our hands; events follow
		next := findWay(in.path)
		if next.same(in.way) && w.isWatched(next) {
			return
		}
		if err := w.follow(in, next); err != nil {
			if isGone(err) {
				continue
			}
			w.pollInstead(in, err)
			return
		}
		if findWay(in.path).same(next) {
			return
		}
	}
	in.stale = true
	w.touch(in, "")
}

// errMoving is of folders that are other ones whenever one looks.
var errMoving = errors.New("the folders on the way to it are moved all the time")

func (w *Watcher) isWatched(v way) bool {
	for _, path := range v.folders {
		if f := w.folders[path]; f == nil || !f.on {
			return false
		}
	}
	for _, path := range v.above {
		if f := w.folders[path]; f != nil && !f.on {
			return false
		}
	}
	return true
}

// follow has the folders of a way watched, instead of those of the input's way
// before.
func (w *Watcher) follow(in *input, next way) error {
	var held []string
	fail := func(err error) error {
		for _, f := range held {
			w.release(f)
		}
		return err
	}
	for _, f := range next.folders {
		if err := w.hold(f); err != nil {
			return fail(pathError(f, err))
		}
		held = append(held, f)
	}
	var above []string
	for _, f := range next.above {
		if !watchesAbove {
			break
		}
		err := w.hold(f)
		if errors.Is(err, fs.ErrPermission) {
			continue // a folder that may only be passed through
		}
		if err != nil {
			return fail(pathError(f, err))
		}
		held, above = append(held, f), append(above, f)
	}
	next.above = above
	w.forget(in)
	in.way = next
	for _, p := range next.points {
		put(w.points, p, in)
	}
	return nil
}

// forget releases what is watched for an input's way.
func (w *Watcher) forget(in *input) {
	for _, f := range in.way.folders {
		w.release(f)
	}
	for _, f := range in.way.above {
		w.release(f)
	}
	for _, p := range in.way.points {
		cut(w.points, p, in)
	}
	in.way = way{}
}

// leave releases all that is watched for an input.
func (w *Watcher) leave(in *input) {
	if in.polled {
		return
	}
	w.forget(in)
	for f := range in.folders {
		w.leaveFolder(in, f)
	}
}

func (w *Watcher) leaveFolder(in *input, path string) {
	w.release(path)
	delete(in.folders, path)
	cut(w.trees, path, in)
}

func put(m map[string]map[*input]bool, key string, in *input) {
	if m[key] == nil {
		m[key] = map[*input]bool{}
	}
	m[key][in] = true
}

func cut(m map[string]map[*input]bool, key string, in *input) {
	delete(m[key], in)
	if len(m[key]) == 0 {
		delete(m, key)
	}
}

func pathError(path string, err error) error {
	return &fs.PathError{Op: "watch", Path: path, Err: err}
}

func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

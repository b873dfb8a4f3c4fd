package watch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A way is how a path leads to what it names, over links and folders, as far as
// there is anything.
type way struct {
	points  []string // real paths in order, each of which decides where the path leads
	folders []string // those that hold the end, or where it would be, and the links
	above   []string // all others on the way, as far as one of them might be moved
	end     string   // the real path of what is there; "" where nothing is
	whole   bool     // the last of points is what the path names, or would be
}

// maxLinks is how many links a path may lead over before it is one that leads in
// a circle.
const maxLinks = 40

func findWay(path string) way {
	var w way
	at, rest := "/", parts(path)
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == ".." {
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, part)
		w.points = append(w.points, next)
		info, err := os.Lstat(next)
		switch {
		case err != nil:
			w.whole = len(rest) == 0
			return w.ends(at)
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(next)
			if links++; err != nil || links > maxLinks {
				return w.ends(at)
			}
			if at != "/" { // the links of the system stay as they are
				w.folders = append(w.folders, at)
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = slices.Concat(parts(target), rest)
		case len(rest) == 0:
			w.whole, w.end = true, next
			return w.ends(at)
		case !info.IsDir():
			return w.ends(at)
		default:
			// Nobody moves a folder such as /tmp, where much happens.
			if info.Mode()&os.ModeSticky == 0 {
				w.above = append(w.above, next)
			}
			at = next
		}
	}
	w.end = at
	return w.ends(at)
}

func (w way) ends(at string) way {
	w.folders = append(w.folders, at)
	slices.Sort(w.folders)
	w.folders = slices.Compact(w.folders)
	w.above = slices.DeleteFunc(w.above, func(f string) bool { return slices.Contains(w.folders, f) })
	return w
}

// same says whether both lead over the same to the same.
func (w way) same(v way) bool {
	return w.end == v.end && w.whole == v.whole && slices.Equal(w.points, v.points)
}

// decides says whether path is the last point of the way, so that only what is
// there may be another one, and not where to look for it.
func (w way) decides(path string) bool {
	return w.whole && len(w.points) > 0 && w.points[len(w.points)-1] == path
}

func parts(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(p string) bool { return p == "" || p == "." })
}

// isUnder says whether path is folder, or below it.
func isUnder(path, folder string) bool {
	rest, ok := strings.CutPrefix(path, folder)
	return ok && (rest == "" || rest[0] == '/' || folder == "/" || folder == "")
}

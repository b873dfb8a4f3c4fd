package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// mostLinks is how many links are followed before they are taken for a circle.
const mostLinks = 40

// Names are the names of what lies at path on this machine, as [runtime.Op]
// wants them: its absolute path and, where links lead elsewhere, the one
// without links. What is not there yet has names too. nil means that they
// cannot be told.
//
// The folders above it need no names of their own: who looks at a folder looks
// at all below it.
func Names(path string) []string {
	if !filepath.IsAbs(path) {
		wd, err := os.Getwd()
		if err != nil {
			return nil
		}
		path = wd + "/" + path // not Join: a ".." behind a link is not the link's folder
	}
	resolved, ok := follow(path)
	if !ok {
		return nil
	}
	if clean := filepath.Clean(path); clean != resolved {
		return []string{clean, resolved}
	}
	return []string{resolved}
}

// follow resolves every link in a path. Unlike filepath.EvalSymlinks it goes on
// where nothing is there, since a file that is to be written has a name as well.
func follow(path string) (string, bool) {
	at, links, gone := "/", 0, false
	for rest := strings.Split(path, "/"); len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at, gone = filepath.Dir(at), false
			continue
		}
		next := filepath.Join(at, name)
		if gone { // there is nothing below what is not there
			at = next
			continue
		}
		target, err := os.Readlink(next)
		if err != nil {
			at, gone = next, errors.Is(err, fs.ErrNotExist)
			continue
		}
		if links++; links > mostLinks {
			return "", false
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, true
}

// Below says whether a path is one of names, or lies below one.
func Below(path string, names []string) bool {
	for _, n := range names {
		if path == n || strings.HasPrefix(path, strings.TrimSuffix(n, "/")+"/") {
			return true
		}
	}
	return false
}

package nix

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// What the module's operations look at and alter on their hosts. The locks and
// temporary roots that come and go with every question to a store do not count.
var (
	storeFiles   = []string{storeDir, "/nix/var/nix/db"}                  // a store and its registry
	buildFiles   = []string{storeDir, "/nix/var/nix", "/nix/var/log/nix"} // what a build adds to
	runningFiles = []string{"/run/current-system", profileDir}            // which system a host runs, and would after a reboot
)

const storeDir = "/nix/store"

// inStore says whether path is one of the store. What stands for a path that
// is not known yet is not.
func inStore(path string) bool { return strings.HasPrefix(path, storeDir+"/") }

// scheme is the beginning of a flake's URL.
var scheme = regexp.MustCompile(`^([a-zA-Z][a-zA-Z0-9+.-]*):`)

// localSchemes are those of URLs that name a file or a folder here.
var localSchemes = map[string]bool{"path": true, "file": true, "git+file": true, "hg+file": true, "tarball+file": true, "file+file": true}

// looks returns what nix observes here to evaluate an installable, and whether
// it asks further than this machine. A registry, or what nix reads otherwise
// than we do, may lead anywhere. What a flake takes from elsewhere is pinned
// by its lock file.
//
// The store is not among it: what is there already alters how much there is to
// build, and never what is built. But a path of the store is itself looked for.
func (m module) looks(installable string) (paths []string, beyond bool) {
	ref, _, _ := strings.Cut(installable, "#")
	ref, _, _ = strings.Cut(ref, "?")
	switch {
	case inStore(ref):
		object, _, _ := strings.Cut(ref[len(storeDir)+1:], "/")
		object, _, _ = strings.Cut(object, "^")
		return []string{filepath.Join(storeDir, object)}, false
	case ref == "", strings.HasPrefix(ref, "/"), strings.HasPrefix(ref, "."):
		ref, _, _ = strings.Cut(ref, "^")
		return spellings(flakeFolder(m.inRoot(ref))), false
	}
	url := scheme.FindStringSubmatch(ref)
	switch {
	case url == nil, url[1] == "flake":
		return nil, true
	case localSchemes[url[1]]:
		return spellings(flakeFolder(m.inRoot(urlPath(ref[len(url[0]):])))), false
	}
	return []string{}, true
}

// urlPath is the path in what follows a local URL's scheme.
func urlPath(rest string) string {
	rest = strings.TrimPrefix(rest, "//")
	if path, err := url.PathUnescape(rest); err == nil {
		return path
	}
	return rest
}

// inRoot makes a path absolute as nix does, which runs in the project's root.
func (m module) inRoot(path string) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(m.root, path)
	}
	return filepath.Clean(path)
}

// flakeFolder returns what nix reads for a flake in dir: the whole repository
// that dir is in, or else the folder at or above it that has the flake.
func flakeFolder(dir string) string {
	for _, mark := range []string{".git", "flake.nix"} {
		for d := dir; ; d = filepath.Dir(d) {
			if _, err := os.Lstat(filepath.Join(d, mark)); err == nil {
				return d
			}
			if d == filepath.Dir(d) {
				break
			}
		}
	}
	return dir
}

// spellings is a path and, where links lead to it, what it is without them:
// another operation may name it in either way.
func spellings(path string) []string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil && resolved != path {
		return []string{path, resolved}
	}
	return []string{path}
}

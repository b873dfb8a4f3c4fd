package clan

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"infra/runtime"
)

// largestFile bounds what is read of one file.
const largestFile = 16 << 20

// A repository is the folder of a clan's flake. Names in it are from its root,
// with slashes. All of it is read through an [os.Root]: a link that leads out
// of it, or in a circle, leads nowhere.
type repository struct {
	dir  string
	root *os.Root

	keys   map[holder]held  // what was read already
	groups map[string]group // likewise
	last   inner
}

// An inner is the folder of one var, open: to look at the ten files and links
// of it from the repository's root is to open its five folders for each of
// them. It leads out of the repository no more than the root does.
type inner struct {
	dir  string
	root *os.Root // nil where there is no such folder
}

// near is where a name is best looked up, and the name from there: in the
// folder of its var, or in the repository.
func (r *repository) near(name string) (*os.Root, string) {
	dir := varFolder(name)
	if dir == "" {
		return r.root, name
	}
	if r.last.dir != dir {
		r.last.close()
		root, err := r.root.OpenRoot(dir)
		if err != nil {
			root = nil
		}
		r.last = inner{dir, root}
	}
	if r.last.root == nil {
		return r.root, name
	}
	return r.last.root, name[len(dir)+1:]
}

// varFolder is the folder of the var to which a name below it belongs, or "".
func varFolder(name string) string {
	depth := 0
	switch {
	case strings.HasPrefix(name, "vars/per-machine/"):
		depth = 5
	case strings.HasPrefix(name, "vars/shared/"):
		depth = 4
	default:
		return ""
	}
	for i := range len(name) {
		if name[i] == '/' {
			if depth--; depth == 0 {
				return name[:i]
			}
		}
	}
	return ""
}

func (i inner) close() {
	if i.root != nil {
		_ = i.root.Close()
	}
}

// look does something with a name near to it, and in the repository where that
// fails for another reason than that nothing is there: a link may lead out of
// its var's folder and not out of the repository.
func look[T any](r *repository, name string, do func(*os.Root, string) (T, error)) (T, error) {
	root, rest := r.near(name)
	v, err := do(root, rest)
	if err == nil || root == r.root || errors.Is(err, fs.ErrNotExist) {
		return v, err
	}
	return do(r.root, name)
}

// folder is where the flake that "." means lies on this machine.
func (cl Clan) folder() (string, error) {
	flake := cl.Flake
	if flake == "" {
		return cl.Root, nil
	}
	if filepath.IsAbs(flake) {
		return flake, nil
	}
	u, err := url.Parse(flake)
	if err == nil && (u.Scheme == "path" || u.Scheme == "git+file") && filepath.IsAbs(u.Path) {
		return filepath.Join(u.Path, u.Query().Get("dir")), nil
	}
	return "", runtime.WithHint(fmt.Errorf("the vars of the clan %s are not on this machine", flake), "--flake names the folder of a clone of it")
}

func (cl Clan) open() (*repository, error) {
	dir, err := cl.folder()
	if err != nil {
		return nil, err
	}
	return openRepository(dir)
}

func openRepository(dir string) (*repository, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the clan's folder: %w", err)
	}
	return &repository{dir: dir, root: root, keys: map[holder]held{}, groups: map[string]group{}}, nil
}

func (r *repository) close() {
	r.last.close()
	_ = r.root.Close()
}

// Links that lead where nothing of the clan's can be.
var (
	errLink   = errors.New("is a link")
	errBehind = errors.New("lies behind a link")
)

// read returns a file's content. The error tells a file that is not there
// ([fs.ErrNotExist]) and a link that leads astray ([errLink]).
func (r *repository) read(name string) ([]byte, error) {
	f, err := look(r, name, func(root *os.Root, name string) (*os.File, error) {
		return root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not stop us
	})
	if err != nil {
		return nil, r.astray(name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, plain(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a file")
	case info.Size() > largestFile:
		return nil, fmt.Errorf("has %d bytes, more than the %d that are read", info.Size(), largestFile)
	}
	data, err := io.ReadAll(io.LimitReader(f, largestFile))
	return data, plain(err)
}

// exists says whether something has this name, be it a link that leads nowhere.
func (r *repository) exists(name string) bool {
	_, err := look(r, name, (*os.Root).Lstat)
	return err == nil
}

// list returns what a folder holds, sorted; nothing where there is no folder.
// A link to a folder is not one, so that no walk comes back to where it was.
func (r *repository) list(dir string) ([]fs.DirEntry, error) {
	info, err := look(r, dir, (*os.Root).Lstat)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s: %w", dir, plain(err))
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, fmt.Errorf("%s: %w", dir, r.astray(dir, errors.New("it is to be a folder")))
	case !info.IsDir():
		return nil, fmt.Errorf("%s is not a folder", dir)
	}
	entries, err := look(r, dir, func(root *os.Root, dir string) ([]fs.DirEntry, error) { return fs.ReadDir(root.FS(), dir) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, plain(err))
	}
	return entries, nil
}

// folders are the names of the folders in a folder.
func (r *repository) folders(dir string) ([]string, error) {
	entries, err := r.list(dir)
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// linked returns the name of what a link in dir leads to, which has to lie in
// the folder of. Nothing is followed: what the link says is enough.
func (r *repository) linked(link, of string) (string, error) {
	target, err := look(r, link, (*os.Root).Readlink)
	if err != nil {
		return "", fmt.Errorf("%s is not a link to %s", link, of)
	}
	to := path.Join(path.Dir(link), filepath.ToSlash(target))
	if path.IsAbs(target) || path.Dir(to) != of {
		return "", fmt.Errorf("%s leads to %s, and not into %s", link, target, of)
	}
	return path.Base(to), nil
}

// astray explains why a name cannot be opened, where a link is why: its own, or
// that of a folder above it.
func (r *repository) astray(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) && !r.exists(name) {
		return fs.ErrNotExist
	}
	link := name
	for {
		target, linkErr := r.root.Readlink(link)
		switch {
		case linkErr == nil && link == name:
			return fmt.Errorf("%w %s", errLink, r.leads(link, target, err))
		case linkErr == nil:
			return fmt.Errorf("%w %s: %s", errBehind, r.leads(link, target, err), link)
		case path.Dir(link) == ".":
			return plain(err)
		}
		link = path.Dir(link)
	}
}

// leads says where a link leads that could not be followed.
func (r *repository) leads(link, target string, err error) string {
	to := path.Join(path.Dir(link), filepath.ToSlash(target))
	switch {
	case errors.Is(err, syscall.ELOOP), to == link:
		return fmt.Sprintf("that leads in a circle (to %s)", target)
	case path.IsAbs(target), !filepath.IsLocal(to):
		return fmt.Sprintf("that leads out of the repository (to %s)", target)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("that leads nowhere (to %s)", target)
	}
	return fmt.Sprintf("(to %s): %s", target, plain(err))
}

// plain is a file system's error without the call and the path.
func plain(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// valid says whether a name may be a part of a path: of a machine, a generator,
// a file, a user, a secret.
func valid(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\\\x00\n")
}

package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// A File is what Files tells of one path on a host.
type File struct {
	Mode   fs.FileMode
	Owner  string // "uid:gid", in numbers
	Size   int64  // of a regular file
	Target string // of a link
	Digest string // of a regular file's content
}

func (f File) String() string {
	return fmt.Sprintf("%v %s %s%s", f.Mode, f.Owner, f.Target, f.Digest)
}

// ownMounts are the folders that a host does not share with this machine even
// where it has changed nothing.
var ownMounts = [...]string{"nix", "root", "run", "tmp"}

// Files lists, by path, everything on a running host that is not simply what
// this machine has there: the changes to its root (a deleted file is a device
// 0, 0) and the whole of its /nix, /root, /run and /tmp. What changes without
// anybody changing the host is left out.
func (f *Fleet) Files(host string) (map[string]File, error) {
	pid, err := f.pid(host)
	if err != nil {
		return nil, err
	}
	boxes, err := f.boxes()
	if err != nil {
		return nil, err
	}
	files := map[string]File{}
	err = list(files, fmt.Sprintf("/proc/%d/fd/9", boxes[host]), "/")
	for _, dir := range ownMounts {
		err = errors.Join(err, list(files, fmt.Sprintf("/proc/%d/root/%s", pid, dir), "/"+dir))
	}
	if err != nil {
		return nil, fmt.Errorf("list the files of %s: %w", host, err)
	}
	return files, nil
}

// RootHash is a digest of Files: names, modes, owners, contents and targets,
// but not times, and what nix's database holds. It stays the same as long as
// nothing changes the host.
func (f *Fleet) RootHash(host string) (string, error) {
	files, err := f.Files(host)
	if err != nil {
		return "", err
	}
	registered, err := f.Exec(host, "nix-store", "--dump-db")
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	io.WriteString(sum, registered)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(sum, "%q %v\n", name, files[name])
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// list adds everything below a folder. It never follows a link: those of a
// host would lead to this machine's files.
func list(files map[string]File, dir, as string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went away meanwhile
		}
		if err != nil {
			return err
		}
		full := path.Join(as, name)
		if transient(full) {
			return nil
		}
		file, err := describe(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		files[full] = file
		return err
	})
}

// transient says whether a path changes while a host is merely looked at:
// sshd's login records, nix's locks and the files of its database.
func transient(name string) bool {
	switch name {
	case "/var/log/wtmp", "/var/log/btmp", "/var/log/lastlog", "/run/utmp", "/nix/var/nix/gc.lock",
		"/nix/var/nix/db/db.sqlite", "/nix/var/nix/db/db.sqlite-wal", "/nix/var/nix/db/db.sqlite-shm":
		return true
	}
	for _, dir := range ownTime {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return false
}

// ownTime are the folders that nix and systemd write to of their own accord.
var ownTime = [...]string{
	"/nix/var/nix/temproots/", "/run/log/journal/", "/var/log/journal/", "/run/systemd/journal/", "/var/lib/systemd/timers/",
}

func describe(root *os.Root, name string) (File, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return File{}, err
	}
	file := File{Mode: info.Mode()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		file.Owner = fmt.Sprintf("%d:%d", st.Uid, st.Gid)
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		file.Target, err = root.Readlink(name)
	case info.Mode().IsRegular():
		file.Size = info.Size()
		file.Digest, err = digest(root, name)
	}
	return file, err
}

func digest(root *os.Root, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Read returns the content of a file on a running host, "" where there is none.
func (f *Fleet) Read(host, name string) (string, error) {
	pid, err := f.pid(host)
	if err != nil {
		return "", err
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return "", err
	}
	defer root.Close()
	text, err := root.ReadFile(strings.TrimPrefix(name, "/"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

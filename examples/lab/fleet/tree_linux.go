package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cacheFolder keeps the root trees of hosts with systemd: they take long to
// make, and every fleet of this machine can be on top of the same one.
const cacheFolder = "/var/cache/infra-lab"

// A recipe says what a root tree is made of.
type recipe struct {
	suite, variant string
	packages       []string
	masked         []string // units that a container cannot have or that would change the host in their own time
	removed        []string // what every host must have of its own, and what no host needs
}

var rootTree = recipe{
	suite:    "trixie",
	variant:  "minbase",
	packages: []string{"systemd-sysv", "dbus", "openssh-server", "nix-bin", "iproute2", "procps", "sudo"},
	masked: []string{
		"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer",
		"getty.target", "systemd-pstore.service", "sshd-keygen.service",
	},
	removed: []string{
		"etc/ssh/ssh_host_*", "etc/hostname", "etc/machine-id", "etc/resolv.conf", "var/lib/dbus/machine-id",
		"var/cache/apt", "var/lib/apt/lists",
	},
}

// path is where the tree of a recipe is in a cache.
func (r recipe) path(cache string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", r))
	return filepath.Join(cache, r.suite+"-"+hex.EncodeToString(sum[:6]))
}

// HasTree says whether the root tree of hosts with systemd is there: the first
// fleet with such a host makes it, which takes a while.
func HasTree() bool {
	_, err := os.Stat(rootTree.path(cacheFolder))
	return err == nil
}

// makeTree returns the root tree of a recipe and makes it if it is not there.
// It is there as a whole or not at all: only one process makes trees at a time,
// and it gives the tree its name at the end. What a killed one left goes first.
func makeTree(ctx context.Context, cache string, r recipe) (string, error) {
	path := r.path(cache)
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	lock, err := lockFile(ctx, filepath.Join(cache, "lock"))
	if err != nil {
		return "", fmt.Errorf("wait for another maker: %w", err)
	}
	defer lock.Close()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	making := filepath.Join(cache, "making")
	temporary := making + ".tmp"
	if err := errors.Join(os.RemoveAll(making), os.RemoveAll(temporary)); err != nil {
		return "", fmt.Errorf("remove an unfinished tree: %w", err)
	}
	if err := os.Mkdir(temporary, 0o755); err != nil {
		return "", err
	}
	defer os.RemoveAll(temporary)
	if err := bootstrap(ctx, making, r, lock); err != nil {
		return "", err
	}
	if err := adapt(making, r); err != nil {
		return "", err
	}
	return path, os.Rename(making, path)
}

// lockFile returns the locked file. It stays locked until nobody has it open,
// the heirs of this process included.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(err, file.Close())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), file.Close())
		}
	}
}

// bootstrap installs the packages. All of it, with its mounts, ends when this
// process does, and keeps the lock until it has ended.
func bootstrap(ctx context.Context, dir string, r recipe, lock *os.File) error {
	runtime.LockOSThread() // the kernel's parent of a process is a thread
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "mmdebstrap", "--quiet", "--mode=root", "--variant="+r.variant,
		"--aptopt=Acquire::Check-Valid-Until false",
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		"--include="+strings.Join(r.packages, ","), r.suite, dir,
		fmt.Sprintf("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main", mirror(), r.suite))
	cmd.Env = append(os.Environ(), "TMPDIR="+dir+".tmp")
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: unix.SIGKILL, Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("mmdebstrap: %w\n%s", errors.Join(err, ctx.Err()), strings.TrimSpace(string(out)))
	}
	return nil
}

// adapt makes a tree one that many hosts can be on top of.
func adapt(dir string, r recipe) error {
	for _, pattern := range r.removed {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	units := filepath.Join(dir, "etc/systemd/system")
	if err := os.MkdirAll(units, 0o755); err != nil {
		return err
	}
	for _, unit := range r.masked {
		if err := os.Symlink("/dev/null", filepath.Join(units, unit)); err != nil {
			return err
		}
	}
	return nil
}

var debianArchive = regexp.MustCompile(`(?m)^(?:URIs:|deb )[^#\n]*?(https?://\S+/debian/?)(?:\s|$)`)

// mirror is the archive that this machine's apt takes Debian from.
func mirror() string {
	files, err := filepath.Glob("/etc/apt/sources.list.d/*.sources")
	if err == nil {
		files = append(files, "/etc/apt/sources.list")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if m := debianArchive.FindSubmatch(text); m != nil {
			return string(m[1])
		}
	}
	return "http://deb.debian.org/debian"
}

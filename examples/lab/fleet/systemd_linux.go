package fleet

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// remains are what a host with systemd has of this machine's, which does not
// vanish with its last process. They are known by their names alone.
type remains struct {
	cable  string // its end of the network cable
	cgroup string // "" where this machine has no cgroups of version 2
}

func (f *Fleet) remains(h Host) remains {
	sum := sha256.Sum256([]byte(f.state + "\x00" + h.Name))
	id := hex.EncodeToString(sum[:5])
	r := remains{cable: "lab" + id} // the kernel takes 15 characters
	if root := cgroupRoot(); root != "" {
		r.cgroup = filepath.Join(root, "infra-lab-"+id)
	}
	return r
}

// forSystemd adds to the command for a box what only a host with systemd has.
func (f *Fleet) forSystemd(ctx context.Context, h Host, cmd *exec.Cmd) error {
	if err := needs("up --systemd "+h.Name, "ip", "mmdebstrap"); err != nil {
		return err
	}
	tree, err := makeTree(ctx, cacheFolder, rootTree)
	if err != nil {
		return fmt.Errorf("make the root tree: %w", err)
	}
	r := f.remains(h)
	if r.cgroup == "" {
		return errors.New("systemd needs a cgroup2 file system, and none is mounted on this machine")
	}
	if err := os.Mkdir(r.cgroup, 0o755); err != nil {
		return fmt.Errorf("make its cgroup: %w", err)
	}
	// Not that of self, which is the first thread's: a link may have taken that
	// one with it into another network.
	ours, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	cmd.Args = append(cmd.Args, tree, r.cgroup, h.Address, r.cable)
	cmd.ExtraFiles = []*os.File{ours}
	cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET
	return nil
}

// removeLeftovers removes them if they are there. Nothing may live in them.
func removeLeftovers(r remains) error {
	var errs []error
	// The kernel removes the cable with its other end, but in its own time.
	if _, err := net.InterfaceByName(r.cable); err == nil {
		err := command("ip", "link", "delete", r.cable)
		if _, missing := net.InterfaceByName(r.cable); missing == nil {
			errs = append(errs, err)
		}
	}
	if r.cgroup == "" {
		return errors.Join(errs...)
	}
	var dirs []string
	err := filepath.WalkDir(r.cgroup, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, dir := range slices.Backward(dirs) {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove cgroup %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// cgroupRoot is where this machine has its cgroups of version 2, or "".
func cgroupRoot() string {
	mounts, err := os.Open("/proc/self/mounts")
	if err != nil {
		return ""
	}
	defer mounts.Close()
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1]
		}
	}
	return ""
}

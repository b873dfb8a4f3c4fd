package journal

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"infra/runtime"
)

// smallDisk is a folder that can hold size bytes.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mount a tmpfs: %v (this test must be run as root)", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func TestFullDiskIsSaid(t *testing.T) {
	root := smallDisk(t, "size=1m")
	ballast := filepath.Join(root, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 512<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	j := open(t, root)
	record(t, j, started("r1", noon))
	var err error
	n := 0
	for err == nil && n < 10_000 {
		n++
		err = j.Record(asked("r1", "switch", n))
	}
	if err == nil || !strings.Contains(err.Error(), "record op_asked of switch (ssh.run, operation") || !strings.Contains(runtime.HintOf(err), "full") && !strings.Contains(runtime.HintOf(err), "space") {
		t.Fatalf("after %d operations: %v (%s)", n, err, runtime.HintOf(err))
	}
	run, err := read(t, root).Run("r1")
	if err != nil || run.Asked != n-1 {
		t.Errorf("%d operations are recorded, %v; want %d", run.Asked, err, n-1)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	record(t, j, asked("r1", "switch", n), answered("r1", "switch", n))
}

func TestReadOnlyFolder(t *testing.T) {
	full, empty := smallDisk(t, ""), smallDisk(t, "")
	j := open(t, full)
	record(t, j, wholeRun()...)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{full, empty} {
		if err := syscall.Mount("", root, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		_, err := Open(root)
		if err == nil || !strings.Contains(err.Error(), "read-only file system") || !strings.Contains(runtime.HintOf(err), "you can write to") {
			t.Errorf("got %v (%s)", err, runtime.HintOf(err))
		}
	}
	if run, err := read(t, full).Run("last"); err != nil || len(run.Steps) != 3 {
		t.Errorf("it can no longer be read: %v", err)
	}
}

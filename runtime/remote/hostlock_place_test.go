package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"infra/runtime"
)

func TestLockFolderIsReplaced(t *testing.T) {
	t.Parallel()
	s, folder := lockServer(t)
	a, b := s.pool(t), s.pool(t)
	l := take(t, a, crs)
	must(t, os.Rename(folder, folder+".old"))
	isLost(t, l, "")
	must(t, take(t, b, other).Release())
}

// What dead holders left says nothing, and goes.
func TestLockStaleWords(t *testing.T) {
	t.Parallel()
	s, folder := lockServer(t)
	a, b := s.pool(t), s.pool(t)
	must(t, take(t, a, crs).Release())
	dead := exec.Command("true")
	must(t, dead.Run())
	stale := map[string]string{
		"DEADPID": fmt.Sprintf("%d 12345 {\"user\":\"ghost\"}\n", dead.Process.Pid), "REUSEDPID": fmt.Sprintf("%d 1 {\"user\":\"ghost\"}\n", os.Getpid()),
		"GARBAGE": "\x00\xff\x1b[2J", "EMPTY": "", "NOPID": "a[$(touch /tmp/pwned)] 1 {}\n", "UNFINISHED.new": "1", "LONG": strings.Repeat("9", 100000),
	}
	leave := func() {
		for name, text := range stale {
			must(t, os.WriteFile(filepath.Join(folder, "0"+name), []byte(text), 0o644)) // before any token
		}
		must(t, os.Symlink("/etc/hostname", filepath.Join(folder, "0LINK")))
	}
	leave()
	if who, held, err := b.LockHolder(inTime(t), target); err != nil || held {
		t.Errorf("got %v, %v, %v", who, held, err)
	}
	l := take(t, a, crs)
	if who := heldBy(t, b); who.User != "crs" {
		t.Errorf("held by %v", who)
	}
	if left, _ := os.ReadDir(folder); len(left) != 1 || left[0].Name() != l.Holder().Token {
		t.Errorf("left in the folder: %v", left)
	}
	leave() // as by an account whose files we may not remove
	if who := heldBy(t, b); who.User != "crs" {
		t.Errorf("held by %v", who)
	}
	must(t, l.Release())
}

// The kernel's word counts, whoever says nothing.
func TestLockWithoutWords(t *testing.T) {
	t.Parallel()
	s, folder := lockServer(t)
	b := s.pool(t)
	must(t, take(t, b, crs).Release())
	f, err := os.Open(folder)
	must(t, err)
	defer f.Close()
	must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	who, held, err := b.LockHolder(inTime(t), target)
	if err != nil || !held || who != (Holder{}) {
		t.Errorf("got %v, %v, %v", who, held, err)
	}
	_, err = b.Lock(inTime(t), target, crs)
	complains(t, err, "target is locked by a process that does not say whose it is", "fuser")
	must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_UN))
	must(t, take(t, b, crs).Release())
}

// mount puts a small file system in a folder's place, where we may.
func mount(folder, size string) error {
	if os.Getuid() != 0 {
		return syscall.EPERM
	}
	return exec.Command("mount", "-t", "tmpfs", "-o", size, "full", folder).Run()
}

func TestLockPlaceThatIsNone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(folder string) error
		words   string
	}{
		"symbolic link": {func(f string) error { return os.Symlink(filepath.Dir(f), f) }, "is a symbolic link"},
		"dangling link": {func(f string) error { return os.Symlink(f+".not", f) }, "File exists"},
		"file":          {func(f string) error { return os.WriteFile(f, nil, 0o600) }, "File exists"},
		"no room for the words": {func(f string) error {
			return errors.Join(os.Mkdir(f, 0o755), mount(f, "size=4k"), os.Mkdir(f+"/sub", 0o700),
				os.WriteFile(f+"/sub/full", make([]byte, 4096), 0o600))
		}, "nothing can be written in|No space left"},
		"no room for the folder": {func(f string) error {
			return mount(filepath.Dir(f), "nr_inodes=1")
		}, "No space left"},
	} {
		t.Run(name, func(t *testing.T) {
			s := prepareServer(t)
			folder := filepath.Join(s.dir, "place", "lock")
			must(t, os.Mkdir(filepath.Dir(folder), 0o755))
			if err := c.prepare(folder); errors.Is(err, syscall.EPERM) {
				t.Skip(err)
			} else {
				must(t, err)
			}
			t.Cleanup(func() {
				_ = exec.Command("umount", "-l", folder).Run()
				_ = exec.Command("umount", "-l", filepath.Dir(folder)).Run()
			})
			s.start(t, "SetEnv HOME="+s.dir+" INFRA_LOCK_DIR="+folder)
			_, err := s.pool(t).Lock(inTime(t), target, crs)
			complains(t, err, "locking target|"+c.words, "/tmp/infra.lock")
			if errors.Is(err, runtime.ErrLocked) {
				t.Errorf("%v is an ErrLocked", err)
			}
		})
	}
}

// A lock that nobody waits for any more is not taken in secret.
func TestLockCancelled(t *testing.T) {
	t.Parallel()
	s, folder := lockServer(t)
	a, b := s.pool(t), s.pool(t)
	must(t, a.Reach(inTime(t), target))
	why := errors.New("no patience")
	for delay := range 20 {
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := time.AfterFunc(time.Duration(delay)*time.Millisecond, func() { cancel(why) })
		l, err := a.lock(ctx, target, crs, testLease)
		stop.Stop()
		cancel(why)
		if err == nil {
			must(t, l.Release())
		} else if !errors.Is(err, why) && !errors.Is(err, runtime.ErrLocked) {
			t.Error(err)
		}
	}
	freed(t, b)
	eventually(t, "its processes have ended", func() bool { return len(processesIn(folder)) == 0 })
}

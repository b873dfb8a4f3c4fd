package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"infra/runtime"
)

// lockHosts takes the lock of each host, so that no two runs of this project
// on this machine work on one host at once. The kernel lets go of them when
// the process ends, however it ends.
func lockHosts(root, run string, hosts []string) (unlock func(), err error) {
	if len(hosts) == 0 {
		return func() {}, nil
	}
	dir := filepath.Join(root, ".infra", "locks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of locks: %w", err)
	}
	var held []*flock.Flock
	unlock = func() {
		for _, l := range held {
			_ = l.Unlock()
		}
	}
	for _, h := range slices.Sorted(slices.Values(hosts)) {
		l := flock.New(filepath.Join(dir, h), flock.SetPermissions(0o600))
		ok, err := l.TryLock()
		if err == nil && !ok {
			err = lockedBy(h, l.Path())
		}
		if err != nil {
			unlock()
			return nil, err
		}
		held = append(held, l)
		who := fmt.Sprintf("run %s, process %d, since %s", run, os.Getpid(), time.Now().Format(time.DateTime))
		if err := os.WriteFile(l.Path(), []byte(who), 0o600); err != nil {
			unlock()
			return nil, fmt.Errorf("write the lock of %s: %w", h, err)
		}
	}
	return unlock, nil
}

// lockRun takes the lock of the run itself: no two processes work on one run.
func lockRun(root, run string) (unlock func(), err error) {
	dir := filepath.Join(root, ".infra", "locks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of locks: %w", err)
	}
	l := flock.New(filepath.Join(dir, "run-"+run), flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err == nil && !ok {
		err = runtime.WithHint(fmt.Errorf("%w: run %s still goes on in another process", runtime.ErrLocked, run), "infra log %s --follow shows it", run)
	}
	if err != nil {
		return nil, err
	}
	return func() { _, _ = os.Remove(l.Path()), l.Unlock() }, nil
}

func lockedBy(host, path string) error {
	who, err := os.ReadFile(path)
	if err != nil || len(who) == 0 {
		who = []byte("another run")
	}
	return runtime.WithHint(fmt.Errorf("%w: %s works on %s", runtime.ErrLocked, strings.TrimSpace(string(who)), host),
		"wait until it has ended, or stop it; infra log shows what it does")
}

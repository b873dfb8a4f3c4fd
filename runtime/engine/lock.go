package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"go.starlark.net/starlark"

	"infra/runtime"
)

// A fileLock is a lock of this project on this machine: flock(2) on a file in
// .infra/locks. The kernel lets go of it when the process ends, however it ends.
type fileLock struct {
	name string // of the file
	does string // what its holder does: "works on cinnabar"
	hint string
}

func hostFile(host string) fileLock {
	return fileLock{"host-" + url.PathEscape(host), "works on " + host, "wait with --wait 5m, or stop it; infra log shows what it does"}
}

func runFile(run string) fileLock {
	return fileLock{"run-" + url.PathEscape(run), "still goes on in another process", "infra log " + run + " --follow shows it"}
}

func namedFile(lock string) fileLock {
	return fileLock{"lock-" + url.PathEscape(lock), fmt.Sprintf("holds the lock %q", lock), "wait with --wait 5m, or stop it; infra log shows what it does"}
}

// lockRun takes the lock of a run: no two processes work on one.
func lockRun(root, run string) (unlock func(), err error) { return runFile(run).take(root, run) }

// A fileHolder is what the holder of a lock leaves in its file, for people.
type fileHolder struct {
	Run     string    `json:"run"`
	Process int       `json:"process"`
	Since   time.Time `json:"since"`
}

// take takes the lock for a run, or says who has it. It does not wait.
func (f fileLock) take(root, run string) (unlock func(), err error) {
	dir := filepath.Join(root, ".infra", "locks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of locks: %w", err)
	}
	for path := filepath.Join(dir, f.name); ; {
		l := flock.New(path, flock.SetPermissions(0o600))
		ok, err := l.TryLock()
		switch {
		case err != nil:
			return nil, fmt.Errorf("lock %s: %w", path, err)
		case !ok:
			return nil, runtime.WithHint(fmt.Errorf("%w: %s %s", runtime.ErrLocked, holderIn(path), f.does), "%s", f.hint)
		case !isStill(l):
			_ = l.Close() // who had it has removed the file: it locks nothing any more
			continue
		}
		words, err := json.Marshal(fileHolder{run, os.Getpid(), time.Now()})
		if err == nil {
			err = os.WriteFile(path, words, 0o600)
		}
		if err != nil {
			_ = l.Close()
			return nil, fmt.Errorf("write who holds the lock: %w", err)
		}
		return func() { _, _ = os.Remove(path), l.Close() }, nil
	}
}

// isStill says whether the file that is locked is the one of that name.
func isStill(l *flock.Flock) bool {
	locked, err := l.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(l.Path())
	return err == nil && os.SameFile(locked, named)
}

// holderIn says who holds the lock of a file. Who has just taken it may not
// have written that yet, and one who was killed has left it.
func holderIn(path string) string {
	for range 50 {
		var h fileHolder
		words, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "another run, which has just ended,"
		case json.Unmarshal(words, &h) == nil && syscall.Kill(h.Process, 0) != syscall.ESRCH:
			return fmt.Sprintf("run %s, process %d, since %s,", h.Run, h.Process, h.Since.Local().Format(time.DateTime))
		}
		time.Sleep(10 * time.Millisecond)
	}
	return "another run"
}

// lockProject takes the locks of this project on this machine: of the run
// itself, since no two processes work on one run, and of the hosts that it may
// change. The order of hosts is everybody's, so that of several one gets all.
func (r *run) lockProject(ctx context.Context, until *time.Time) (unlock func(), err error) {
	ctx, done := endingWith(ctx, r.opts.Stop)
	defer done()
	files := []fileLock{runFile(r.id)}
	for _, h := range r.touched() {
		files = append(files, hostFile(h.Name))
	}
	slices.SortFunc(files[1:], func(a, b fileLock) int { return strings.Compare(a.name, b.name) })
	return r.takeFiles(ctx, until, runtime.Event{}, files)
}

// lockNames takes the locks that the task's step names, which hold between the
// runs of the project: the scheduler sees to it within one.
func (r *run) lockNames(ctx context.Context, t *task) (unlock func(), err error) {
	if r.file.Preview || t.group.step == nil {
		return func() {}, nil
	}
	ctx, done := endingWith(ctx, r.stop)
	defer done()
	var files []fileLock
	for _, name := range slices.Compact(slices.Sorted(slices.Values(t.group.step.Locks))) {
		files = append(files, namedFile(name))
	}
	return r.takeFiles(ctx, new(time.Time), t.event(runtime.Waiting), files)
}

// underLocks runs a task's function while the run has the locks that its step
// names; it gives back too what its operations took.
func (r *run) underLocks(ctx context.Context, t *task) (returned, error) {
	unlock, err := r.lockNames(ctx, t)
	if err != nil {
		return returned{value: starlark.None}, fmt.Errorf("not started: %w", err)
	}
	defer unlock()
	defer r.kept.release(t)
	return r.attempts(ctx, t)
}

// takeFiles takes locks one after the other, and waits for each; or none.
func (r *run) takeFiles(ctx context.Context, until *time.Time, where runtime.Event, files []fileLock) (unlock func(), err error) {
	var held []func()
	unlock = func() {
		for _, u := range slices.Backward(held) {
			u()
		}
	}
	for _, f := range files {
		err := r.await(ctx, until, where, func(context.Context) error {
			u, err := f.take(r.root, r.id)
			if err == nil {
				held = append(held, u)
			}
			return err
		})
		if err != nil {
			unlock()
			return func() {}, err
		}
	}
	return unlock, nil
}

// Pauses between two tries to take a lock that another holds.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 3 * time.Second
)

// await tries to take a lock until nobody else holds it, or the time to wait is
// over: at until, which is set by the first refusal where it is zero. It tells
// the readers whom it waits for, by an event that says where.
func (r *run) await(ctx context.Context, until *time.Time, where runtime.Event, try func(context.Context) error) error {
	err := try(ctx)
	if !errors.Is(err, runtime.ErrLocked) || r.opts.Wait <= 0 {
		return err
	}
	if until.IsZero() {
		*until = time.Now().Add(r.opts.Wait)
	}
	over, cancel := context.WithDeadline(ctx, *until)
	defer cancel()
	said := ""
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		if err.Error() != said {
			said = err.Error()
			where.Kind, where.Text = runtime.Waiting, fmt.Sprintf("%s; it is waited for until %s", said, until.Local().Format(time.TimeOnly))
			r.tell(where)
		}
		if !sleep(over, pause) {
			break
		}
		again := try(over)
		switch {
		case errors.Is(again, runtime.ErrLocked):
			err = again
		case again == nil || over.Err() == nil:
			return again
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("waiting ended: %w", context.Cause(ctx))
	}
	return fmt.Errorf("waited for %s in vain: %w", r.opts.Wait, err)
}

// sleep pauses for about d, everybody a little differently, and says whether
// ctx still goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d*3/4 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// endingWith is ctx until stop ends.
func endingWith(ctx, stop context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	unwatch := func() bool { return true }
	if stop != nil {
		unwatch = context.AfterFunc(stop, func() { cancel(context.Cause(stop)) })
	}
	return ctx, func() { unwatch(); cancel(nil) }
}

package clan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// turns lets one operation of this process at a time write to a clan's folder:
// clan and git lock what they write, but what one of them changed is found out
// by looking before and after.
var turns = struct {
	mu sync.Mutex
	of map[string]chan struct{}
}{of: map[string]chan struct{}{}}

// turnPause is between two looks whether another process has had its turn.
const turnPause = 100 * time.Millisecond

// takeTurn waits until no other operation, of this process or of another one of
// the project, writes to the clan's folder.
func (d driver) takeTurn(ctx context.Context, log io.Writer) (done func(), err error) {
	turns.mu.Lock()
	turn := turns.of[d.dir]
	if turn == nil {
		turn = make(chan struct{}, 1)
		turns.of[d.dir] = turn
	}
	turns.mu.Unlock()
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	unlock, err := d.lockClan(ctx, log)
	if err != nil {
		<-turn
		return nil, err
	}
	return func() { unlock(); <-turn }, nil
}

// lockClan keeps out other processes, with a lock that ends with ours. The file
// stays: one that is removed could be locked twice.
func (d driver) lockClan(ctx context.Context, log io.Writer) (unlock func(), err error) {
	if d.Root == "" {
		return func() {}, nil
	}
	dir := filepath.Join(d.Root, ".infra", "locks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of locks: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "clan"), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err == nil && !ok {
		_, _ = fmt.Fprintln(log, "waiting: another process changes the clan's files")
		_, err = lock.TryLockContext(ctx, turnPause)
	}
	switch {
	case err == nil:
		return func() { _ = lock.Close() }, nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return nil, errors.Join(fmt.Errorf("lock the clan's folder: %w", err), lock.Close())
}

package clan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// turnPause is between two looks whether the other has had its turn.
const turnPause = 100 * time.Millisecond

// takeTurn waits until no other operation, of this process or of another one of
// the project, writes to the clan's folder: clan and git lock what they write,
// but what one of them changed is found out by looking before and after.
//
// The lock ends with us. Its file stays: one that is removed could be locked
// twice.
func (d driver) takeTurn(ctx context.Context, log io.Writer) (done func(), err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if d.Root == "" {
		return nil, errors.New("there is no folder to lock the clan's in: the project's root is not known")
	}
	dir := filepath.Join(d.Root, ".infra", "locks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of locks: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "clan"), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err == nil && !ok {
		_, _ = fmt.Fprintln(log, "waiting: another operation changes the clan's files")
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

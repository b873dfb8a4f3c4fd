package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"infra/runtime"
)

// A lease is how long a host keeps its lock for a holder of which it hears
// nothing, and how often the holder lets itself be heard.
type lease struct{ length, renewal time.Duration }

var hostLease = lease{30 * time.Second, 10 * time.Second}

// A HostLock is the lock of a host, held by a process on it.
type HostLock struct{ *holding }

// Lock takes the lock of h, so that no two runs work on it at once, from
// whatever machines. It is a lock of the machine, not of its name: a pool that
// holds it under one name shares it under another. It is free again
//
//   - at Release, and when infra dies, the connection is lost or the process
//     on the host is killed, once the commands on that connection have ended;
//   - after the lease, 30 seconds, where the host hears no more of us: it then
//     ends the connection, and so its commands, first.
//
// The lock costs two round trips, and one session of the connection for as long
// as it is held, in which the first commands run as well; for others a host must allow
// a second one (sshd's MaxSessions).
//
// Where another holds it the error is a [LockedError]. Lock does not wait.
func (p *Pool) Lock(ctx context.Context, h *runtime.Host, holder Holder) (*HostLock, error) {
	return p.lock(ctx, h, holder, hostLease)
}

func (p *Pool) lock(ctx context.Context, h *runtime.Host, holder Holder, l lease) (*HostLock, error) {
	holder.Token = rand.Text()
	words, err := holder.words()
	if err != nil {
		return nil, err
	}
	c, err := p.to(ctx, h)
	if err != nil {
		return nil, err
	}
	g := newHolding(c, h, holder, l)
	go g.run(lockArgs(holder, words, l.length, p.config.Grace, g.shell.mark))
	err = g.await(ctx)
	if err == nil {
		c.keepShell(g.shell)
		return &HostLock{g}, nil
	}
	var locked *LockedError
	if errors.As(err, &locked) {
		if ours := holdings.share(p, locked.Holder.Token); ours != nil && ours.await(ctx) == nil {
			return &HostLock{ours}, nil
		}
	}
	return nil, err
}

// Release frees the lock, or this share of it. It returns when the host has been told,
// where no command of ours can be left there: whoever comes next finds it free, since a
// host looks for a while before it refuses. The error of a lock that was lost before is
// why it was.
func (l *HostLock) Release() error { return l.release() }

// Lost is closed when the lock can no longer be vouched for: the connection has ended,
// or the host has not answered for a lease, which is never later than the host lets go
// by itself. That somebody has killed its process on the host is noticed by the next
// renewal, within 10 seconds, or by the next command, which is then not begun.
func (l *HostLock) Lost() <-chan struct{} { return l.lost }

// Err says why the lock was lost; nil while it is not.
func (l *HostLock) Err() error { return l.reason() }

// Boot is the boot of the host in which the lock was taken: another one after
// each, "" where the host does not tell.
func (l *HostLock) Boot() string { return l.said.bootID() }

// Holder is who holds the lock, as others are told.
func (l *HostLock) Holder() Holder { return l.holder }

// LockHolder says who holds the lock of h. The holder has no token where the
// lock is held but nothing can be read of by whom.
func (p *Pool) LockHolder(ctx context.Context, h *runtime.Host) (holder Holder, held bool, err error) {
	said, err := p.askLock(ctx, h, holderScript, Holder{}, p.config.Grace)
	if err != nil {
		return Holder{}, false, fmt.Errorf("asking %s who holds its lock: %w", h.Name, err)
	}
	switch {
	case said.is("free"):
		return Holder{}, false, nil
	case said.is("busy"):
		return said.holder(), true, nil
	}
	return Holder{}, false, fmt.Errorf("asking %s who holds its lock: %s", h.Name, said.complaint())
}

// BreakLock takes the lock of h from the holder that LockHolder or a
// [LockedError] showed, and from no other. The holder's connection is ended,
// its commands are told to end, and only then is the lock free.
func (p *Pool) BreakLock(ctx context.Context, h *runtime.Host, shown Holder) error {
	if shown.Token == "" {
		return runtime.WithHint(fmt.Errorf("breaking the lock of %s: nobody can tell which process holds it", h.Name),
			"%s tells, where it is installed; end that process", lockOwner)
	}
	if strings.Trim(shown.Token, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return fmt.Errorf("breaking the lock of %s: %q is no token of a holder", h.Name, shown.Token)
	}
	said, err := p.askLock(ctx, h, breakScript, shown, p.config.Grace)
	switch {
	case err != nil:
		return fmt.Errorf("breaking the lock of %s: %w", h.Name, err)
	case said.is("broken"):
		return nil
	case said.is("other"):
		return runtime.WithHint(fmt.Errorf("breaking the lock of %s: it is not held by %s any more", h.Name, shown),
			"nothing was broken; look again who holds it")
	}
	return fmt.Errorf("breaking the lock of %s: %s", h.Name, said.complaint())
}

// askLock runs a script about the lock, which ends by itself.
func (p *Pool) askLock(ctx context.Context, h *runtime.Host, script string, about Holder, grace time.Duration) (*lockReport, error) {
	c, err := p.to(ctx, h)
	if err != nil {
		return nil, err
	}
	said := &lockReport{}
	_, err = c.run(ctx, job{
		script: script, args: lockArgs(about, "", hostLease.length, grace, ""), stderr: said, grace: p.config.Grace,
	})
	return said, err
}

package remote

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"infra/runtime"
)

// inEachSession tries what holds of the commands of a host whose lock is held, and so of
// those in the session of its holder, as well as of others. Whatever becomes of the shell,
// the lock is kept.
func inEachSession(t *testing.T, try func(*testing.T, *server, *Pool)) {
	t.Run("its own", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		try(t, s, s.pool(t))
	})
	t.Run("of the lock", func(t *testing.T) {
		t.Parallel()
		s, _ := lockServer(t)
		p, others := s.pool(t), s.pool(t)
		l := take(t, p, crs)
		try(t, s, p)
		if who := heldBy(t, others); l.Err() != nil || who.Token != l.Holder().Token {
			t.Errorf("the lock is lost (%v), or held by %v", l.Err(), who)
		}
		must(t, l.Release())
		freed(t, others)
	})
}

// TestLockHasTheFirstShell: the first step of a host needs no other session than the lock.
func TestLockHasTheFirstShell(t *testing.T) {
	t.Parallel()
	s, _ := lockServer(t, "MaxSessions 1")
	p := s.pool(t)
	l := take(t, p, crs)
	g := goAhead(t, p, inTime(t), t.Context())
	for range 3 {
		must(t, p.Reach(inTime(t), target))
	}
	for range 3 {
		must(t, g.ask(shellOf(notes)))
	}
	must(t, g.wait())
	g.checkAll("1 2 3", nil)
	must(t, l.Release())
	take(t, p, crs)
}

// TestNothingBeginsWithoutTheHolder: a command that comes when the lock is not held any more
// is not begun, even where nobody knows that yet.
func TestNothingBeginsWithoutTheHolder(t *testing.T) {
	t.Parallel()
	s, folder := lockServer(t)
	p := s.pool(t)
	l := takeFor(t, p, crs, lease{10 * hang, 10 * hang})
	must(t, syscall.Kill(processOf(t, folder, l), syscall.SIGKILL))
	eventually(t, "the lock is free", func() bool {
		_, held, err := p.LockHolder(inTime(t), target)
		return err == nil && !held
	})
	g := goAhead(t, p, inTime(t), t.Context())
	must(t, g.ask(shellOf(notes)))
	if err := g.wait(); !errors.Is(err, runtime.ErrUntold) {
		t.Errorf("got %v", err)
	}
	g.checkAll("", runtime.ErrUntold)
	isLost(t, l, "its process on the host has ended")
	for _, pid := range processesIn(folder) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // the sleep that it waited for, of a tenth of the lease
	}
}

// TestLockIsHeardBesideItsShell: neither output that nobody takes nor commands that wait
// keep the renewals of the lock from the host, or the answers from us.
func TestLockIsHeardBesideItsShell(t *testing.T) {
	t.Parallel()
	for name, try := range map[string]func(*testing.T, *Pool, func()){
		"output": func(t *testing.T, p *Pool, wait func()) {
			cmd := shellOf("head -c 8000000 /dev/zero; head -c 8000000 /dev/zero >&2")
			taken := make(chan struct{})
			stuck := writerFunc(func(b []byte) (int, error) { <-taken; return len(b), nil })
			cmd.Stdout, cmd.Stderr = stuck, stuck
			done := make(chan error, 1)
			go func() {
				_, err := p.Run(runtime.WithAttempt(inTime(t)), target, cmd)
				done <- err
			}()
			wait()
			close(taken)
			must(t, <-done)
		},
		"commands": func(t *testing.T, p *Pool, wait func()) {
			g := goAhead(t, p, inTime(t), t.Context())
			must(t, g.ask(shellOf(notes+waits)))
			asked := make(chan error, 1)
			go func() {
				for range 40 {
					cmd := shellOf(notes)
					cmd.Argv = append(cmd.Argv, strings.Repeat("x", 5000))
					if err := g.ask(cmd); err != nil {
						asked <- err
						return
					}
				}
				asked <- nil
			}()
			wait()
			g.letGo()
			must(t, <-asked)
			must(t, g.wait())
			var all []string
			for n := range 41 {
				all = append(all, fmt.Sprint(n+1))
			}
			g.checkAll(strings.Join(all, " "), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := lockServer(t)
			p := s.pool(t)
			l := takeFor(t, p, crs, shortLease)
			try(t, p, func() {
				select {
				case <-l.Lost():
				case <-time.After(shortLease.length * 3 / 2): // what is tried is that it outlasts its lease
				}
			})
			must(t, l.Err())
			must(t, l.Release())
		})
	}
}

// TestCancelledBesideTheLock: a command that is ended leaves the lock where it is, and the
// next one finds another shell.
func TestCancelledBesideTheLock(t *testing.T) {
	t.Parallel()
	s, folder := lockServer(t)
	p := s.pool(t)
	l := take(t, p, crs)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(inTime(t))
	g := goAhead(t, p, ctx, t.Context())
	id := marker()
	must(t, g.ask(shellOf("sh -c 'sleep 300; :' "+id+" & "+notes+"echo up >up; wait")))
	must(t, g.ask(shellOf(notes)))
	g.written("up")
	cancel(why)
	g.checkEarlier(g.wait(), "1", why)
	g.checkAll("1", why, runtime.ErrPassedOver)
	if left := processes(id); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
	if pid := processOf(t, folder, l); l.Err() != nil || syscall.Kill(pid, 0) != nil {
		t.Errorf("the lock is lost: %v", l.Err())
	}
	must(t, p.Reach(inTime(t), target))
	must(t, l.Release())
	take(t, p, other)
}

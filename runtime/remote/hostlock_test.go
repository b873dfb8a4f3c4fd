package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"infra/runtime"
)

var (
	crs   = Holder{Run: "20261123T001204-abcd", User: "crs", Machine: "stibnite", Plan: "plans/x.star", Since: time.Date(2026, 11, 23, 0, 12, 4, 0, time.Local)}
	other = Holder{Run: "20261123T001301-ef01", User: "ada", Machine: "tin", Since: time.Date(2026, 11, 23, 0, 13, 1, 0, time.Local)}

	testLease = lease{30 * time.Second, 200 * time.Millisecond}
	// longLease ends after all that hangs is given up.
	longLease = lease{10 * hang, 200 * time.Millisecond}
	// shortLease is for those that see a lease end, or not.
	shortLease = lease{4 * time.Second, 200 * time.Millisecond}
)

// lockServer is an sshd whose host has a lock of its own.
func lockServer(t *testing.T, options ...string) (s *server, folder string) {
	t.Helper()
	s = prepareServer(t)
	folder = filepath.Join(s.dir, "lock")
	s.start(t, append(options, "SetEnv HOME="+s.dir+" INFRA_LOCK_DIR="+folder)...)
	t.Cleanup(func() {
		s.stop()
		eventually(t, "no process is left in the folder of the lock", func() bool { return len(processesIn(folder)) == 0 })
	})
	return s, folder
}

// processesIn lists the processes whose working directory is the folder.
func processesIn(folder string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range all {
		if to, err := os.Readlink(link); err == nil && strings.TrimSuffix(to, " (deleted)") == folder {
			pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// take takes the lock, which must be free.
func take(t *testing.T, p *Pool, who Holder) *HostLock {
	t.Helper()
	return takeFor(t, p, who, testLease)
}

func takeFor(t *testing.T, p *Pool, who Holder, l lease) *HostLock {
	t.Helper()
	lock, err := p.lock(inTime(t), target, who, l)
	must(t, err)
	return lock
}

// heldBy wants the lock not to be had, and returns who has it.
func heldBy(t *testing.T, p *Pool) Holder {
	t.Helper()
	l, err := p.lock(inTime(t), target, other, testLease)
	var locked *LockedError
	if !errors.As(err, &locked) || !errors.Is(err, runtime.ErrLocked) {
		t.Fatalf("got %v, %v; want a LockedError", l, err)
	}
	return locked.Holder
}

// isLost wants the lock to be given up.
func isLost(t *testing.T, l *HostLock, words string) {
	t.Helper()
	select {
	case <-l.Lost():
		complains(t, l.Err(), "the lock of target was lost|"+words, "")
	case <-time.After(hang):
		t.Error("the lock is not lost")
	}
}

// freed waits until the lock can be had, releases it and returns how long it took.
func freed(t *testing.T, p *Pool) time.Duration {
	t.Helper()
	began := time.Now()
	eventually(t, "the lock is free", func() bool {
		l, err := p.lock(inTime(t), target, other, testLease)
		if err != nil {
			return false
		}
		must(t, l.Release())
		return true
	})
	return time.Since(began)
}

func processOf(t *testing.T, folder string, l *HostLock) (pid int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, l.Holder().Token))
	must(t, err)
	_, err = fmt.Sscan(string(text), &pid)
	must(t, err)
	return pid
}

func TestLockExcludes(t *testing.T) {
	t.Parallel()
	s, folder := lockServer(t)
	a, b := s.pool(t), s.pool(t)
	if _, held, err := b.LockHolder(inTime(t), target); err != nil || held {
		t.Errorf("a host without a folder: %v, %v", held, err)
	}
	for range 3 {
		l := take(t, a, crs)
		_, err := b.Lock(inTime(t), target, other)
		complains(t, err, "target is locked by crs on stibnite since 2026-11-23 00:12:04 (run 20261123T001204-abcd of plans/x.star)",
			`wait with --wait 5m, or infra unlock target --because "..."`)
		if !errors.Is(err, runtime.ErrLocked) {
			t.Errorf("%v is no ErrLocked", err)
		}
		who, held, err := b.LockHolder(inTime(t), target)
		if err != nil || !held || who.String() != crs.String() || who.Token != l.Holder().Token {
			t.Errorf("got %v, %v, %v", who, held, err)
		}
		must(t, l.Release())
		must(t, l.Release())
		if l.Err() != nil {
			t.Errorf("after the release: %v", l.Err())
		}
		for end := time.Now().Add(hang); len(processesIn(folder)) > 0; { // what asked may be about to end
			if time.Now().After(end) {
				t.Fatalf("processes %v are left", processesIn(folder))
			}
		}
		must(t, take(t, b, other).Release())
		if _, held, err := b.LockHolder(inTime(t), target); err != nil || held {
			t.Errorf("after the release: %v, %v", held, err)
		}
	}
	if left, _ := os.ReadDir(folder); len(left) > 0 {
		t.Errorf("left in the folder: %v", left)
	}
}

// The lock outlasts its lease, for which renewals must be heard, beside other
// commands and with the fewest sessions that do.
func TestLockIsHeld(t *testing.T) {
	t.Parallel()
	s, _ := lockServer(t, "MaxSessions 2")
	a, b := s.pool(t), s.pool(t)
	l := takeFor(t, a, crs, shortLease)
	for end := time.Now().Add(shortLease.length * 3 / 2); time.Now().Before(end); {
		must(t, a.Reach(inTime(t), target))
		if who := heldBy(t, b); who.Token != l.Holder().Token {
			t.Fatalf("held by %v", who)
		}
	}
	if l.Err() != nil {
		t.Error(l.Err())
	}
	_, err := b.lock(inTime(t), target, other, testLease)
	var locked *LockedError
	if !errors.As(err, &locked) || locked.HeldFor() < shortLease.length || locked.HeldFor() > hang {
		t.Errorf("got %v, held for %v", err, locked.HeldFor())
	}
	must(t, l.Release())
}

// The host is told not to look for commands only where none can be left.
func TestLockIsFreedAtOnceWhereNothingIsLeft(t *testing.T) {
	t.Parallel()
	s, folder := lockServer(t)
	for name, c := range map[string]struct {
		argv string
		ends bool
		told bool
	}{"a command that failed": {"exit 3", true, true}, "one that a signal ended": {"kill -KILL $$", true, false}, "one that goes on": {"sleep 300", false, false}} {
		t.Run(name, func(t *testing.T) {
			a := s.pool(t)
			l := take(t, a, crs)
			id, out, done := marker(), newSignalled(), make(chan error, 1)
			ctx, cancel := context.WithCancel(inTime(t))
			go func() {
				_, err := a.Run(ctx, target, Command{Argv: []string{"sh", "-c", "echo up; " + c.argv, id}, Stdout: out})
				done <- err
			}()
			<-out.came
			if c.ends {
				must(t, <-done)
			}
			if err := l.Release(); c.ends {
				must(t, err) // else the host may wait for longer than we do
			}
			if isClosed(l.freed) != c.told {
				t.Errorf("it was told: %v", isClosed(l.freed))
			}
			cancel()
			if !c.ends {
				<-done
			}
			eventually(t, "nothing is left in the folder", func() bool {
				left, _ := os.ReadDir(folder)
				return len(left) == 0
			})
		})
	}
}

// Exactly one of those who come at once gets the lock.
func TestLockOneOfMany(t *testing.T) {
	t.Parallel()
	s, _ := lockServer(t, "MaxStartups 100")
	var pools []*Pool
	for range 10 {
		pools = append(pools, s.pool(t))
		must(t, pools[len(pools)-1].Reach(inTime(t), target))
	}
	for round := range 10 {
		got := make(chan *HostLock, len(pools))
		for _, p := range pools {
			go func() {
				l, err := p.lock(inTime(t), target, crs, testLease)
				if err != nil && !errors.Is(err, runtime.ErrLocked) {
					t.Error(err)
				}
				got <- l
			}()
		}
		var locks []*HostLock
		for range pools {
			if l := <-got; l != nil {
				locks = append(locks, l)
			}
		}
		if len(locks) != 1 {
			t.Fatalf("round %d: %d have the lock", round, len(locks))
		}
		must(t, locks[0].Release())
	}
}

// One machine by two names has one lock, which is free when both are done.
func TestLockOfTwoNames(t *testing.T) {
	t.Parallel()
	s, _ := lockServer(t)
	s.config = []string{s.stanza("alias") + " HostKeyAlias alias"}
	s.replaceKnownHosts(t, "* "+authorizedKey(s.host.signer.PublicKey()))
	a, b := s.pool(t), s.pool(t)
	locks := make(chan *HostLock, 2)
	for _, name := range []string{"target", "alias"} {
		go func() {
			l, err := a.lock(inTime(t), &runtime.Host{Name: name}, crs, testLease)
			if err != nil {
				t.Error(err)
			}
			locks <- l
		}()
	}
	first, second := <-locks, <-locks
	if first == nil || second == nil {
		t.FailNow()
	}
	must(t, first.Release())
	heldBy(t, b)
	must(t, second.Release())
	must(t, take(t, b, other).Release())
}

// deaf is a command that does not end with TERM.
func deaf(id string) Command {
	return Command{Argv: []string{"sh", "-c", "trap '' TERM; echo up; while :; do sleep .1; done", id}}
}

// While a command of the lost connection still runs, the lock is not free.
func TestLockOutlastsCommands(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, s *server, a, b *Pool, l *HostLock){
		"connection": func(t *testing.T, s *server, a, _ *Pool, _ *HostLock) { must(t, a.Close()) },
		"sshd": func(t *testing.T, s *server, _, _ *Pool, _ *HostLock) {
			for _, pid := range sessionsOf(s.cmd.Process.Pid) {
				must(t, syscall.Kill(pid, syscall.SIGKILL))
			}
		},
		"broken": func(t *testing.T, _ *server, _, b *Pool, l *HostLock) {
			must(t, b.BreakLock(inTime(t), target, l.Holder()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := lockServer(t)
			a, b := s.pool(t), s.pool(t)
			l := take(t, a, crs)
			id, out, done := marker(), newSignalled(), make(chan error, 1)
			cmd := deaf(id)
			cmd.Stdout = out
			go func() {
				_, err := a.Run(inTime(t), target, cmd)
				done <- err
			}()
			<-out.came
			lose(t, s, a, b, l)
			eventually(t, "the lock is free", func() bool {
				l, err := b.lock(inTime(t), target, other, testLease)
				if err != nil {
					return false
				}
				if found := processes(id); len(found) > 0 {
					t.Errorf("the lock is free, but %q runs", found)
				}
				must(t, l.Release())
				return true
			})
			isLost(t, l, "")
			if err := <-done; !errors.Is(err, runtime.ErrUntold) {
				t.Errorf("the command: %v", err)
			}
		})
	}
}

package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
	must(t, l.Release())
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
			if err := <-done; !errors.Is(err, ErrLost) {
				t.Errorf("the command: %v", err)
			}
		})
	}
}

func TestLockIsFreeAfterKilledConnection(t *testing.T) {
	t.Parallel()
	s, _ := lockServer(t)
	a, b := s.pool(t), s.pool(t)
	l := takeFor(t, a, crs, longLease)
	for _, pid := range sessionsOf(s.cmd.Process.Pid) {
		must(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	isLost(t, l, "the connection to target|was lost")
	if took := freed(t, b); took > hang {
		t.Errorf("the lock was free after %s", took)
	}
	complains(t, l.Release(), "the lock of target was lost", "")
}

// TestLockHeldByChild is the operator that TestLockIsFreeAfterKilledOperator
// kills.
func TestLockHeldByChild(t *testing.T) {
	config := os.Getenv("INFRA_TEST_LOCK_SSHCONFIG")
	if config == "" {
		t.Skip("only as a child of another test")
	}
	_, err := NewPool(Config{SSHConfig: config}).lock(t.Context(), target, crs, longLease)
	must(t, err)
	fmt.Println("held")
	select {}
}

func TestLockIsFreeAfterKilledOperator(t *testing.T) {
	t.Parallel()
	s, _ := lockServer(t)
	b := s.pool(t)
	must(t, b.Reach(inTime(t), target))
	child := exec.Command(os.Args[0], "-test.run=^TestLockHeldByChild$", "-test.v")
	child.Env = append(os.Environ(), "INFRA_TEST_LOCK_SSHCONFIG="+s.sshConfig(t))
	out := newSignalledBy("\nheld")
	child.Stdout = out
	must(t, child.Start())
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	select {
	case <-out.came:
	case err := <-ended:
		t.Fatalf("the other operator did not get the lock: %v\n%s", err, out.all)
	}
	heldBy(t, b)
	must(t, child.Process.Kill())
	<-ended
	if took := freed(t, b); took > hang {
		t.Errorf("the lock was free after %s", took)
	}
}

// newSignalledBy tells when a text came.
func newSignalledBy(text string) *signalledBy {
	return &signalledBy{text: text, came: make(chan struct{})}
}

type signalledBy struct {
	text string
	all  []byte
	came chan struct{}
}

func (s *signalledBy) Write(p []byte) (int, error) {
	before := strings.Contains(string(s.all), s.text)
	s.all = append(s.all, p...)
	if !before && strings.Contains(string(s.all), s.text) {
		close(s.came)
	}
	return len(p), nil
}

func TestLockIsLostWithItsProcess(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		s, folder := lockServer(t)
		a, b := s.pool(t), s.pool(t)
		l := takeFor(t, a, crs, longLease)
		must(t, syscall.Kill(processOf(t, folder, l), signal))
		isLost(t, l, "")
		if took := freed(t, b); took > hang {
			t.Errorf("the lock was free after %s", took)
		}
		for _, pid := range processesIn(folder) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // the sleep that it waited for, of a tenth of the lease
		}
	}
}

func TestLockBroken(t *testing.T) {
	t.Parallel()
	s, folder := lockServer(t)
	a, b := s.pool(t), s.pool(t)
	ctx := inTime(t)
	old := take(t, a, other)
	must(t, old.Release())
	l := take(t, a, crs)
	complains(t, b.BreakLock(ctx, target, old.Holder()), "not held by ada on tin", "nothing was broken")
	complains(t, b.BreakLock(ctx, target, Holder{}), "nobody can tell", "fuser")
	complains(t, b.BreakLock(ctx, target, Holder{Token: ".*"}), "no token", "")
	if heldBy(t, b).Token != l.Holder().Token || l.Err() != nil {
		t.Fatalf("the wrong holder was broken: %v", l.Err())
	}
	// Whose words cannot be read can be broken all the same.
	file := filepath.Join(folder, l.Holder().Token)
	text, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(file, append([]byte(strings.Join(strings.Fields(string(text))[:2], " ")), " gar\x1bbage"...), 0o644))
	who := heldBy(t, b)
	if who.Token != l.Holder().Token || !strings.Contains(who.String(), "does not say whose") {
		t.Errorf("got %+v", who)
	}
	must(t, b.BreakLock(ctx, target, who))
	isLost(t, l, "")
	must(t, take(t, b, other).Release())
	complains(t, b.BreakLock(ctx, target, who), "not held by", "nothing was broken")
}

// A holder that is stopped does not end itself.
func TestLockBrokenThatHangs(t *testing.T) {
	t.Parallel()
	s, folder := lockServer(t)
	a, b := s.pool(t), s.pool(t)
	l := take(t, a, crs)
	must(t, syscall.Kill(processOf(t, folder, l), syscall.SIGSTOP))
	must(t, b.BreakLock(inTime(t), target, l.Holder()))
	must(t, take(t, b, other).Release())
	isLost(t, l, "")
}

// Words of somebody else's process must not make us end it.
func TestLockBreakIsNotLedAstray(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs two accounts")
	}
	s, folder := lockServer(t)
	a, b := s.pool(t), s.pool(t)
	l := take(t, a, crs)
	must(t, os.Chown(filepath.Join(folder, l.Holder().Token), 65534, 65534))
	complains(t, b.BreakLock(inTime(t), target, l.Holder()), "is not of the user", "")
	must(t, l.Release())
}

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

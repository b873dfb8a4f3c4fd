package remote

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestLockIsFreeAfterKilledConnection(t *testing.T) {
	for _, shellEnded := range []bool{false, true} {
		t.Run(fmt.Sprintf("the shell has ended: %v", shellEnded), func(t *testing.T) { lockIsFreeAfterKilledConnection(t, shellEnded) })
	}
}

func lockIsFreeAfterKilledConnection(t *testing.T, shellEnded bool) {
	t.Parallel()
	s, _ := lockServer(t)
	a, b := s.pool(t), s.pool(t)
	l := takeFor(t, a, crs, longLease)
	if shellEnded {
		shellEndsWithItsStep(t, s, a)
	}
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

package remote

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"infra/runtime"
)

// TestFresh: everything goes over another connection from then on, and what is under
// way on the one before is left alone. Where no other can be made, that is an error,
// however well the one before lives.
func TestFresh(t *testing.T) {
	s := newServer(t)
	p := s.pool(t)
	connection := func() string {
		t.Helper()
		said, err := p.Output(inTime(t), target, "sh", "-c", "echo $SSH_CONNECTION")
		must(t, err)
		return strings.TrimSpace(said)
	}
	before := connection()
	under := make(chan error, 1)
	out := newSignalled()
	go func() {
		_, err := p.Run(inTime(t), target, Command{Argv: []string{"sh", "-c", "echo up; until [ -e " + s.dir + "/go ]; do sleep .05; done"}, Stdout: out})
		under <- err
	}()
	<-out.came
	must(t, p.Fresh(inTime(t), target))
	if after := connection(); after == before {
		t.Errorf("it still is %s", after)
	}
	_, err := p.Output(inTime(t), target, "touch", s.dir+"/go")
	must(t, err)
	must(t, <-under)

	must(t, syscall.Kill(s.cmd.Process.Pid, syscall.SIGKILL)) // the listener alone
	_ = s.cmd.Wait()
	if err := p.Fresh(inTime(t), target); err == nil {
		t.Error("there is nobody to connect to")
	}
	connection()
}

// TestDrop: every connection to the host is closed, also those that others took the
// place of, and what is asked of it next goes over a new one.
func TestDrop(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := s.pool(t)
	must(t, p.Drop(inTime(t), target)) // there is none
	under := make(chan error, 2)
	for range 2 {
		out := newSignalled()
		go func() {
			_, err := p.Run(inTime(t), target, Command{Argv: []string{"sh", "-c", "echo up; exec sleep 1000"}, Stdout: out})
			under <- err
		}()
		<-out.came
		must(t, p.Fresh(inTime(t), target))
	}
	must(t, p.Drop(inTime(t), target))
	for range 2 {
		if err := <-under; !errors.Is(err, runtime.ErrUntold) {
			t.Error(err)
		}
	}
	boot, err := p.BootID(inTime(t), target)
	must(t, err)
	if here, _ := os.ReadFile("/proc/sys/kernel/random/boot_id"); here != nil && boot != strings.TrimSpace(string(here)) {
		t.Errorf("it is in boot %q", boot)
	}
}

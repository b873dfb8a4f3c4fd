package remote

import (
	"net"
	"os/exec"
	"strings"
	"testing"

	"infra/runtime"
)

// TestIsHere: this machine is known by itself; one that is not reached at an address of
// ours is not even asked, and one that cannot be asked is none.
func TestIsHere(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := s.pool(t)
	if !p.IsHere(inTime(t), target) {
		t.Error("the server is on this machine")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	nobody := l.Addr().String()
	must(t, l.Close())
	for _, address := range []string{nobody, "192.0.2.1:22", "no-such-host.invalid:22"} {
		if p.IsHere(inTime(t), &runtime.Host{Name: "x", SSH: "ssh://root@" + address}) {
			t.Errorf("%s is not this machine", address)
		}
	}
	if n := len(p.conns); n != 1 {
		t.Errorf("there are %d connections", n)
	}
}

// TestMachineHere: what a host says of itself is what we say of it, and a container on
// the same kernel says something else.
func TestMachineHere(t *testing.T) {
	t.Parallel()
	said := func(wrapped ...string) string {
		argv := append(wrapped, "sh", "-c", machineScript)
		out, err := exec.Command(argv[0], argv[1:]...).Output()
		if err != nil {
			t.Skipf("%q: %v", argv[0], err)
		}
		return strings.TrimSpace(string(out))
	}
	here := machineHere()
	if here == "" || said() != here {
		t.Errorf("it is %q, and says %q", here, said())
	}
	for _, kind := range []string{"--mount", "--net"} {
		t.Run(kind, func(t *testing.T) {
			if got := said("unshare", kind); got == "" || got == here {
				t.Errorf("a container says %q, and this machine %q", got, here)
			}
		})
	}
}

package fleet

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// inCloud is a fleet of which cinnabar is the cloud's.
func inCloud(t *testing.T, hosts ...string) *Fleet {
	t.Helper()
	f, err := Up(context.Background(), Options{State: filepath.Join(t.TempDir(), "lab"), Net: RandomNet(), Hosts: append(hosts, "cinnabar"), Cloud: []string{"cinnabar"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Down(); err != nil {
			t.Error(err)
		}
		if pid, err := f.cloudProcess(); err != nil || pid != 0 {
			t.Errorf("the cloud is left: process %d, %v", pid, err)
		}
	})
	return f
}

func isUp(t *testing.T, f *Fleet, host string) bool {
	t.Helper()
	running, err := f.Running()
	if err != nil {
		t.Fatal(err)
	}
	return running[host] != 0
}

func TestAHostOfTheCloud(t *testing.T) {
	t.Parallel()
	f := inCloud(t, "blackphos")
	if isUp(t, f, "cinnabar") || !isUp(t, f, "blackphos") || !slices.Equal(f.Started, []string{"blackphos"}) {
		t.Errorf("Up started %q", f.Started)
	}
	if err := f.Create(t.Context(), "blackphos", nil); err == nil || !strings.Contains(err.Error(), "blackphos is not the cloud's") {
		t.Errorf("the cloud makes a host that is not its: %v", err)
	}
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOyP2PzPlv6extzGBcOTpB/o6kt1znbmLbh/irc8tNpm"
	if err := f.Create(t.Context(), "cinnabar", []string{key}); err != nil {
		t.Fatal(err)
	}
	if got := on(t, f, "cinnabar", "stat", "-c", "%a", "/root/.ssh", "/root/.ssh/authorized_keys"); got != "700\n600" {
		t.Errorf("the keys have the modes %q", got)
	}
	if got := on(t, f, "cinnabar", "cat", "/root/.ssh/authorized_keys"); got != key {
		t.Errorf("root's keys are %q", got)
	}
	first := on(t, f, "cinnabar", "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
	on(t, f, "cinnabar", "touch", "/srv/mine")

	for _, state := range []bool{false, false, true, true} {
		if err := f.Power(t.Context(), "cinnabar", state); err != nil {
			t.Fatal(err)
		}
		if isUp(t, f, "cinnabar") != state {
			t.Errorf("power %v did nothing", state)
		}
	}
	on(t, f, "cinnabar", "ls", "/srv/mine") // its disk is the same

	// Whoever brings the fleet up again finds the host as it is.
	again, err := Up(t.Context(), Options{State: f.State(), Hosts: []string{"cinnabar"}})
	if err != nil || len(again.Started) != 0 {
		t.Fatalf("a second Up: %q, %v", again.Started, err)
	}
	if got := on(t, f, "cinnabar", "cat", "/etc/ssh/ssh_host_ed25519_key.pub"); got != first {
		t.Errorf("it has the key %s, not %s", got, first)
	}

	if err := f.Create(t.Context(), "cinnabar", nil); err != nil {
		t.Fatal(err)
	}
	if got := on(t, f, "cinnabar", "cat", "/etc/ssh/ssh_host_ed25519_key.pub"); got == first {
		t.Error("a new host has the key of the one before")
	}
	if _, err := f.Exec("cinnabar", "ls", "/srv/mine"); err == nil {
		t.Error("a new host has the disk of the one before")
	}
	for range 2 {
		if err := f.Delete("cinnabar"); err != nil {
			t.Fatal(err)
		}
	}
	h, err := f.CloudHost("cinnabar")
	if err != nil || isUp(t, f, "cinnabar") {
		t.Errorf("it is up after it was deleted: %v", err)
	}
	for _, address := range []string{h.Address, f.NoHost(7)} {
		if conn, err := net.DialTimeout("tcp", net.JoinHostPort(address, "2222"), time.Second); err == nil {
			conn.Close()
			t.Errorf("something listens at %s", address)
		}
	}
}

func TestTheCloudTakesNoHostThatIsUp(t *testing.T) {
	t.Parallel()
	f := up(t, "cinnabar")
	_, err := Up(t.Context(), Options{State: f.State(), Hosts: []string{"cinnabar"}, Cloud: []string{"cinnabar"}})
	if err == nil || !strings.Contains(err.Error(), "cinnabar is up, and the cloud did not make it") {
		t.Errorf("the cloud took it: %v", err)
	}
	if !isUp(t, f, "cinnabar") {
		t.Error("it is down")
	}
}

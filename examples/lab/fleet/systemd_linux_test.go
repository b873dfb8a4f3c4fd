package fleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// upSystemd is like up, and the named host boots a systemd.
func upSystemd(t *testing.T, systemd string, others ...string) *Fleet {
	t.Helper()
	f, err := Up(context.Background(), Options{State: filepath.Join(t.TempDir(), "lab"), Net: RandomNet(), Hosts: append(others, systemd), Systemd: []string{systemd}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Down(); err != nil {
			t.Error(err)
		}
		nothingLeft(t, f)
	})
	return f
}

// onSSH runs a command on a host as a user does.
func onSSH(t *testing.T, f *Fleet, host, script string) string {
	t.Helper()
	return strings.TrimSpace(here(t, f, "ssh", "-F", f.SSHConfig(), host, script))
}

// nothingLeft fails the test if there still is anything of a fleet.
func nothingLeft(t *testing.T, f *Fleet) {
	t.Helper()
	if n := processesWith(t, f.State()); n > 0 {
		t.Errorf("%d processes with %q are left", n, f.State())
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), f.State()) {
		t.Error("a mount is left")
	}
	for _, h := range f.Hosts() {
		r := f.remains(h)
		if _, err := net.InterfaceByName(r.cable); err == nil {
			t.Errorf("the cable of %s is left", h.Name)
		}
		if _, err := os.Stat(r.cgroup); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the cgroup of %s is left: %v", h.Name, err)
		}
		routes, err := exec.Command("ip", "route", "show", "table", "local", h.Address).CombinedOutput()
		if err != nil || len(routes) > 0 {
			t.Errorf("a route to %s is left: %s%v", h.Name, routes, err)
		}
	}
	if _, err := os.Lstat(f.State()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state folder: %v", err)
	}
}

func TestSystemdRunsTheHost(t *testing.T) {
	t.Parallel()
	f := upSystemd(t, "cinnabar", "blackphos")
	tests := []struct{ name, script, want string }{
		{"init", "cat /proc/1/comm; hostname; whoami", "systemd\ncinnabar\nroot"},
		{"all units", "systemctl is-system-running --wait; systemctl --failed --no-legend", "running"},
		{"a unit", "systemd-run --quiet --unit=deploy --remain-after-exit -- true; systemctl show -P ActiveState deploy", "active"},
		{"a unit's end", "systemd-run --quiet --pipe --wait --collect --unit=check -- sh -c 'echo seen; exit 3'; echo $?", "seen\n3"},
		{"a failed unit", "systemd-run --quiet --wait --unit=broken false; systemctl --failed --no-legend --plain | cut -d' ' -f1; systemctl reset-failed", "broken.service"},
		{"a timer", "systemd-run --quiet --unit=tick --on-active=100ms --timer-property=AccuracySec=1ms -- touch /root/ticked 2>&1;" +
			"systemctl show -P Unit tick.timer; for i in $(seq 200); do if [ -e /root/ticked ]; then echo ticked; break; fi; sleep 0.05; done", "tick.service\nticked"},
		{"its journal", "journalctl --quiet --output=cat --unit=ssh --grep='Server listening' | wc -l", "1"},
		// Both would set what is set already, should they not be refused.
		{"this machine's settings", "cat /proc/sys/kernel/panic > /proc/sys/kernel/panic || echo refused", "refused"},
		{"this machine's clock", "date --set=\"@$(date +%s.%N)\" > /dev/null || echo refused", "refused"},
		{"another host's sshd", "timeout 5 bash -c 'head -c4 < /dev/tcp/" + f.Hosts()[1].Address + "/2222'", "SSH-"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := onSSH(t, f, "cinnabar", tt.script); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("its hash", func(t *testing.T) {
		before, err := f.Files("cinnabar")
		if err != nil {
			t.Fatal(err)
		}
		sum, err := f.RootHash("cinnabar")
		if err != nil {
			t.Fatal(err)
		}
		onSSH(t, f, "cinnabar", "systemctl status; journalctl --sync; journalctl -n 1; nix-store --verify >/dev/null 2>&1; systemctl list-timers")
		after, err := f.RootHash("cinnabar")
		if err != nil {
			t.Fatal(err)
		}
		if after != sum {
			files, err := f.Files("cinnabar")
			t.Errorf("looking at the host changes its hash: %v; %s", err, differences(before, files))
		}
		onSSH(t, f, "cinnabar", "systemd-run --quiet --unit=lasting --remain-after-exit -- true")
		if changed, err := f.RootHash("cinnabar"); err != nil || changed == sum {
			t.Errorf("a unit that stays does not change the hash: %v", err)
		}
	})
}

// differences names the paths that are not the same.
func differences(before, after map[string]File) (paths []string) {
	for name, file := range after {
		if before[name] != file {
			paths = append(paths, name)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			paths = append(paths, name)
		}
	}
	return paths
}

func TestReboot(t *testing.T) {
	t.Parallel()
	f := upSystemd(t, "cinnabar", "blackphos")
	system := build(t, f, "packages.x86_64-linux.default")
	machine, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{strings.TrimSpace(string(machine)): true}
	for _, host := range []string{"cinnabar", "blackphos"} {
		t.Run(host, func(t *testing.T) {
			newBoot(t, f, host, seen)
			here(t, f, "nix", "copy", "--no-check-sigs", "--to", "ssh-ng://root@"+host, system)
			on(t, f, host, "nix-env", "-p", "/nix/var/nix/profiles/system", "--set", system)
			onSSH(t, f, host, "touch /etc/kept /root/kept /run/gone /tmp/gone; setsid sleep 100000 >/dev/null 2>&1 &")
			if err := f.Reboot(t.Context(), host); err != nil {
				t.Fatal(err)
			}
			newBoot(t, f, host, seen)
			got := onSSH(t, f, host, "ls /etc/kept /root/kept /run/gone /tmp/gone 2>/dev/null; readlink -f /nix/var/nix/profiles/system; cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 10000[0]'; nix-store --verify 2>/dev/null")
			if want := "/etc/kept\n/root/kept\n" + system + "\n0"; got != want {
				t.Errorf("after the reboot: %q, want %q", got, want)
			}
		})
	}
	t.Run("by itself", func(t *testing.T) {
		before, err := f.pid("cinnabar")
		if err != nil {
			t.Fatal(err)
		}
		on(t, f, "cinnabar", "systemd-run", "--quiet", "--on-active=100ms", "--timer-property=AccuracySec=1ms", "systemctl", "reboot")
		if err := gone(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		h, err := f.host("cinnabar")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.back(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		newBoot(t, f, "cinnabar", seen)
	})
	if err := f.Reboot(t.Context(), "stibnite"); err == nil || !strings.Contains(err.Error(), "stibnite is down") {
		t.Errorf("the reboot of a host that is down: %v", err)
	}
}

// newBoot wants a boot id that was not seen before.
func newBoot(t *testing.T, f *Fleet, host string, seen map[string]bool) {
	t.Helper()
	id := onSSH(t, f, host, "cat /proc/sys/kernel/random/boot_id")
	if len(id) != 36 || seen[id] {
		t.Errorf("the boot id of %s is %q, and seen are %v", host, id, seen)
	}
	seen[id] = true
}

func TestPowerOffIsSilent(t *testing.T) {
	t.Parallel()
	f := upSystemd(t, "cinnabar", "blackphos")
	seen := map[string]bool{}
	newBoot(t, f, "cinnabar", seen)
	onSSH(t, f, "cinnabar", "touch /root/kept /run/gone")
	address := net.JoinHostPort(f.Hosts()[0].Address, strconv.Itoa(Port))
	open, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if _, err := open.Read(make([]byte, 200)); err != nil {
		t.Fatal(err)
	}

	if err := f.PowerOff("cinnabar"); err != nil {
		t.Fatal(err)
	}
	if err := open.SetDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := open.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("an open connection hears %v", err)
	}
	if _, err := net.DialTimeout("tcp", address, time.Second); err == nil || !err.(net.Error).Timeout() {
		t.Errorf("a new connection hears %v", err)
	}
	running, err := f.Running()
	if err != nil || running["cinnabar"] != 0 {
		t.Errorf("running: %v, %v", running, err)
	}
	if err := f.PowerOff("cinnabar"); err == nil || !strings.Contains(err.Error(), "cinnabar is down") {
		t.Errorf("power off twice: %v", err)
	}
	if err := f.PowerOff("blackphos"); err == nil || !strings.Contains(err.Error(), "shares this machine's network") {
		t.Errorf("power off without a network of its own: %v", err)
	}

	if err := f.PowerOn(t.Context(), "cinnabar"); err != nil {
		t.Fatal(err)
	}
	newBoot(t, f, "cinnabar", seen)
	if got := onSSH(t, f, "cinnabar", "ls /root/kept /run/gone 2>/dev/null || true"); got != "/root/kept" {
		t.Errorf("after the power cut there is %q", got)
	}
	if err := f.PowerOff("cinnabar"); err != nil {
		t.Fatal(err)
	}
	again, err := Up(t.Context(), Options{State: f.State(), Hosts: []string{"cinnabar"}})
	if err != nil || len(again.Started) != 1 {
		t.Fatalf("up after a power cut: %v", err)
	}
	newBoot(t, f, "cinnabar", seen)
}

func TestUpRefusesAnotherInit(t *testing.T) {
	t.Parallel()
	f := up(t, "blackphos")
	_, err := Up(t.Context(), Options{State: f.State(), Hosts: []string{"blackphos"}, Systemd: []string{"blackphos"}})
	if err == nil || !strings.Contains(err.Error(), "blackphos is up without systemd") {
		t.Errorf("systemd for a host that is up: %v", err)
	}
	if _, err := Up(t.Context(), Options{State: f.State(), Systemd: []string{"nobody"}}); err == nil || !strings.Contains(err.Error(), `no host "nobody"`) {
		t.Errorf("systemd for no host: %v", err)
	}
}

// asAnother names what a test binary does that a test started to kill it.
const asAnother = "LAB_TEST_AS_ANOTHER"

func TestMain(m *testing.M) {
	task, dir, _ := strings.Cut(os.Getenv(asAnother), " ")
	var err error
	switch task {
	case "":
		os.Exit(m.Run())
	case "up":
		_, err = Up(context.Background(), Options{State: dir, Net: RandomNet(), Hosts: []string{"cinnabar"}, Systemd: []string{"cinnabar"}})
	case "tree":
		_, err = makeTree(context.Background(), dir, smallTree)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// killAt starts a task of TestMain and kills it as soon as something is so.
func killAt(t *testing.T, task string, so func() bool) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), asAnother+"="+task)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); !so(); <-tick.C {
		select {
		case err := <-ended:
			t.Fatalf("%s ended too early: %v", task, err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s never came so far", task)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	<-ended
}

func TestUpMayBeKilled(t *testing.T) {
	t.Parallel()
	up(t, "blackphos") // so that the root tree is there below
	exists := func(path func(*Fleet) string) func(*Fleet) bool {
		return func(f *Fleet) bool { _, err := os.Lstat(path(f)); return err == nil }
	}
	tests := []struct {
		name  string
		so    func(*Fleet) bool
		after string
	}{
		{"with a record", exists(func(f *Fleet) string { return f.path(recordFile) }), "down"},
		{"with a cgroup", exists(func(f *Fleet) string { return f.remains(Host{Name: "cinnabar"}).cgroup }), "up"},
		{"with a box", func(f *Fleet) bool { boxes, err := f.boxes(); return err == nil && len(boxes) > 0 }, "up"},
		{"with a cable", exists(func(f *Fleet) string { return "/sys/class/net/" + f.remains(Host{Name: "cinnabar"}).cable }), "down"},
		{"with a systemd", func(f *Fleet) bool { running, err := f.Running(); return err == nil && len(running) > 0 }, "up"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "lab")
			killAt(t, "up "+state, func() bool { return tt.so(&Fleet{state: state}) })
			f, err := Open(state)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := f.Down(); err != nil {
					t.Error(err)
				}
				nothingLeft(t, f)
			})
			if tt.after == "down" {
				return
			}
			if _, err := Up(t.Context(), Options{State: state, Hosts: []string{"cinnabar"}}); err != nil {
				t.Fatal(err)
			}
			if !greets(t.Context(), net.JoinHostPort(f.Hosts()[0].Address, strconv.Itoa(Port))) {
				t.Error("up did not wait for its sshd")
			}
			if got := onSSH(t, f, "cinnabar", "cat /proc/1/comm"); got != "systemd" {
				t.Errorf("the init is %q", got)
			}
		})
	}
}

// smallTree is soon made.
var smallTree = recipe{suite: "trixie", variant: "extract", packages: []string{"hostname"}, masked: []string{"none.service"}}

func TestTreeIsMadeOnceAndWhole(t *testing.T) {
	t.Parallel()
	cache := filepath.Join(t.TempDir(), "cache")
	making := filepath.Join(cache, "making")
	killAt(t, "tree "+cache, func() bool { _, err := os.Lstat(making + "/usr"); return err == nil })
	if _, err := os.Stat(smallTree.path(cache)); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("an unfinished tree has its name: %v", err)
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			path, err := makeTree(t.Context(), cache, smallTree)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := os.Stat(path + "/usr/bin/hostname"); err != nil {
				t.Error(err)
			}
			// Whoever makes it again replaces this.
			if err := os.WriteFile(path+"/"+strconv.Itoa(int(time.Now().UnixNano())), nil, 0o600); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if marks, err := filepath.Glob(smallTree.path(cache) + "/[0-9]*"); err != nil || len(marks) != 2 {
		t.Errorf("the tree was made twice: %v, %v", marks, err)
	}
	if entries, err := os.ReadDir(cache); err != nil || len(entries) != 2 {
		t.Errorf("beside the lock and the tree there is more: %v, %v", entries, err)
	}
	if n := processesWith(t, making); n > 0 {
		t.Errorf("%d processes still make it", n)
	}
}

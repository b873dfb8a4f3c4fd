package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ownPlan works on two hosts, of which the first is this machine, and waits there.
const ownPlan = `
fleet = [host("here", system = "x86_64-linux"), host("there", system = "x86_64-linux")]
def f(host):
    local.run("echo %s >>order" % host.name)
    if host.name == "here":
        ssh.run(host, "touch DIR/at-gate; while ! test -e DIR/go; do sleep 0.02; done")
    ssh.run(host, "true")
p = plan(hosts = fleet, steps = [step(f, each = fleet)])
`

// TestTheOwnMachine is changed by infra although that takes the terminal away, with
// every way to tell infra so; and it goes last.
func TestTheOwnMachine(t *testing.T) {
	t.Parallel()
	project := t.TempDir()
	file := func(name string) string { return filepath.Join(project, name) }
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("ssh_config", sshdFor(t, "here")+sshdFor(t, "there", "unshare", "--mount"))
	write("infra.toml", "")
	write("t.star", strings.ReplaceAll(ownPlan, "DIR", project))
	program := func(args ...string) *exec.Cmd {
		cmd := exec.Command("infra", args...)
		cmd.Dir = project
		return cmd
	}
	for _, tt := range []struct {
		name string
		take func(*testing.T, *exec.Cmd) (start, take func() error)
	}{
		{"a terminal that is gone", onTerminal},
		{"a pipe that nobody reads, and a hangup", onPipe},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range []string{"order", "at-gate", "go"} {
				_ = os.Remove(file(name))
			}
			cmd := program("run", "--ssh-config", "ssh_config", "t.star")
			start, take := tt.take(t, cmd)
			if err := start(); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
				if _, err := os.Stat(file("at-gate")); err == nil {
					break
				}
				if time.Now().After(end) || len(done) > 0 {
					_ = cmd.Process.Kill()
					t.Fatal("it has not come to this machine")
				}
			}
			if err := take(); err != nil {
				t.Fatal(err)
			}
			write("go", "")
			if err := <-done; err != nil {
				t.Errorf("it ended with %v", err)
			}
			if order, _ := os.ReadFile(file("order")); string(order) != "there\nhere\n" {
				t.Errorf("the order was %q", order)
			}
			if log := outcomeOf(program("log", "last")); !strings.Contains(log.stdout, "f here") || strings.Contains(log.stdout, "interrupted") {
				t.Errorf("the journal has\n%s%s", log.stdout, log.stderr)
			}
		})
	}
}

// TestSwitchOfTheOwnMachine runs infra on the host that it switches, and the activation
// kills it: it is resumed there in time.
func TestSwitchOfTheOwnMachine(t *testing.T) {
	t.Parallel()
	s := newSwitched(t)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bring := exec.Command("sh", "-euc", `ssh -F "$1" cinnabar 'cat >/usr/local/bin/infra; chmod +x /usr/local/bin/infra' <"$2"
tar -C / -cf - "$1" "${1%_config}" | ssh -F "$1" cinnabar tar -C / -xf -`, "sh", s.fleet.SSHConfig(), program)
	if out, err := bring.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	plan := strings.Replace(fmt.Sprintf(switchPlan, s.new, "60s", ""), `load("fleet.star", "fleet")`, `fleet = {"cinnabar": host("cinnabar", system = "x86_64-linux", ssh = "root@cinnabar")}`, 1)
	s.exec("cinnabar", "sh", "-c", `mkdir -p /root/p && cd /root/p && touch infra.toml && printf '%s' "$1" >t.star`, "sh", plan)
	s.fault("ln -sfn $system /run/current-system; pkill -KILL -x infra", "")
	there := func(command string) (string, error) {
		out, err := s.fleet.Exec("cinnabar", "sh", "-c", "cd /root/p && exec "+command+" 2>&1")
		return s.names(ran{stderr: out}).stderr, err
	}
	said, err := there("infra run --ssh-config " + s.fleet.SSHConfig() + " t.star")
	if err == nil || !strings.Contains(said, "cinnabar is this machine") || !strings.Contains(said, "nix.switch.activate") {
		t.Fatalf("%v\n%s", err, said)
	}
	said, err = there("infra resume")
	if err != nil || !strings.Contains(said, "changed True, previous OLD, current NEW") {
		t.Errorf("%v\n%s", err, said)
	}
	if got := s.state(); got != confirmedNew {
		t.Errorf("the host has %s", got)
	}
}

// sshdFor starts an sshd on the loopback that ends with the test, by a command that
// may give it namespaces of its own, and returns what ssh's configuration says of it.
func sshdFor(t *testing.T, name string, by ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, key := range []string{"host", "user"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	public, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	for name, text := range map[string]string{
		"known_hosts": fmt.Sprintf("[127.0.0.1]:%d %s", port, public),
		"sshd_config": fmt.Sprintf("ListenAddress 127.0.0.1\nPort %d\nHostKey %s/host\nAuthorizedKeysFile %[2]s/user.pub\nPidFile none\nStrictModes no\n"+
			"PermitRootLogin prohibit-password\nSetEnv HOME=%[2]s INFRA_LOCK_DIR=%[2]s/lock\n", port, dir),
	} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	argv := append(by, "/usr/sbin/sshd", "-D", "-f", filepath.Join(dir, "sshd_config"))
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	(&trial{T: t}).wait("sshd answers", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return fmt.Sprintf("Host %s\n  HostName 127.0.0.1\n  Port %d\n  User root\n  IdentityFile %s/user\n  IdentitiesOnly yes\n  UserKnownHostsFile %[3]s/known_hosts\n  GlobalKnownHostsFile /dev/null\n", name, port, dir)
}

// onTerminal gives a program a terminal, as a login does, and takes it away.
func onTerminal(t *testing.T, cmd *exec.Cmd) (start, take func() error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	master := os.NewFile(uintptr(fd), "terminal") // which a close ends although it is read
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.Env = append(os.Environ(), "TERM=xterm")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	go func() { // what is not read fills the terminal, and stops who writes
		b := make([]byte, 4096)
		for {
			if _, err := master.Read(b); err != nil {
				return
			}
		}
	}()
	start = func() error {
		defer terminal.Close()
		return cmd.Start()
	}
	return start, master.Close
}

// onPipe gives a program a pipe, as ssh does without a terminal, and takes it away.
func onPipe(t *testing.T, cmd *exec.Cmd) (start, take func() error) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	start = func() error {
		defer w.Close()
		return cmd.Start()
	}
	return start, func() error {
		b := make([]byte, 1<<16)
		n, _ := r.Read(b)
		if out := string(b[:n]); !strings.Contains(out, "here is this machine: of a step's hosts it goes last; the run goes on if this terminal ends") {
			t.Errorf("it says\n%s", out)
		}
		if err := r.Close(); err != nil {
			return err
		}
		return cmd.Process.Signal(syscall.SIGHUP)
	}
}

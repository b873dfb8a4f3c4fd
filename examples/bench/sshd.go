package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// curve pins the key exchange at both ends: what OpenSSH would choose by itself costs
// its own client some 100 ms of CPU a connection, and would flatter every other.
const curve = "KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org\n"

// hosts are real sshd, each at an address of its own, with a host key, a home and
// processes of its own, and what clients need to reach them.
type hosts struct {
	net       *network
	dir       string
	addresses []string
	port      int
	running   []*exec.Cmd // each has the sshd as its child
}

// startHosts starts count sshd at addresses that start with prefix, in a network of
// their own that is a delay away each way. dir is where programs are.
func startHosts(ctx context.Context, dir, prefix string, delay time.Duration, count int) (*hosts, error) {
	if err := install(ctx, "openssh-server", "openssh-client", "iproute2"); err != nil {
		return nil, err
	}
	used("openssh-server")
	network, err := layNetwork(ctx, dir, prefix, delay)
	if err != nil {
		return nil, err
	}
	h := &hosts{net: network, dir: filepath.Join(dir, "hosts-"+prefix), port: hostPort}
	if err := h.startAll(ctx, count); err != nil {
		h.stop()
		return nil, err
	}
	return h, nil
}

// hostPort is free in a network of our own.
const hostPort = 2222

func (h *hosts) startAll(ctx context.Context, count int) error {
	for _, folder := range []string{filepath.Join(h.dir, "masters"), "/run/sshd"} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	if _, err := writeKey(filepath.Join(h.dir, "user")); err != nil {
		return err
	}
	var known bytes.Buffer
	for i := range count {
		h.addresses = append(h.addresses, fmt.Sprintf("%s.%d.%d", h.net.prefix, i/200, i%200+1))
		line, err := h.start(ctx, i)
		if err != nil {
			return err
		}
		known.WriteString(line)
	}
	if err := h.writeClients(known.Bytes()); err != nil {
		return err
	}
	return h.await(ctx)
}

// start starts one sshd, and returns its line of known_hosts. Its commands know it by
// HOME, and its lock is no other host's.
func (h *hosts) start(ctx context.Context, i int) (string, error) {
	home := h.home(i)
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", err
	}
	public, err := writeKey(filepath.Join(home, "hostkey"))
	if err != nil {
		return "", err
	}
	config := fmt.Sprintf("Port %d\nListenAddress %s\nHostKey %s/hostkey\nAuthorizedKeysFile %s/user.pub\nStrictModes no\n"+
		"PidFile none\nUsePAM no\nSubsystem sftp internal-sftp\nSetEnv HOME=%s INFRA_LOCK_DIR=%s/lock\n",
		h.port, h.addresses[i], home, h.dir, home, home) + curve
	if err := os.WriteFile(filepath.Join(home, "sshd_config"), []byte(config), 0o600); err != nil {
		return "", err
	}
	// What looks through the processes of its host must not find those of 500.
	host := exec.CommandContext(ctx, "ip", "netns", "exec", h.net.namespace, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
		"/usr/sbin/sshd", "-D", "-e", "-f", filepath.Join(home, "sshd_config"))
	if err := host.Start(); err != nil {
		return "", err
	}
	h.running = append(h.running, host)
	return fmt.Sprintf("[%s]:%d %s", h.addresses[i], h.port, public), nil
}

func (h *hosts) home(i int) string { return filepath.Join(h.dir, "homes", strconv.Itoa(i)) }

// writeKey makes a key, as ssh-keygen does, and returns its public half.
func writeKey(path string) (string, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return "", err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return "", err
	}
	line := string(ssh.MarshalAuthorizedKey(key))
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return "", err
	}
	return line, os.WriteFile(path+".pub", []byte(line), 0o644)
}

const ansibleConfig = `[defaults]
forks = %d
local_tmp = %s/ansible
[ssh_connection]
pipelining = True
ssh_args = -F %s/ssh_config -o ControlMaster=auto -o ControlPersist=120
control_path_dir = %s/masters
control_path = %%(directory)s/%%%%C
`

// writeClients writes what the clients are configured by.
func (h *hosts) writeClients(known []byte) error {
	config := fmt.Sprintf("Host %s.*\n  User root\n  Port %d\n  IdentityFile %s/user\n  IdentitiesOnly yes\n"+
		"  UserKnownHostsFile %s/known_hosts\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  BatchMode yes\n  LogLevel ERROR\n  ",
		h.net.prefix, h.port, h.dir, h.dir) + curve
	var inventory strings.Builder
	inventory.WriteString("[all]\n")
	for _, a := range h.addresses {
		fmt.Fprintf(&inventory, "%s ansible_python_interpreter=/usr/bin/python3\n", a)
	}
	for name, text := range map[string]string{
		"infra.toml":     "",
		"hosts":          strings.Join(h.addresses, "\n") + "\n",
		"inventory.ini":  inventory.String(),
		"known_hosts":    string(known),
		"ssh_config":     config,
		"master_config":  config + fmt.Sprintf("  ControlMaster auto\n  ControlPersist 120\n  ControlPath %s/masters/%%C\n", h.dir),
		"ansible.cfg":    fmt.Sprintf(ansibleConfig, atOnce, h.dir, h.dir, h.dir),
		"each.sh":        eachScript,
		"fabric_each.py": fabricScript,
	} {
		if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// await waits until all are there.
func (h *hosts) await(ctx context.Context) error {
	deadline := time.Now().Add(time.Minute)
	for _, a := range h.addresses {
		for {
			c, err := net.DialTimeout("tcp", net.JoinHostPort(a, strconv.Itoa(h.port)), time.Second)
			if err == nil {
				c.Close()
				break
			}
			if time.Now().After(deadline) || ctx.Err() != nil {
				return fmt.Errorf("no sshd listens at %s: %w", a, errors.Join(err, ctx.Err()))
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

// disconnect ends the connections that clients left open for later.
func (h *hosts) disconnect() {
	sockets, _ := filepath.Glob(filepath.Join(h.dir, "masters", "*"))
	for _, s := range sockets {
		_ = exec.Command("ssh", "-F", "/dev/null", "-o", "ControlPath="+s, "-O", "exit", "any").Run() // it may have ended by itself
		_ = os.Remove(s)
	}
}

func (h *hosts) stop() {
	h.disconnect()
	for _, host := range h.running {
		_ = host.Process.Kill()
	}
	for _, host := range h.running {
		_ = host.Wait()
	}
	h.net.remove()
	_ = os.RemoveAll(h.dir)
}

// cpu is what the hosts have used, all that they have waited for included.
func (h *hosts) cpu() time.Duration {
	const tick = 10 * time.Millisecond // USER_HZ, which is the same everywhere
	var sum time.Duration
	for _, sshd := range h.sshds() {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%s/stat", sshd))
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		for i := 11; i < 15 && i < len(fields); i++ { // utime, stime, cutime, cstime
			n, _ := strconv.Atoi(fields[i])
			sum += time.Duration(n) * tick
		}
	}
	return sum
}

// settle waits until the hosts have ended what clients have left. It says no where a
// client keeps its connections.
func (h *hosts) settle() bool {
	if kept, _ := os.ReadDir(filepath.Join(h.dir, "masters")); len(kept) > 0 {
		return false
	}
	deadline := time.Now().Add(10 * time.Second)
	for _, sshd := range h.sshds() {
		for len(children(sshd)) > 0 {
			if time.Now().After(deadline) {
				return false
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return true
}

// sshds are the ids of the sshd that listen.
func (h *hosts) sshds() []string {
	var all []string
	for _, host := range h.running {
		all = append(all, children(strconv.Itoa(host.Process.Pid))...)
	}
	return all
}

// children are the ids of a process's children.
func children(pid string) []string {
	var all []string
	lists, _ := filepath.Glob("/proc/" + pid + "/task/*/children")
	for _, l := range lists {
		list, _ := os.ReadFile(l)
		all = append(all, strings.Fields(string(list))...)
	}
	return all
}

// ran checks that every host has run just these commands, in their order, and
// forgets them. A tool that fails quickly would win.
func (h *hosts) ran(w work) error {
	var want strings.Builder
	for i := range w.commands {
		fmt.Fprintf(&want, "%d\n", i+1)
	}
	for i, a := range h.addresses {
		path := filepath.Join(h.home(i), "ran")
		have, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if string(have) != want.String() {
			return fmt.Errorf("%s ran %q, not %q", a, have, want.String())
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

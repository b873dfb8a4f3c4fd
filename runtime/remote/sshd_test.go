package remote

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"infra/runtime"
)

// A key is a key pair on disk.
type key struct {
	file   string
	signer ssh.Signer
}

func newKey(t *testing.T, file string) key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(private, "test")
	must(t, err)
	must(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	must(t, os.WriteFile(file+".pub", ssh.MarshalAuthorizedKey(signer.PublicKey()), 0o644))
	return key{file, signer}
}

// certify writes file-cert.pub.
func (k key) certify(t *testing.T, ca key, kind uint32, before time.Time, principals ...string) {
	t.Helper()
	cert := &ssh.Certificate{
		Key: k.signer.PublicKey(), CertType: kind, KeyId: "test", ValidPrincipals: principals,
		ValidAfter: uint64(time.Now().Add(-48 * time.Hour).Unix()), ValidBefore: uint64(before.Unix()),
	}
	if kind == ssh.UserCert {
		cert.Extensions = map[string]string{"permit-pty": "", "permit-port-forwarding": ""}
	}
	must(t, cert.SignCert(rand.Reader, ca.signer))
	must(t, os.WriteFile(k.file+"-cert.pub", ssh.MarshalAuthorizedKey(cert), 0o644))
}

// A server is a real sshd on a port of its own.
type server struct {
	dir    string
	port   int
	hostCA key
	userCA key
	host   key
	user   key
	cmd    *exec.Cmd
	config []string // more lines of ssh_config for the host
	log    string
}

// newServer starts sshd. A line of options overrides the defaults, for which
// the first counts.
func newServer(t *testing.T, options ...string) *server {
	t.Helper()
	s := prepareServer(t)
	s.start(t, options...)
	return s
}

// prepareServer makes the keys.
func prepareServer(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	s := &server{dir: dir, port: freePort(t), log: at("sshd.log"),
		hostCA: newKey(t, at("host_ca")), userCA: newKey(t, at("user_ca")), host: newKey(t, at("host")), user: newKey(t, at("user"))}
	later := time.Now().Add(time.Hour)
	s.host.certify(t, s.hostCA, ssh.HostCert, later, "127.0.0.1", "target")
	s.user.certify(t, s.userCA, ssh.UserCert, later, s.login(t))
	s.trust(t, "@cert-authority [127.0.0.1]:*", s.hostCA)
	return s
}

func (s *server) login(t *testing.T) string {
	t.Helper()
	me, err := login()
	must(t, err)
	return me.Username
}

// trust makes a line the only one of known_hosts.
func (s *server) trust(t *testing.T, line string, k key) {
	t.Helper()
	text := "# known\nthis line is broken\n" + line + " " + authorizedKey(k.signer.PublicKey()) + "\n"
	must(t, os.WriteFile(filepath.Join(s.dir, "known_hosts"), []byte(text), 0o600))
}

func (s *server) start(t *testing.T, options ...string) {
	t.Helper()
	lines := append(options, "Port "+fmt.Sprint(s.port), "ListenAddress 127.0.0.1", "HostKey "+s.host.file,
		"HostCertificate "+s.host.file+"-cert.pub", "TrustedUserCAKeys "+s.userCA.file+".pub", "PidFile none",
		"AuthorizedKeysFile "+filepath.Join(s.dir, "authorized_keys"), "PasswordAuthentication no", "StrictModes no",
		"KbdInteractiveAuthentication no", "UsePAM no", "PermitRootLogin prohibit-password",
		"SetEnv HOME="+s.dir, "LogLevel VERBOSE")
	file := filepath.Join(s.dir, "sshd_config")
	must(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	if os.Getuid() == 0 {
		must(t, os.MkdirAll("/run/sshd", 0o755))
	}
	s.cmd = exec.Command(sshdPath(t), "-D", "-f", file, "-E", s.log)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, s.cmd.Start())
	t.Cleanup(s.stop)
	eventually(t, "sshd listens", func() bool {
		log, _ := os.ReadFile(s.log)
		return strings.Contains(string(log), "Server listening")
	})
}

func sshdPath(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("sshd"); err == nil {
		return path
	}
	return "/usr/sbin/sshd"
}

// stop ends the listener and, as a power cut would, every session.
func (s *server) stop() {
	for _, pid := range sessionsOf(s.cmd.Process.Pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// sessionsOf lists the sshd processes below a listener.
func sessionsOf(listener int) []int {
	var all []int
	for _, child := range childrenOf(listener) {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child))
		if strings.HasPrefix(string(name), "sshd") {
			all = append(append(all, child), sessionsOf(child)...)
		}
	}
	return all
}

func childrenOf(pid int) []int {
	var all []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		for _, word := range strings.Fields(string(text)) {
			var child int
			fmt.Sscan(word, &child)
			all = append(all, child)
		}
	}
	return all
}

// sshConfig writes the client's configuration.
func (s *server) sshConfig(t *testing.T) string {
	t.Helper()
	file := filepath.Join(s.dir, "ssh_config")
	text := strings.Join(s.config, "\n") + "\n" + s.stanza("target") +
		"Host *\n UserKnownHostsFile " + filepath.Join(s.dir, "known_hosts") + "\n GlobalKnownHostsFile none\n IdentityAgent none\n IdentitiesOnly yes\n"
	must(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// stanza is the host's part of an ssh_config.
func (s *server) stanza(name string) string {
	return fmt.Sprintf("Host %s\n HostName 127.0.0.1\n Port %d\n IdentityFile %s\n", name, s.port, s.user.file)
}

// pool reaches the server as "target".
func (s *server) pool(t *testing.T) *Pool {
	t.Helper()
	p := NewPool(Config{SSHConfig: s.sshConfig(t), Grace: time.Second, ConnectTimeout: hang})
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

var target = &runtime.Host{Name: "target", System: "x86_64-linux"}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// eventually polls for what another process does.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(hang)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// processes lists those whose command line holds the marker.
func processes(marker string) []string {
	var found []string
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range all {
		line, _ := os.ReadFile(file)
		if strings.Contains(string(line), marker) && file != fmt.Sprintf("/proc/%d/cmdline", os.Getpid()) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// hang is when what takes a moment is given up, also on a machine that is busy
// with much else. What is never to end takes longer: sleep 300.
const hang = 2 * time.Minute

// inTime is a context that ends what hangs.
func inTime(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	t.Cleanup(cancel)
	return ctx
}

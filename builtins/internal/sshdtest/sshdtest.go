// Package sshdtest starts a real sshd on the loopback for a test, with keys of
// its own and, where asked, a /nix and a /run of its own.
package sshdtest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Server is a host for a test.
type Server struct {
	Alias  string // what ssh is asked to reach
	Config string // the file for ssh -F
	Dir    string // holds the keys and the files of configuration
	Port   int

	cmd *exec.Cmd
	log bytes.Buffer
}

// serverScript becomes sshd. Under unshare it first gets its own /nix and /run.
const serverScript = `
set -e
if [ "$1" = own ]; then
  mkdir -p /nix
  mount -t tmpfs -o mode=755 tmpfs /nix
  mount -t tmpfs -o mode=755 tmpfs /run
fi
mkdir -p /run/sshd
exec "$2" -D -e -f "$3"
`

// Start starts an sshd which ends with the test. Its logins have a home of
// their own: what a shell reads there of this machine's may take a second each time.
// A host of its own needs root.
func Start(t testing.TB, alias string, own bool) *Server {
	t.Helper()
	s := &Server{Alias: alias, Dir: t.TempDir(), Port: freePort(t)}
	s.Config = filepath.Join(s.Dir, "ssh_config")
	s.makeFiles(t)
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		sshd = "/usr/sbin/sshd" // not in everybody's PATH
	}
	argv := []string{"sh", "-c", serverScript, "sh", "shared", sshd, filepath.Join(s.Dir, "sshd_config")}
	if own {
		argv[4] = "own"
		argv = append([]string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"}, argv...)
	}
	s.cmd = exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	s.cmd.Stderr = &s.log
	s.cmd.WaitDelay = time.Second // sessions may hold its standard error
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	s.await(t)
	return s
}

// Stop ends the server and what runs on it.
func (s *Server) Stop() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // it may have ended
	_ = s.cmd.Wait()
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// await polls until the server greets.
func (s *Server) await(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.Port))
		if err != nil {
			continue
		}
		n, _ := c.Read(make([]byte, 4))
		c.Close()
		if n > 0 {
			return
		}
	}
	s.Stop()
	t.Fatalf("sshd did not start:\n%s", s.log.String())
}

func (s *Server) makeFiles(t testing.TB) {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"host", "user"} {
		s.tool(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(s.Dir, key))
	}
	s.write(t, "known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", s.Port, s.read(t, "host.pub")))
	s.write(t, "nix.conf", "substituters =\nbuild-users-group =\nsandbox = false\n")
	s.write(t, "sshd_config", fmt.Sprintf(`
ListenAddress 127.0.0.1
Port %d
HostKey %s/host
AuthorizedKeysFile %s/user.pub
PidFile none
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
SetEnv HOME=%s NIX_CONF_DIR=%s INFRA_LOCK_DIR=%s/lock%s
`, s.Port, s.Dir, s.Dir, s.Dir, s.Dir, s.Dir, nixOfHosts()))
	s.write(t, "ssh_config", fmt.Sprintf(`
Host %s
  HostName 127.0.0.1
  Port %d
  User %s
  IdentityFile %s/user
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile %s/known_hosts
  GlobalKnownHostsFile /dev/null
`, s.Alias, s.Port, me.Username, s.Dir, s.Dir))
}

// nixOfHosts lets the logins find another nix than this machine's, for tests
// of a client and a host whose versions differ: INFRA_TEST_NIX_HOST is the folder of
// its programs. The client's is the first of PATH.
func nixOfHosts() string {
	folder := os.Getenv("INFRA_TEST_NIX_HOST")
	if folder == "" {
		return ""
	}
	return " PATH=" + folder + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
}

// NewHostKey makes the key that the clients know another than the server's.
func (s *Server) NewHostKey(t testing.TB) {
	t.Helper()
	s.write(t, "known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", s.Port, s.read(t, "user.pub")))
}

// Shell runs a command on the host by the ssh of the machine.
func (s *Server) Shell(t testing.TB, script string) string {
	t.Helper()
	return s.tool(t, "ssh", "-F", s.Config, s.Alias, script)
}

func (s *Server) tool(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

func (s *Server) write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) read(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(s.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

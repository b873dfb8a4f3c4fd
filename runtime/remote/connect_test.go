package remote

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"infra/runtime"
)

// complains checks the words of an error and of its hint.
func complains(t *testing.T, err error, words string, hint string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	for word := range strings.SplitSeq(words, "|") {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error lacks %q: %v", word, err)
		}
	}
	for word := range strings.SplitSeq(hint, "|") {
		if got := runtime.HintOf(err); !strings.Contains(got, word) {
			t.Errorf("the hint lacks %q: %q", word, got)
		}
	}
}

func (s *server) replaceKnownHosts(t *testing.T, line string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(s.dir, "known_hosts"), []byte(line+"\n"), 0o600))
}

func TestHostKeyIsChecked(t *testing.T) {
	s := newServer(t)
	stranger := newKey(t, filepath.Join(s.dir, "stranger"))
	host, ca, other := authorizedKey(s.host.signer.PublicKey()), authorizedKey(s.hostCA.signer.PublicKey()), authorizedKey(stranger.signer.PublicKey())
	at := fmt.Sprintf("[127.0.0.1]:%d", s.port)
	print := ssh.FingerprintSHA256(s.host.signer.PublicKey())
	for _, c := range []struct{ name, known, words, hint string }{
		{"plain key", at + " " + host, "", ""},
		{"plain key without a port", "127.0.0.1 " + host, "", ""},
		{"pattern", "[127.0.0.*]:* " + host, "", ""},
		{"hashed", "", "", ""}, // see below
		{"authority", "@cert-authority * " + ca, "", ""},
		{"authority, several hosts", "@cert-authority example.org,127.0.0.1,!127.0.0.2 " + ca, "", ""},
		{"authority of another, known key", "@cert-authority * " + other + "\n" + at + " " + host, "", ""},
		{"bare name has another key", "127.0.0.1 " + other, "is not known|" + print, "ssh-keygen -lf|ssh target|" + at + " ssh-ed25519"},
		{"unknown", "example.org " + host, "host key of target (|" + s.address() + "|is not known|" + print + "|known_hosts", "ssh target|" + at + " ssh-ed25519"},
		{"negated", "*,!127.0.0.1,!" + at + " " + host, "is not known", "ssh target"},
		{"changed", "# one\n\n" + at + " " + other, "HAS CHANGED|known_hosts, line 3|" + print, "ssh-keygen -f |-R \"" + at + "\""},
		{"another authority", "@cert-authority * " + other, "signed by|" + ssh.FingerprintSHA256(s.hostCA.signer.PublicKey()) + "|known_hosts, line 1", "@cert-authority " + at},
		{"revoked key", at + " " + host + "\n@revoked * " + host, "REVOKED|line 2", ""},
		{"revoked authority", "@cert-authority * " + ca + "\n@revoked * " + ca, "REVOKED|line 2", ""},
		{"no file", "", "is not known", "ssh target"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.replaceKnownHosts(t, c.known)
			if c.name == "hashed" {
				s.replaceKnownHosts(t, hashed(at)+" "+host)
			}
			if c.name == "no file" {
				must(t, os.Remove(filepath.Join(s.dir, "known_hosts")))
			}
			err := s.pool(t).Reach(inTime(t), target)
			if c.words == "" {
				must(t, err)
				return
			}
			complains(t, err, c.words, c.hint)
		})
	}
}

func TestHostCertificateIsChecked(t *testing.T) {
	for _, c := range []struct {
		name        string
		before      time.Time
		principals  []string
		config      string
		words, hint string
	}{
		{"expired", time.Now().Add(-time.Hour), []string{"127.0.0.1"}, "", "host certificate of target (|expired at " + time.Now().Add(-time.Hour).Format("2006-01-02 15"), "sign the host's key again"},
		{"other name", time.Now().Add(time.Hour), []string{"example.org"}, "", "is for example.org, not for 127.0.0.1", "HostKeyAlias"},
		{"alias", time.Now().Add(time.Hour), []string{"example.org"}, "Host target\n HostKeyAlias example.org", "", ""},
		{"pattern", time.Now().Add(time.Hour), []string{"127.0.*"}, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := prepareServer(t)
			s.host.certify(t, s.hostCA, ssh.HostCert, c.before, c.principals...)
			s.trust(t, "@cert-authority *", s.hostCA)
			s.config = []string{c.config}
			s.start(t)
			err := s.pool(t).Reach(inTime(t), target)
			if c.words == "" {
				must(t, err)
				return
			}
			complains(t, err, c.words, c.hint)
		})
	}
}

func (s *server) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

func TestLoginIsRefused(t *testing.T) {
	later := time.Now().Add(time.Hour)
	for _, c := range []struct {
		name        string
		prepare     func(t *testing.T, s *server)
		words, hint string
	}{
		{"unknown key", func(t *testing.T, s *server) { must(t, os.Remove(s.user.file+"-cert.pub")) },
			"target (|refuses the login: it took none of: the key |/user (ED25519 SHA256:", "ssh -v target"},
		{"expired certificate", func(t *testing.T, s *server) {
			s.user.certify(t, s.userCA, ssh.UserCert, time.Now().Add(-time.Hour), s.login(t))
		}, "not offered, because the certificate |/user-cert.pub|expired at " + time.Now().Add(-time.Hour).Format("2006-01-02 15"), "get a new certificate"},
		{"certificate of another authority", func(t *testing.T, s *server) {
			s.user.certify(t, s.hostCA, ssh.UserCert, later, s.login(t))
		}, "it took none of: the certificate |user-cert.pub (for ", "authority of the certificate"},
		{"certificate for another user", func(t *testing.T, s *server) {
			s.user.certify(t, s.userCA, ssh.UserCert, later, "somebody")
		}, "(for somebody)", "trusted for the user"},
		{"no key", func(t *testing.T, s *server) { must(t, os.Remove(s.user.file)) },
			"no key was offered|/user does not exist", "IdentityFile"},
		{"encrypted key", func(t *testing.T, s *server) {
			_, err := Run(t.Context(), Command{Argv: []string{"ssh-keygen", "-p", "-N", "password", "-f", s.user.file}})
			must(t, err)
		}, "no key was offered|user is encrypted and not in the agent", "ssh-add "},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			c.prepare(t, s)
			complains(t, s.pool(t).Reach(inTime(t), target), c.words, c.hint)
		})
	}
}

// agentWith serves an agent that has the keys, by the protocol's own server.
func agentWith(t *testing.T, keys ...agent.AddedKey) (socket string) {
	t.Helper()
	keyring := agent.NewKeyring()
	for _, k := range keys {
		must(t, keyring.Add(k))
	}
	dir, err := os.MkdirTemp("", "agent") // a socket's path must be short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(keyring, c)
		}
	}()
	return socket
}

func TestAgent(t *testing.T) {
	s := newServer(t)
	text, err := os.ReadFile(s.user.file)
	must(t, err)
	private, err := ssh.ParseRawPrivateKey(text)
	must(t, err)
	must(t, os.Remove(s.user.file)) // the public key and the certificate stay
	socket := agentWith(t, agent.AddedKey{PrivateKey: private, Comment: "in memory"})
	s.config = []string{"Host target\n IdentityAgent " + socket}
	must(t, s.pool(t).Reach(inTime(t), target))

	must(t, os.Remove(s.user.file+"-cert.pub"))
	complains(t, s.pool(t).Reach(inTime(t), target), "/user, in the agent (ED25519", "trusted for the user")

	s.config = []string{"Host target\n IdentitiesOnly no\n IdentityFile none\n IdentityAgent SSH_AUTH_SOCK"}
	t.Setenv("SSH_AUTH_SOCK", socket)
	must(t, os.WriteFile(filepath.Join(s.dir, "authorized_keys"), ssh.MarshalAuthorizedKey(s.user.signer.PublicKey()), 0o600))
	must(t, s.pool(t).Reach(inTime(t), target))
}

func TestProxyJump(t *testing.T) {
	inner := newServer(t)
	for _, jump := range []string{"hop", "first,hop"} {
		outer := newServer(t)
		outer.config = []string{"Host target\n ProxyJump " + jump, outer.stanza("hop"),
			strings.Replace(outer.stanza("first"), "127.0.0.1", "localhost\n HostKeyAlias target", 1),
			"Host target\n HostName 127.0.0.1\n Port " + fmt.Sprint(inner.port) + "\n IdentityFile " + inner.user.file +
				"\n UserKnownHostsFile " + filepath.Join(inner.dir, "known_hosts")}
		outer.trust(t, "@cert-authority *", outer.hostCA)
		p := outer.pool(t)
		must(t, p.Reach(inTime(t), target))
		if want := 1 + len(hops(jump)); len(p.conns) != want {
			t.Errorf("%s: %d connections, want %d", jump, len(p.conns), want)
		}
		log, err := os.ReadFile(outer.log)
		must(t, err)
		if n := strings.Count(string(log), "Accepted publickey"); n != len(hops(jump)) {
			t.Errorf("%s: %d logins at the jump host", jump, n)
		}
	}
}

func TestProxyJumpIsChecked(t *testing.T) {
	inner, outer := newServer(t), newServer(t)
	outer.config = []string{"Host target\n ProxyJump hop", outer.stanza("hop")}
	outer.config = append(outer.config, strings.Replace(inner.stanza("target"), inner.user.file, outer.user.file, 1))
	complains(t, outer.pool(t).Reach(inTime(t), target), "signed by|"+inner.address(), "@cert-authority")

	outer.replaceKnownHosts(t, "")
	complains(t, outer.pool(t).Reach(inTime(t), target), "host key of hop (|is not known", "ssh ")

	outer.trust(t, "@cert-authority *", outer.hostCA)
	inner.stop()
	complains(t, outer.pool(t).Reach(inTime(t), target), "the jump host hop (|does not reach "+inner.address(), "")

	outer.config = []string{"Host target\n ProxyJump a", "Host a\n ProxyJump b", "Host b\n ProxyJump a"}
	complains(t, outer.pool(t).Reach(inTime(t), target), "ProxyJump|in a circle", "")
}

func TestProxyCommand(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.config = []string{"Host target\n ProxyCommand bash -c 'exec 3<>/dev/tcp/%h/%p; cat <&3 & exec cat >&3'"}
	id := marker()
	p := s.pool(t)
	must(t, p.Reach(inTime(t), target))
	must(t, p.Close())

	s.config = []string{"Host target\n ProxyCommand echo no such gate >&2; exit 3 # " + id}
	complains(t, s.pool(t).Reach(inTime(t), target), "ProxyCommand|no such gate", "")

	s.config = []string{"Host target\n ConnectTimeout 1\n ProxyCommand sh -c 'sleep 300; :' " + id}
	complains(t, s.pool(t).Reach(inTime(t), target), "no ssh server greets within 1s", "")
	eventually(t, "the proxy has ended", func() bool { return len(processes(id)) == 0 })

	s.config = []string{"Host target\n ProxyCommand none"}
	must(t, s.pool(t).Reach(inTime(t), target))
}

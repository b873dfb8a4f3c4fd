package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"infra/runtime"
)

func TestParseAddress(t *testing.T) {
	for _, tt := range []struct {
		in, host string
		port     int
	}{
		{"10.0.0.1", "10.0.0.1", 0},
		{"10.0.0.1:2222", "10.0.0.1", 2222},
		{"2001:db8::1", "2001:db8::1", 0},
		{"[2001:db8::1]", "2001:db8::1", 0},
		{"[2001:db8::1]:22", "2001:db8::1", 22},
		{"vps.example.org", "vps.example.org", 0},
		{"vps:65535", "vps", 65535},
		{"vps_1.", "vps_1.", 0},
	} {
		if host, port, err := ParseAddress(tt.in); host != tt.host || port != tt.port || err != nil {
			t.Errorf("%q: %q %d %v", tt.in, host, port, err)
		}
	}
	for _, in := range []string{"", "-oProxyCommand=x", "a b", "a;b", "root@vps", "vps:", "vps:0", "vps:65536", "vps:x", "%h", "fe80::1%eth0",
		"ssh://vps", "vps/..", "[vps", "a\nb", ":22", "[]", "a-"} {
		if host, port, err := ParseAddress(in); err == nil {
			t.Errorf("%q was read as %q %d", in, host, port)
		}
	}
}

func TestParsePins(t *testing.T) {
	s := prepareServer(t)
	one, other := authorizedKey(s.host.signer.PublicKey()), authorizedKey(s.user.signer.PublicKey())
	if other < one {
		one, other = other, one
	}
	got, err := ParsePins("# keys\n" + other + " root@vps\n\n" + one + "\n" + one + "\n")
	if err != nil || got != one+"\n"+other {
		t.Errorf("%q %v", got, err)
	}
	certificate, err := os.ReadFile(s.host.file + "-cert.pub")
	must(t, err)
	for _, in := range []string{"", "\n", "# none", "ssh-ed25519", "ssh-ed25519 AAAA", "command=\"x\" " + one, string(certificate), one + "\nx"} {
		if got, err := ParsePins(in); err == nil {
			t.Errorf("%q was read as %q", in, got)
		}
	}
}

// A placed is a host of a test that is reached at an address: ssh's
// configuration has one for it at which nobody is.
type placed struct {
	*server
	contacts string
}

func newPlaced(t *testing.T) *placed {
	t.Helper()
	s := newServer(t)
	return &placed{s, filepath.Join(s.dir, ".infra", "known_hosts")}
}

// reach reaches the host at the server's address from a process of its own,
// and returns what the step was told.
func (s *placed) reach(t *testing.T, place runtime.Place, lookOn ...bool) (told string, err error) {
	t.Helper()
	p := NewPool(Config{SSHConfig: s.placedConfig(t), ConnectTimeout: hang, Contacts: s.contacts, LookOn: lookOn != nil})
	defer p.Close()
	if place.Address == "" {
		place.Address = fmt.Sprintf("127.0.0.1:%d", s.port)
	}
	ctx := runtime.WithPrint(inTime(t), func(text string) { told += text + "\n" })
	return told, p.Reach(ctx, target.At(place))
}

func (s *placed) placedConfig(t *testing.T) string {
	t.Helper()
	file := filepath.Join(s.dir, "ssh_config")
	text := "Host target\n HostName gone.invalid\n IdentityFile " + s.user.file + "\n UserKnownHostsFile " + filepath.Join(s.dir, "known_hosts") +
		"\n GlobalKnownHostsFile none\n IdentityAgent none\n IdentitiesOnly yes\n"
	must(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func (s *placed) pin() string { return authorizedKey(s.host.signer.PublicKey()) }

// newHostKey gives the server another key.
func (s *placed) newHostKey(t *testing.T) {
	t.Helper()
	s.host = newKey(t, filepath.Join(s.dir, "another"))
	must(t, os.WriteFile(s.host.file+"-cert.pub", nil, 0o600))
	s.restart(t)
}

func (s *placed) restart(t *testing.T, options ...string) {
	t.Helper()
	s.stop()
	must(t, os.Truncate(s.log, 0)) // by which start knows when it listens
	s.start(t, options...)
}

func (s *placed) wants(t *testing.T, err error, want, hint string) {
	t.Helper()
	switch {
	case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want %q", err, want)
	case !strings.Contains(runtime.HintOf(err), hint):
		t.Errorf("hint %q, want %q", runtime.HintOf(err), hint)
	case errors.Is(err, ErrUnreachable):
		t.Errorf("it would be waited for: %v", err)
	}
}

func TestPinnedKey(t *testing.T) {
	s := newPlaced(t)
	other := authorizedKey(s.user.signer.PublicKey())
	s.trust(t, "target,gone.invalid,[127.0.0.1]:*", s.user) // which would accuse it
	_, err := s.reach(t, runtime.Place{Key: s.pin()})
	s.wants(t, err, "", "")
	_, err = s.reach(t, runtime.Place{Key: other + "\n" + s.pin(), Trust: runtime.TrustFirstUse})
	s.wants(t, err, "", "")
	s.trust(t, "target,gone.invalid,[127.0.0.1]:*", s.host) // which would vouch for it
	_, err = s.reach(t, runtime.Place{Key: other})
	s.wants(t, err, "IS NOT THE PINNED ONE: it shows "+fingerprint(s.host.signer.PublicKey()), "before a machine is installed")
	if _, err := os.Stat(s.contacts); err == nil {
		t.Error("a pinned key was recorded")
	}
}

// A certificate for a pinned key is as good as the key, whoever has signed it.
func TestCertificateOfAPinnedKey(t *testing.T) {
	s := newPlaced(t)
	p := NewPool(Config{SSHConfig: s.placedConfig(t)})
	defer p.Close()
	text, err := os.ReadFile(s.host.file + "-cert.pub")
	must(t, err)
	certificate, _, _, _, err := ssh.ParseAuthorizedKey(text)
	must(t, err)
	for _, k := range []key{s.host, s.user} {
		e, err := p.endpoint(inTime(t), target.At(runtime.Place{Address: "127.0.0.1", Key: authorizedKey(k.signer.PublicKey())}))
		must(t, err)
		check, err := p.newHostKeyCheck(e, func() {})
		must(t, err)
		if err := check.callback("", nil, certificate); (err == nil) != (k == s.host) {
			t.Errorf("with the key %s pinned: %v", k.file, err)
		}
	}
}

func TestKnownByItsOwnName(t *testing.T) {
	s := newPlaced(t)
	s.trust(t, "gone.invalid", s.host)
	_, err := s.reach(t, runtime.Place{Trust: runtime.TrustKnown})
	s.wants(t, err, "", "")
	s.trust(t, fmt.Sprintf("127.0.0.1,[127.0.0.1]:%d", s.port), s.host)
	_, err = s.reach(t, runtime.Place{Trust: runtime.TrustKnown})
	s.wants(t, err, "the host key of target", "known_hosts: gone.invalid ssh-ed25519")
	s.trust(t, "gone.invalid", s.user)
	_, err = s.reach(t, runtime.Place{Trust: runtime.TrustKnown})
	s.wants(t, err, "THE HOST KEY OF target", "")
	s.host.certify(t, s.hostCA, ssh.HostCert, time.Now().Add(time.Hour), "gone.invalid")
	s.restart(t)
	s.trust(t, "@cert-authority gone.invalid", s.hostCA)
	_, err = s.reach(t, runtime.Place{Trust: runtime.TrustKnown})
	s.wants(t, err, "", "")
}

func TestFirstUse(t *testing.T) {
	s := newPlaced(t)
	s.trust(t, "gone.invalid", s.user)
	known, err := os.ReadFile(filepath.Join(s.dir, "known_hosts"))
	must(t, err)
	first := fingerprint(s.host.signer.PublicKey())
	use := func(instance string) runtime.Place {
		return runtime.Place{Trust: runtime.TrustFirstUse, Instance: instance}
	}

	told, err := s.reach(t, use("server 1"), true)
	s.wants(t, err, "", "")
	if _, err := os.Stat(s.contacts); err == nil || !strings.Contains(told, "a run would record it") {
		t.Errorf("a preview: %v, %q", err, told)
	}
	told, err = s.reach(t, use("server 1"))
	s.wants(t, err, "", "")
	if !strings.Contains(told, "first contact with target") || !strings.Contains(told, first) || strings.Contains(told, "CHANGED") || strings.Count(told, "\n") != 1 {
		t.Errorf("at first use it said %q", told)
	}
	if info, err := os.Stat(s.contacts); err != nil || info.Mode() != 0o600 {
		t.Error(info, err)
	}
	told, err = s.reach(t, use("server 1"))
	s.wants(t, err, "", "")
	if told != "" {
		t.Errorf("at second use it said %q", told)
	}
	s.newHostKey(t)
	_, err = s.reach(t, use("server 1"))
	s.wants(t, err, "HAS CHANGED: it shows "+fingerprint(s.host.signer.PublicKey())+", but instance server 1", "take line 1 out of "+s.contacts)
	told, err = s.reach(t, use("server 2"))
	s.wants(t, err, "", "")
	if !strings.Contains(told, "THE KEY CHANGED from "+first+", of instance server 1") || !strings.Contains(told, fingerprint(s.host.signer.PublicKey())) {
		t.Errorf("of another instance it said %q", told)
	}
	_, err = s.reach(t, use("server 1"))
	s.wants(t, err, "HAS CHANGED", "")
	if now, _ := os.ReadFile(filepath.Join(s.dir, "known_hosts")); string(now) != string(known) {
		t.Errorf("the user's known_hosts is now %s", now)
	}
	must(t, os.WriteFile(s.contacts, []byte("target ssh-ed25519 broken\n"), 0o600))
	_, err = s.reach(t, use("server 2"))
	s.wants(t, err, "line 1, holds no public key", "mend the line")
}

// Two processes that reach a host for the first time agree on its key.
func TestFirstUseByTwoAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".infra", "known_hosts")
	const hosts, each = 20, 4
	var all sync.WaitGroup
	for h := range hosts {
		keys := [each]ssh.PublicKey{}
		for i := range keys {
			keys[i] = newKey(t, filepath.Join(t.TempDir(), "key")).signer.PublicKey()
		}
		winners := make(chan string, each)
		for _, k := range keys {
			all.Go(func() {
				c := &contacts{file: file}
				recorded, _, err := c.record(&contact{host: fmt.Sprint("host ", h), instance: "a/b c=1", key: k})
				if err != nil {
					t.Error(err)
					return
				}
				winners <- authorizedKey(recorded.key)
			})
		}
		all.Wait()
		close(winners)
		first := <-winners
		for k := range winners {
			if k != first {
				t.Errorf("host %d has two keys", h)
			}
		}
	}
	c := &contacts{file: file}
	if recorded, err := c.read(); len(recorded) != hosts || err != nil {
		t.Error(len(recorded), err)
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) != 1 {
		t.Errorf("left: %q", left)
	}
}

// ssh itself, as nix and clan use it, accepts the same key and no other.
func TestOpenSSHGetsTheSameKey(t *testing.T) {
	for _, how := range []runtime.Place{{Key: "pinned"}, {Trust: runtime.TrustFirstUse}, {Trust: runtime.TrustKnown}} {
		s := newPlaced(t)
		s.trust(t, "gone.invalid", s.host)
		if how.Key != "" {
			s.trust(t, "gone.invalid", s.user)
			how.Key = s.pin()
		}
		how.Address = fmt.Sprintf("127.0.0.1:%d", s.port)
		p := NewPool(Config{SSHConfig: s.placedConfig(t), Contacts: s.contacts})
		options, done, err := p.OpenSSH(inTime(t), target.At(how))
		must(t, err)
		argv := []string{"ssh", "-F", s.placedConfig(t), "-o", "BatchMode=yes"}
		for _, o := range options {
			argv = append(argv, "-o", o.Name+"="+o.Value)
		}
		run := func() (string, error) {
			out, err := exec.CommandContext(inTime(t), argv[0], append(argv[1:], "target", "echo", "there")...).CombinedOutput()
			return string(out), err
		}
		if out, err := run(); err != nil || out != "there\n" {
			t.Errorf("%+v: %s %v", how, out, err)
		}
		s.newHostKey(t)
		if out, err := run(); err == nil || !strings.Contains(out, "Host key verification failed") && !strings.Contains(out, "HAS CHANGED") {
			t.Errorf("%+v: another key: %s %v", how, out, err)
		}
		done()
		p.Close()
	}
}

// Hosts of one name share a connection only where all of their place is the same.
func TestConnectionsOfPlaces(t *testing.T) {
	s := newPlaced(t)
	s.trust(t, "gone.invalid", s.host)
	p := NewPool(Config{SSHConfig: s.placedConfig(t), Contacts: s.contacts})
	defer p.Close()
	address := fmt.Sprintf("127.0.0.1:%d", s.port)
	seen := map[*conn]string{}
	for _, place := range []runtime.Place{
		{Address: address}, {Address: address, Key: s.pin()}, {Address: address, Trust: runtime.TrustFirstUse},
		{Address: address, Trust: runtime.TrustFirstUse, Instance: "2"}, {Address: address, Key: s.pin(), Instance: "2"},
	} {
		c, err := p.to(inTime(t), target.At(place))
		must(t, err)
		if again, err := p.to(inTime(t), target.At(place)); again != c || err != nil {
			t.Errorf("%+v: another connection: %v", place, err)
		}
		if other, shared := seen[c]; shared {
			t.Errorf("%+v shares the connection of %s", place, other)
		}
		seen[c] = fmt.Sprintf("%+v", place)
	}
	_, err := p.to(inTime(t), target)
	if !errors.Is(err, ErrUnreachable) {
		t.Errorf("the host as it is declared: %v", err)
	}
	pending := runtime.Place{Address: address, Pending: &runtime.Unknown{Op: "terraform.apply"}}
	if _, err := p.to(inTime(t), target.At(pending)); err == nil || !strings.Contains(err.Error(), "not known yet (known after terraform.apply") {
		t.Error(err)
	}
}

// The lock of a host at an address is taken there, and shared by all places of
// the machine.
func TestLockAtAPlace(t *testing.T) {
	s := newPlaced(t)
	s.restart(t, "SetEnv HOME="+s.dir+" INFRA_LOCK_DIR="+filepath.Join(s.dir, "lock"))
	p := NewPool(Config{SSHConfig: s.placedConfig(t), Contacts: s.contacts})
	defer p.Close()
	address := fmt.Sprintf("127.0.0.1:%d", s.port)
	pinned := target.At(runtime.Place{Address: address, Key: s.pin()})
	first := target.At(runtime.Place{Address: address, Trust: runtime.TrustFirstUse})
	a, err := p.Lock(inTime(t), first, Holder{Run: "1"})
	must(t, err)
	b, err := p.Lock(inTime(t), pinned, Holder{Run: "1"})
	must(t, err)
	if holder, held, err := p.LockHolder(inTime(t), pinned); err != nil || !held || holder.Run != "1" {
		t.Error(holder, held, err)
	}
	must(t, a.Release())
	must(t, b.Release())
	if _, held, err := p.LockHolder(inTime(t), pinned); err != nil || held {
		t.Error(held, err)
	}
	_, err = p.Lock(inTime(t), target.At(runtime.Place{Address: "unresolved.invalid", Key: s.pin()}), Holder{})
	if !errors.Is(err, ErrUnreachable) {
		t.Errorf("a name that leads nowhere: %v", err)
	}
}

// The declared port, user and hops are those at an address too; what the
// configuration derives from the address is derived anew.
func TestEndpointAtAPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ssh_config")
	must(t, os.WriteFile(file, []byte("Host vps\n HostName old.example\n Port 2222\n User admin\n HostKeyAlias the-vps\n ProxyCommand nc %h %p\n"), 0o600))
	p := NewPool(Config{SSHConfig: file})
	defer p.Close()
	for _, tt := range []struct{ ssh, address, want, proxy string }{
		{"vps", "10.0.0.1", "vps (admin@10.0.0.1:2222)", "nc 10.0.0.1 2222"},
		{"root@vps", "10.0.0.1:22", "root@vps (root@10.0.0.1:22)", "nc 10.0.0.1 22"},
		{"ssh://vps:23", "[2001:db8::1]", "ssh://vps:23 (admin@[2001:db8::1]:23)", "nc 2001:db8::1 23"},
		{"ssh://vps?HostName=other.example&ProxyCommand=none", "new.example", "ssh://vps?HostName=other.example&ProxyCommand=none (admin@new.example:2222)", ""},
	} {
		h := &runtime.Host{Name: "vps", SSH: tt.ssh}
		e, err := p.Endpoint(context.Background(), h.At(runtime.Place{Address: tt.address}))
		must(t, err)
		if _, _, alias := e.knownAs(); e.String() != tt.want || e.ProxyCommand != tt.proxy || alias != "the-vps" {
			t.Errorf("%s at %s: %s, by %q, known as %q", tt.ssh, tt.address, &e, e.ProxyCommand, alias)
		}
	}
}

func FuzzParseContacts(f *testing.F) {
	f.Add("a%20b ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJv8Y9bJ0vJYzWcFh5pZ8kTQ0mZ1v8Y9bJ0vJYzWcFh5 instance=1+2 since=2026-01-02T03:04:05Z\n# x\n")
	f.Add("a ssh-ed25519")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseContacts("f", text)
		if err != nil {
			return
		}
		for _, k := range all {
			again, err := parseContact(k.String())
			if err != nil || again.host != k.host || again.instance != k.instance || !sameKey(again.key, k.key) {
				t.Errorf("%q became %+v, %v", k.String(), again, err)
			}
		}
	})
}

func FuzzParsePins(f *testing.F) {
	f.Add("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJv8Y9bJ0vJYzWcFh5pZ8kTQ0mZ1v8Y9bJ0vJYzWcFh5 x\n")
	f.Fuzz(func(t *testing.T, text string) {
		pins, err := ParsePins(text)
		if err != nil {
			return
		}
		again, err := ParsePins(pins)
		if err != nil || again != pins || len((&identity{pins: pins}).keys()) != strings.Count(pins, "\n")+1 {
			t.Errorf("%q became %q, %v", pins, again, err)
		}
	})
}

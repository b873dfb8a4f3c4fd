package fleet

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// validity of the lab's certificates; every Up renews them.
const validity = 30 * 24 * time.Hour

// writeAccess makes both authorities, the user's key and the hosts' keys, and
// the files by which ssh and sshd find them.
func (f *Fleet) writeAccess() error {
	hostCA, err := f.key("ssh", "host_ca")
	if err != nil {
		return err
	}
	userCA, err := f.key("ssh", "user_ca")
	if err != nil {
		return err
	}
	if _, err := f.key("ssh", "id_ed25519"); err != nil {
		return err
	}
	if err := f.certify(userCA, ssh.UserCert, []string{"root"}, "ssh", "id_ed25519"); err != nil {
		return err
	}
	for _, h := range f.Hosts() {
		if h.Cloud {
			continue // the cloud makes its disk
		}
		if err := f.writeHost(h, hostCA, userCA); err != nil {
			return err
		}
	}
	return errors.Join(
		f.writeKnownHosts("@cert-authority * "+line(hostCA.PublicKey())+"\n"),
		f.write(0o600, f.sshConfig(), "ssh_config"),
	)
}

// writeKnownHosts leaves alone what the user's programs have added.
func (f *Fleet) writeKnownHosts(text string) error {
	if _, err := os.Stat(f.path("ssh", "known_hosts")); err == nil {
		return nil
	}
	return f.write(0o600, text, "ssh", "known_hosts")
}

// writeHost makes the files that are copied to the host's /etc.
func (f *Fleet) writeHost(h Host, hostCA, userCA ssh.Signer) error {
	etc := []string{"hosts", h.Name, "etc"}
	key := append(etc, "ssh", "ssh_host_ed25519_key")
	if _, err := f.key(key...); err != nil {
		return err
	}
	if err := f.certify(hostCA, ssh.HostCert, []string{h.Name, h.Address}, key...); err != nil {
		return err
	}
	return errors.Join(
		f.writeMac(h),
		os.MkdirAll(f.path("hosts", h.Name, "root"), 0o700),
		f.write(0o644, h.Name+"\n", append(etc, "hostname")...),
		f.write(0o644, hostNixConf, append(etc, "nix", "nix.conf")...),
		f.write(0o644, line(userCA.PublicKey())+"\n", append(etc, "ssh", "user_ca.pub")...),
		f.write(0o644, fmt.Sprintf(sshdConfig, Port, h.Address), append(etc, "ssh", "sshd_config")...),
	)
}

// loginPath begins as it does on NixOS and on a Mac with nix-darwin.
const loginPath = "/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const sshdConfig = `Port %d
ListenAddress %s
HostKey /etc/ssh/ssh_host_ed25519_key
HostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub
TrustedUserCAKeys /etc/ssh/user_ca.pub
AuthorizedKeysFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PidFile none
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
SetEnv PATH=` + loginPath + "\n"

func (f *Fleet) sshConfig() string {
	var b strings.Builder
	for _, h := range f.Hosts() {
		fmt.Fprintf(&b, "Host %s %s\n  HostName %s\n  Port %d\n  User root\n\n", h.Name, h.Address, h.Address, Port)
	}
	fmt.Fprintf(&b, `Host *
  IdentityFile "%s"
  CertificateFile "%s"
  IdentitiesOnly yes
  UserKnownHostsFile "%s"
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 5
`, f.path("ssh", "id_ed25519"), f.path("ssh", "id_ed25519-cert.pub"), f.path("ssh", "known_hosts"))
	return b.String()
}

// key reads the private key at a path in the state folder, or makes one there.
func (f *Fleet) key(elem ...string) (ssh.Signer, error) {
	text, err := os.ReadFile(f.path(elem...))
	if err == nil {
		return ssh.ParsePrivateKey(text)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, elem[len(elem)-1])
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	return signer, errors.Join(
		f.write(0o600, string(pem.EncodeToMemory(block)), elem...),
		f.write(0o644, line(signer.PublicKey())+"\n", beside(elem, ".pub")...),
	)
}

// certify puts the authority's certificate beside the key at a path.
func (f *Fleet) certify(ca ssh.Signer, kind uint32, principals []string, elem ...string) error {
	key, err := f.key(elem...)
	if err != nil {
		return err
	}
	now := time.Now()
	cert := &ssh.Certificate{
		Key:             key.PublicKey(),
		CertType:        kind,
		KeyId:           "lab " + principals[0],
		ValidPrincipals: principals,
		ValidAfter:      uint64(now.Add(-5 * time.Minute).Unix()),
		ValidBefore:     uint64(now.Add(validity).Unix()),
	}
	if kind == ssh.UserCert {
		cert.Extensions = map[string]string{"permit-pty": "", "permit-port-forwarding": "", "permit-agent-forwarding": ""}
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		return err
	}
	return f.write(0o644, line(cert)+"\n", beside(elem, "-cert.pub")...)
}

// beside is the path with a suffix added to its last element.
func beside(elem []string, suffix string) []string {
	elem = slices.Clone(elem)
	elem[len(elem)-1] += suffix
	return elem
}

// line is a public key as it stands in files, without a line end.
func line(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

package remote

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"infra/runtime"
)

// A hostKeyCheck decides whether a host is the one that its name says. It is
// always strict: StrictHostKeyChecking is not asked.
type hostKeyCheck struct {
	pool        *Pool
	endpoint    *Endpoint
	db          knownHosts
	authorities knownHosts // that may sign for the host
	known       knownHosts // the host's keys
	bare        knownHosts // keys of its name on port 22, which may prove it but not accuse it
	seen        func()     // told when the host has shown a key
	problem     error      // why the key is not accepted
}

func (p *Pool) newHostKeyCheck(e *Endpoint, seen func()) (*hostKeyCheck, error) {
	var db knownHosts
	names := namesOf(e.knownAs())
	if e.as.asksKnownHosts() {
		var err error
		if db, err = p.known.read(e.KnownHosts, names); err != nil {
			return nil, err
		}
	}
	if e.RevokedHostKeys != "" {
		revoked, err := readRevoked(e.RevokedHostKeys)
		if err != nil {
			return nil, err
		}
		db = append(db, revoked...)
	}
	if !e.as.asksKnownHosts() {
		known, err := p.keysOf(e.as)
		return &hostKeyCheck{pool: p, endpoint: e, db: db, known: known, seen: seen}, err
	}
	lines, bare := db.of(names)
	c := &hostKeyCheck{pool: p, endpoint: e, db: db, known: lines.marked(""), seen: seen}
	c.authorities = append(lines.marked("cert-authority"), bare.marked("cert-authority")...)
	if len(c.known) == 0 {
		c.bare = bare.marked("")
	}
	return c, nil
}

// readRevoked reads a list of public keys. A file that cannot be read refuses
// every host, as with ssh.
func readRevoked(file string) (knownHosts, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the revoked host keys: %w", err)
	}
	if bytes.HasPrefix(text, []byte("SSHKRL")) {
		return nil, fmt.Errorf("%s is a key revocation list, which infra cannot read; a list of public keys it can", file)
	}
	var revoked knownHosts
	n := 0
	for line := range bytes.Lines(text) {
		n++
		if key, _, _, _, err := ssh.ParseAuthorizedKey(line); err == nil {
			revoked = append(revoked, knownKey{file, n, "revoked", nil, key})
		}
	}
	return revoked, nil
}

var (
	plainAlgorithms = []string{
		ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
	}
	certificateAlgorithms = []string{
		ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
		ssh.CertAlgoSKED25519v01, ssh.CertAlgoSKECDSA256v01, ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
	}
)

// algorithms asks the host for what can be checked: a certificate where an
// authority is known, then keys of the kinds that are known, then any.
func (c *hostKeyCheck) algorithms() []string {
	var first, last []string
	if len(c.authorities) > 0 {
		first = append(first, certificateAlgorithms...)
	}
	known := append(c.known, c.bare...)
	for _, algorithm := range plainAlgorithms {
		isKnown := slices.ContainsFunc(known, func(k knownKey) bool { return keyType(algorithm) == k.key.Type() })
		if isKnown {
			first = append(first, algorithm)
		} else {
			last = append(last, algorithm)
		}
	}
	return append(first, last...)
}

func keyType(algorithm string) string {
	if algorithm == ssh.KeyAlgoRSASHA512 || algorithm == ssh.KeyAlgoRSASHA256 {
		return ssh.KeyAlgoRSA
	}
	return algorithm
}

// callback is the ssh.HostKeyCallback. It keeps its error, which the handshake
// would wrap in words of its own.
func (c *hostKeyCheck) callback(_ string, _ net.Addr, key ssh.PublicKey) error {
	c.seen()
	c.problem = c.check(key)
	if c.problem == nil {
		c.pool.accepted(c.endpoint, key)
	}
	return c.problem
}

func (c *hostKeyCheck) check(key ssh.PublicKey) error {
	certificate, ok := key.(*ssh.Certificate)
	if !ok {
		return c.checkKey(key)
	}
	if c.authorities.has(certificate.SignatureKey) {
		return c.checkCertificate(certificate)
	}
	if c.known.has(certificate.Key) || c.bare.has(certificate.Key) {
		return c.checkKey(certificate.Key) // signed by a stranger, but known by itself
	}
	return runtime.WithHint(
		fmt.Errorf("%s shows a certificate signed by %s, an authority that is not trusted for it (trusted: %s)",
			c.endpoint, fingerprint(certificate.SignatureKey), places(c.authorities)),
		"if the fingerprint is that of your authority, add this line to %s: @cert-authority %s %s",
		c.file(), c.name(), authorizedKey(certificate.SignatureKey))
}

func (c *hostKeyCheck) checkKey(key ssh.PublicKey) error {
	if k, ok := c.db.revoked(key); ok {
		return fmt.Errorf("THE KEY OF %s IS REVOKED: %s, by %s", c.endpoint, fingerprint(key), k)
	}
	if c.known.has(key) || c.bare.has(key) {
		return nil
	}
	as := c.endpoint.as
	switch {
	case as != nil && as.pins != "":
		return c.notPinned(key)
	case as != nil && as.firstUse:
		return c.firstUse(key)
	case len(c.known) > 0:
		return c.changed(key)
	}
	err := fmt.Errorf("the host key of %s is not known: %s is in none of %s",
		c.endpoint, fingerprint(key), strings.Join(c.endpoint.KnownHosts, ", "))
	return runtime.WithHint(err,
		"compare the fingerprint with the one the host itself shows (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), "+
			"then %sadd this line to %s: %s %s",
		c.accept(), c.file(), c.name(), authorizedKey(key))
}

func (c *hostKeyCheck) changed(key ssh.PublicKey) error {
	return runtime.WithHint(
		fmt.Errorf("THE HOST KEY OF %s HAS CHANGED: it shows %s, but %s says %s. "+
			"Either the host was installed anew, or someone answers in its place. Nothing was sent",
			c.endpoint, fingerprint(key), c.known[0], fingerprint(c.known[0].key)),
		"only when you know why the key changed, and have compared the new fingerprint on the host: ssh-keygen -f %s -R %q, then %sadd this line: %s %s",
		c.known[0].file, c.name(), c.accept(), c.name(), authorizedKey(key))
}

// accept is how a person takes the key of a host over by ssh, which knows
// nothing of an address that only a plan has.
func (c *hostKeyCheck) accept() string {
	if c.endpoint.as != nil {
		return ""
	}
	return "accept it with: ssh " + c.endpoint.Destination + "; or "
}

// checkCertificate is for one that a trusted authority has signed.
func (c *hostKeyCheck) checkCertificate(certificate *ssh.Certificate) error {
	for _, key := range []ssh.PublicKey{certificate.Key, certificate.SignatureKey} {
		if k, ok := c.db.revoked(key); ok {
			return fmt.Errorf("THE KEY OF %s IS REVOKED: %s, by %s", c.endpoint, fingerprint(key), k)
		}
	}
	if certificate.CertType != ssh.HostCert {
		return fmt.Errorf("%s shows a user's certificate in place of a host's", c.endpoint)
	}
	if err := validNow(certificate); err != nil {
		return runtime.WithHint(fmt.Errorf("the host certificate of %s %w", c.endpoint, err),
			"have the authority sign the host's key again")
	}
	principal, ok := c.principal(certificate)
	if !ok {
		return runtime.WithHint(
			fmt.Errorf("the host certificate of %s is for %s, not for %s",
				c.endpoint, strings.Join(certificate.ValidPrincipals, ", "), principal),
			"have the key signed for %s as well (ssh-keygen -s CA -h -n ...), or reach the host by one of the certificate's names (HostKeyAlias)", principal)
	}
	checker := ssh.CertChecker{}
	if err := checker.CheckCert(principal, certificate); err != nil {
		return fmt.Errorf("the host certificate of %s: %w", c.endpoint, err)
	}
	return nil
}

// principal is the certificate's principal that means the host, or else the
// name that is missing.
func (c *hostKeyCheck) principal(certificate *ssh.Certificate) (string, bool) {
	hostName, _, alias := c.endpoint.knownAs()
	name := strings.ToLower(hostName)
	if alias != "" {
		name = alias
	}
	for _, p := range certificate.ValidPrincipals {
		if matchPattern(strings.ToLower(p), strings.ToLower(name)) {
			return p, true
		}
	}
	return name, len(certificate.ValidPrincipals) == 0
}

var errNotYetValid = errors.New("is not valid yet")

// validNow says since when a certificate is not valid any more.
func validNow(certificate *ssh.Certificate) error {
	now := uint64(time.Now().Unix())
	switch {
	case certificate.ValidBefore != ssh.CertTimeInfinity && now >= certificate.ValidBefore:
		return fmt.Errorf("expired at %s", moment(certificate.ValidBefore))
	case now < certificate.ValidAfter:
		return fmt.Errorf("%w: it will be at %s", errNotYetValid, moment(certificate.ValidAfter))
	}
	return nil
}

func moment(seconds uint64) string {
	return time.Unix(int64(seconds), 0).Format("2006-01-02 15:04:05 MST")
}

func fingerprint(key ssh.PublicKey) string {
	kind := strings.TrimPrefix(key.Type(), "ssh-")
	return strings.ToUpper(kind) + " " + ssh.FingerprintSHA256(key)
}

func authorizedKey(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func places(keys knownHosts) string {
	var all []string
	for _, k := range keys {
		all = append(all, k.String())
	}
	return strings.Join(all, "; ")
}

// file is where a new line would go.
func (c *hostKeyCheck) file() string {
	if len(c.endpoint.KnownHosts) == 0 {
		return "a UserKnownHostsFile"
	}
	return c.endpoint.KnownHosts[0]
}

// name is what known_hosts calls the host.
func (c *hostKeyCheck) name() string {
	hostName, port, alias := c.endpoint.knownAs()
	switch {
	case alias != "":
		return alias
	case port == 22:
		return hostName
	}
	return "[" + hostName + "]:" + strconv.Itoa(port)
}

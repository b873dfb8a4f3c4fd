package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"infra/runtime"
)

// A credential is a key or a certificate that can be offered to a host.
type credential struct {
	label  string
	signer ssh.Signer
}

// credentials are what may be offered to one endpoint, in order.
type credentials struct {
	offers    []credential
	held      []string // what cannot be offered, and why
	hint      string   // what to do about that
	agentConn net.Conn // nil without an agent; signing needs it
	agent     []credential
	files     *fileCache[keyFile]
}

// A keyFile is what an IdentityFile holds.
type keyFile struct {
	text []byte
	key  credential
	err  error // why it holds no private key that can be used
}

func parseKeyFile(file string) func(text []byte) keyFile {
	return func(text []byte) keyFile {
		signer, err := ssh.ParsePrivateKey(text)
		if err != nil {
			return keyFile{text: text, err: err}
		}
		return keyFile{key: credential{describe(signer.PublicKey(), file), signer}}
	}
}

// gather collects certificates first, then the identity files, then what else
// the agent has: servers count the offers.
func gather(e *Endpoint, files *fileCache[keyFile]) *credentials {
	c := &credentials{files: files}
	c.askAgent(e)
	var keys []credential
	for _, file := range e.IdentityFiles {
		if key, ok := c.identity(file); ok {
			keys = append(keys, key)
			c.certificate(file+"-cert.pub", []credential{key}, false)
		}
	}
	for _, file := range e.Certificates {
		c.certificate(file, slices.Concat(keys, c.agent), true)
	}
	for _, key := range keys {
		c.offer(key)
	}
	if !e.IdentitiesOnly {
		for _, key := range c.agent {
			c.offer(key)
		}
	}
	return c
}

// close lets go of the agent.
func (c *credentials) close() {
	if c.agentConn != nil {
		c.agentConn.Close()
	}
}

// offer adds what was not added yet and is valid now.
func (c *credentials) offer(offered credential) {
	public := offered.signer.PublicKey()
	if slices.ContainsFunc(c.offers, func(o credential) bool { return sameKey(o.signer.PublicKey(), public) }) {
		return
	}
	if certificate, ok := public.(*ssh.Certificate); ok {
		if err := validNow(certificate); err != nil {
			c.hold("%s %w", offered.label, err)
			c.hint = "get a new certificate from your authority"
			return
		}
	}
	c.offers = append(c.offers, offered)
}

func (c *credentials) hold(format string, args ...any) {
	text := fmt.Errorf(format, args...).Error()
	if !slices.Contains(c.held, text) {
		c.held = append(c.held, text)
	}
}

// agentPatience bounds what an agent that does not answer can cost.
const agentPatience = 5 * time.Second

func (c *credentials) askAgent(e *Endpoint) {
	if e.IdentityAgent == "" {
		return
	}
	conn, err := net.DialTimeout("unix", e.IdentityAgent, agentPatience)
	if err != nil {
		c.hold("the agent does not answer: %w", err)
		return
	}
	c.agentConn = conn
	client := agent.NewClient(conn)
	_ = conn.SetDeadline(time.Now().Add(agentPatience)) // a unix socket can
	keys, err := client.List()
	if err != nil {
		c.hold("the agent does not list its keys: %w", err)
		return
	}
	signers, err := client.Signers()
	if err != nil || len(signers) != len(keys) {
		c.hold("the agent does not give its keys: %w", err)
		return
	}
	_ = conn.SetDeadline(time.Time{}) // signing may wait for a person's touch
	for i, signer := range signers {
		c.agent = append(c.agent, credential{describe(signer.PublicKey(), "of the agent, "+keys[i].Comment), signer})
	}
}

// describe names a key or a certificate for a person.
func describe(key ssh.PublicKey, where string) string {
	if certificate, ok := key.(*ssh.Certificate); ok {
		return fmt.Sprintf("the certificate %s (for %s)", where, strings.Join(certificate.ValidPrincipals, ", "))
	}
	return fmt.Sprintf("the key %s (%s)", where, fingerprint(key))
}

// identity finds the key of an IdentityFile: in the agent by its public half,
// or in the file.
func (c *credentials) identity(file string) (credential, bool) {
	held, err := c.files.of(file, parseKeyFile(file))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.hold("the key %s cannot be read: %w", file, err)
	}
	if err == nil && held.err == nil {
		return held.key, true
	}
	var locked *ssh.PassphraseMissingError
	encrypted := err == nil && errors.As(held.err, &locked)
	if public := publicHalf(file, held.text, locked); public != nil {
		for _, key := range c.agent {
			if sameKey(key.signer.PublicKey(), public) {
				return credential{describe(public, file+", in the agent"), key.signer}, true
			}
		}
	}
	switch {
	case encrypted:
		c.hold("the key %s is encrypted and not in the agent", file)
		c.hint = "ssh-add " + file
	case errors.Is(err, os.ErrNotExist) && !isDefaultIdentity(file):
		c.hold("the key %s does not exist", file)
	case err == nil && publicHalf(file, held.text, nil) == nil:
		c.hold("the key %s cannot be read: %w", file, held.err)
	}
	return credential{}, false
}

// isDefaultIdentity says whether ssh tries the file without being told to.
func isDefaultIdentity(file string) bool {
	return filepath.Base(filepath.Dir(file)) == ".ssh" && strings.HasPrefix(filepath.Base(file), "id_")
}

func publicHalf(file string, text []byte, locked *ssh.PassphraseMissingError) ssh.PublicKey {
	if locked != nil && locked.PublicKey != nil {
		return locked.PublicKey
	}
	if key, _, _, _, err := ssh.ParseAuthorizedKey(text); err == nil {
		return key
	}
	text, err := os.ReadFile(file + ".pub")
	if err != nil {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil
	}
	return key
}

// certificate offers the one in file, with the key among keys that it is for.
func (c *credentials) certificate(file string, keys []credential, must bool) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) && !must {
		return
	}
	if err != nil {
		c.hold("the certificate %s cannot be read: %w", file, err)
		return
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(text)
	certificate, ok := public.(*ssh.Certificate)
	if err != nil || !ok {
		c.hold("%s holds no certificate", file)
		return
	}
	for _, key := range keys {
		if !sameKey(key.signer.PublicKey(), certificate.Key) {
			continue
		}
		signer, err := ssh.NewCertSigner(certificate, key.signer)
		if err != nil {
			c.hold("the certificate %s: %w", file, err)
			return
		}
		c.offer(credential{describe(certificate, file), signer})
		return
	}
	c.hold("the private key of the certificate %s is at hand in no identity file and not in the agent", file)
}

// method is what the handshake tries.
func (c *credentials) method() []ssh.AuthMethod {
	signers := make([]ssh.Signer, len(c.offers))
	for i, o := range c.offers {
		signers[i] = o.signer
	}
	return []ssh.AuthMethod{ssh.PublicKeys(signers...)}
}

// refusedBy is the error of a login that failed.
func (c *credentials) refusedBy(e *Endpoint, err error) error {
	var offered []string
	for _, o := range c.offers {
		offered = append(offered, o.label)
	}
	text := "no key was offered"
	if len(offered) > 0 {
		text = "it took none of: " + strings.Join(offered, "; ")
	}
	if len(c.held) > 0 {
		text += "; not offered, because " + strings.Join(c.held, "; ")
	}
	err = fmt.Errorf("%s refuses the login: %s: %w", e, text, err)
	switch {
	case c.hint != "":
		return runtime.WithHint(err, "%s", c.hint)
	case len(offered) == 0:
		return runtime.WithHint(err, "name a key by IdentityFile in ssh's configuration, or put one into the agent with ssh-add")
	}
	return runtime.WithHint(err, "is one of these keys, or the authority of the certificate, trusted for the user %s there? ssh -v %s says more",
		e.User, e.Destination)
}

// dropWith ends the wait for an agent when ctx ends.
func (c *credentials) dropWith(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, c.close)
}

package sops

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"filippo.io/age/plugin"
	sopsage "github.com/getsops/sops/v3/age"
	"golang.org/x/crypto/ssh"
)

// largestKeyFile bounds what is read as a file of identities; it is sops' own bound.
const largestKeyFile = 16 << 20

// An identity is what may unwrap a data key.
type identity struct {
	age.Identity
	public string // how a person knows it: the public key, never the private one
	asks   bool   // it may want a touch, a PIN or a passphrase
}

// A place is where an identity was looked for.
type place struct {
	name string
	ids  []identity
	note string // why there is none
}

// String says what the place holds.
func (p place) String() string {
	if len(p.ids) == 0 {
		return p.name + ": " + p.note
	}
	var public []string
	for _, id := range p.ids {
		public = append(public, id.public)
	}
	return p.name + ": " + strings.Join(public, ", ")
}

// places looks where sops looks, in the order of its documentation, and on
// macOS in ~/.config too. Key commands are not among them: see commands.
func places(ui *plugin.ClientUI) []place {
	home, _ := os.UserHomeDir()
	out := []place{
		variable(sopsage.SopsAgeKeyEnv, false, func(v string) ([]identity, error) { return parseIdentities(v, true, ui) }),
		variable(sopsage.SopsAgeKeyFileEnv, true, func(v string) ([]identity, error) { return keyFile(v, ui) }),
		variable(sopsage.SopsAgeSshPrivateKeyFileEnv, true, func(v string) ([]identity, error) { return sshKeyFile(v, ui) }),
	}
	for _, path := range keyFiles(goruntime.GOOS, home, os.Getenv("XDG_CONFIG_HOME")) {
		out = append(out, found(path, func() ([]identity, error) { return keyFile(path, ui) }))
	}
	if home == "" {
		return out
	}
	for _, name := range []string{"id_ed25519", "id_rsa"} {
		path := filepath.Join(home, ".ssh", name)
		out = append(out, found(path, func() ([]identity, error) { return sshKeyFile(path, ui) }))
	}
	return out
}

// keyFiles lists the files of identities that need no variable.
func keyFiles(goos, home, xdg string) []string {
	dirs := []string{}
	if xdg != "" {
		dirs = append(dirs, xdg)
	}
	if home != "" && (xdg == "" || goos == "darwin") {
		dirs = append(dirs, filepath.Join(home, ".config"))
	}
	if home != "" && goos == "darwin" {
		dirs = append(dirs, filepath.Join(home, "Library", "Application Support"))
	}
	var files []string
	for _, dir := range dirs {
		files = append(files, filepath.Join(dir, filepath.FromSlash(sopsage.SopsAgeKeyUserConfigPath)))
	}
	return slices.Compact(files)
}

// variable is the place that an environment variable is or, where it may be
// shown, points to.
func variable(name string, show bool, load func(value string) ([]identity, error)) place {
	v, ok := os.LookupEnv(name)
	if !ok {
		return place{name: name, note: "not set"}
	}
	if v == "" {
		return place{name: name, note: "empty"}
	}
	if name != sopsage.SopsAgeKeyEnv && holdsKey(v) {
		return place{name: name, note: "is a key itself, where a file's name or a command is wanted"}
	}
	if show {
		name += "=" + v
	}
	return found(name, func() ([]identity, error) { return load(v) })
}

// holdsKey tells a private key that was put into the wrong variable, which
// must not be shown as a file's name.
func holdsKey(v string) bool {
	v = strings.TrimSpace(v)
	return strings.HasPrefix(v, "AGE-SECRET-KEY-") || strings.HasPrefix(v, "-----BEGIN")
}

func found(name string, load func() ([]identity, error)) place {
	ids, err := load()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return place{name: name, note: "no such file"}
	case errors.Is(err, fs.ErrPermission):
		return place{name: name, note: "permission denied"}
	case err != nil:
		return place{name: name, note: err.Error()}
	case len(ids) == 0:
		return place{name: name, note: "holds no identity"}
	}
	return place{name: name, ids: ids}
}

// keyFile reads age's identity files, one that a passphrase locks included.
func keyFile(path string, ui *plugin.ClientUI) ([]identity, error) {
	data, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(data, []byte("-----BEGIN AGE")):
		if data, err = io.ReadAll(armor.NewReader(bytes.NewReader(data))); err != nil {
			return nil, errors.New("the armor round it is damaged")
		}
		return lockedFile(path, data, ui), nil
	case bytes.HasPrefix(data, []byte("age-encryption")):
		return lockedFile(path, data, ui), nil
	}
	return parseIdentities(string(data), false, ui)
}

func lockedFile(path string, data []byte, ui *plugin.ClientUI) []identity {
	id := &sopsage.EncryptedIdentity{
		Contents: data,
		Passphrase: func() (string, error) {
			return ui.RequestValue("", fmt.Sprintf("Passphrase of the identities in %s:", path), true)
		},
		NoMatchWarning:      func() {},
		IncorrectPassphrase: func() {},
	}
	return []identity{{id, "identities that a passphrase locks", true}}
}

func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, largestKeyFile+1))
	if err == nil && len(data) > largestKeyFile {
		return nil, errors.New("too long for a file of identities")
	}
	return data, err
}

// parseIdentities reads an identity a line, or, as SOPS_AGE_KEY may have them,
// several. One bad line spoils the place, as it does for sops; its text is not
// in the error, since it may be a key with a slip in it.
func parseIdentities(text string, several bool, ui *plugin.ClientUI) ([]identity, error) {
	var ids []identity
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := []string{line}
		if several {
			words = strings.Fields(line)
		}
		for _, word := range words {
			id, err := parseIdentity(word, ui)
			if err != nil {
				return nil, fmt.Errorf("line %d is no age identity", n)
			}
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func parseIdentity(s string, ui *plugin.ClientUI) (identity, error) {
	switch {
	case strings.HasPrefix(s, "AGE-PLUGIN-"):
		id, err := plugin.NewIdentity(s, ui)
		if err != nil {
			return identity{}, err
		}
		return identity{id, "an identity of age-plugin-" + id.Name(), true}, nil
	case strings.HasPrefix(s, "AGE-SECRET-KEY-PQ-1"):
		id, err := age.ParseHybridIdentity(s)
		if err != nil {
			return identity{}, err
		}
		return identity{id, shorten(id.Recipient().String()), false}, nil
	}
	id, err := age.ParseX25519Identity(s)
	if err != nil {
		return identity{}, err
	}
	return identity{id, id.Recipient().String(), false}, nil
}

func sshKeyFile(path string, ui *plugin.ClientUI) ([]identity, error) {
	pem, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	id, err := parseSSHKey(pem)
	var locked *ssh.PassphraseMissingError
	if !errors.As(err, &locked) {
		return id, err
	}
	public := locked.PublicKey
	if public == nil { // the old PEM format does not have it
		if public, err = publicKeyFile(path + ".pub"); err != nil {
			return nil, fmt.Errorf("a passphrase locks it, and its public key is needed: %w", err)
		}
	}
	enc, err := agessh.NewEncryptedSSHIdentity(public, pem, func() ([]byte, error) {
		s, err := ui.RequestValue("", fmt.Sprintf("Passphrase of %s:", path), true)
		return []byte(s), err
	})
	if err != nil {
		return nil, fmt.Errorf("age cannot use a key of type %s", public.Type())
	}
	return []identity{{enc, authorized(public) + " (a passphrase locks it)", true}}, nil
}

// parseSSHKey fails with a [ssh.PassphraseMissingError] where a passphrase locks the key.
func parseSSHKey(pem []byte) ([]identity, error) {
	signer, err := ssh.ParsePrivateKey(pem)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, locked
	}
	if err != nil {
		return nil, errors.New("not an SSH private key")
	}
	id, err := agessh.ParseIdentity(pem)
	if err != nil {
		return nil, fmt.Errorf("age cannot use a key of type %s", signer.PublicKey().Type())
	}
	return []identity{{id, authorized(signer.PublicKey()), false}}, nil
}

func publicKeyFile(path string) (ssh.PublicKey, error) {
	data, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(data)
	return key, err
}

func authorized(key ssh.PublicKey) string {
	return shorten(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))))
}

// shorten cuts public keys that would fill a screen; post-quantum ones have
// 1959 characters.
func shorten(s string) string {
	if len(s) <= 100 {
		return s
	}
	return s[:48] + "..." + s[len(s)-16:]
}

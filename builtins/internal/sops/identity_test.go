package sops

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
	"filippo.io/age/plugin"
	"github.com/getsops/sops/v3"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

// sshKey makes a key pair as ssh-keygen does; passphrase "" locks nothing.
func sshKey(t *testing.T, kind, passphrase string) (private []byte, public string) {
	t.Helper()
	var key any
	var err error
	if kind == "rsa" {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	must(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	must(t, err)
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	must(t, err)
	return pem.EncodeToMemory(block), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

// Identities are found in every place where sops finds them.
func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(t *testing.T, home string) (recipient string)
	}{
		{"SOPS_AGE_KEY, several in a line", func(t *testing.T, _ string) string {
			id := newKey(t)
			t.Setenv("SOPS_AGE_KEY", "# a note\n"+newKey(t).String()+" "+id.String()+"\n")
			return id.Recipient().String()
		}},
		{"SOPS_AGE_KEY, post-quantum", func(t *testing.T, _ string) string {
			id, err := age.GenerateHybridIdentity()
			must(t, err)
			t.Setenv("SOPS_AGE_KEY", id.String())
			return id.Recipient().String()
		}},
		{"SOPS_AGE_KEY_FILE", func(t *testing.T, home string) string {
			id := newKey(t)
			write(t, filepath.Join(home, "k"), []byte("# created: today\r\n\r\n"+id.String()+"\r\n"))
			t.Setenv("SOPS_AGE_KEY_FILE", filepath.Join(home, "k"))
			return id.Recipient().String()
		}},
		{"SOPS_AGE_KEY_CMD", func(t *testing.T, home string) string {
			id := newKey(t)
			r := id.Recipient().String()
			script := fmt.Sprintf("#!/bin/sh\ntest \"$SOPS_AGE_RECIPIENT\" = %s && echo %s\n", r, id)
			write(t, filepath.Join(home, "get key"), []byte(script))
			must(t, os.Chmod(filepath.Join(home, "get key"), 0o700))
			t.Setenv("SOPS_AGE_KEY_CMD", fmt.Sprintf("'%s/get key' now", home))
			return r
		}},
		{"XDG_CONFIG_HOME", func(t *testing.T, home string) string {
			id := newKey(t)
			write(t, filepath.Join(home, "xdg/sops/age/keys.txt"), []byte(id.String()))
			t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "xdg"))
			return id.Recipient().String()
		}},
		{".config", func(t *testing.T, home string) string {
			id := newKey(t)
			write(t, filepath.Join(home, ".config/sops/age/keys.txt"), []byte(id.String()))
			return id.Recipient().String()
		}},
		{"SOPS_AGE_SSH_PRIVATE_KEY_FILE", func(t *testing.T, home string) string {
			private, public := sshKey(t, "ed25519", "")
			write(t, filepath.Join(home, "k"), private)
			t.Setenv("SOPS_AGE_SSH_PRIVATE_KEY_FILE", filepath.Join(home, "k"))
			return public
		}},
		{"SOPS_AGE_SSH_PRIVATE_KEY_CMD", func(t *testing.T, home string) string {
			private, public := sshKey(t, "ed25519", "")
			write(t, filepath.Join(home, "k"), private)
			t.Setenv("SOPS_AGE_SSH_PRIVATE_KEY_CMD", "cat "+filepath.Join(home, "k"))
			return public
		}},
		{"id_ed25519", func(t *testing.T, home string) string {
			private, public := sshKey(t, "ed25519", "")
			write(t, filepath.Join(home, ".ssh/id_ed25519"), private)
			return public
		}},
		{"id_rsa", func(t *testing.T, home string) string {
			private, public := sshKey(t, "rsa", "")
			write(t, filepath.Join(home, ".ssh/id_rsa"), private)
			return public
		}},
		{"one place is broken, another is not", func(t *testing.T, home string) string {
			id := newKey(t)
			write(t, filepath.Join(home, ".config/sops/age/keys.txt"), []byte("nonsense"))
			t.Setenv("SOPS_AGE_KEY_FILE", filepath.Join(home, "absent"))
			t.Setenv("SOPS_AGE_KEY", "AGE-PLUGIN-ABSENT-1QQQQQ")
			t.Setenv("SOPS_AGE_KEY_CMD", "echo "+id.String())
			return id.Recipient().String()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			home := lonely(t)
			recipient := c.setup(t, home)
			root := t.TempDir()
			write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", "v: value\n", recipient).Bytes(t))
			f, err := open(t, root, "a.yaml")
			must(t, err)
			if got := get(t, f, "v"); got != "value" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestKeyFiles(t *testing.T) {
	const rest = "/sops/age/keys.txt"
	for _, c := range []struct {
		goos, home, xdg string
		want            []string
	}{
		{"linux", "/h", "", []string{"/h/.config" + rest}},
		{"linux", "/h", "/x", []string{"/x" + rest}},
		{"linux", "", "", nil},
		{"darwin", "/h", "", []string{"/h/.config" + rest, "/h/Library/Application Support" + rest}},
		{"darwin", "/h", "/x", []string{"/x" + rest, "/h/.config" + rest, "/h/Library/Application Support" + rest}},
		{"darwin", "/h", "/h/.config", []string{"/h/.config" + rest, "/h/Library/Application Support" + rest}},
	} {
		if diff := cmp.Diff(c.want, keyFiles(c.goos, c.home, c.xdg)); diff != "" {
			t.Errorf("%s %q %q: %s", c.goos, c.home, c.xdg, diff)
		}
	}
}

// answering is a terminal at which somebody types.
func answering(asked *int, passphrase string) *plugin.ClientUI {
	return &plugin.ClientUI{RequestValue: func(string, string, bool) (string, error) {
		*asked++
		return passphrase, nil
	}}
}

func TestLockedIdentities(t *testing.T) {
	id := newKey(t)
	scrypt, err := age.NewScryptRecipient("pass-phrase")
	must(t, err)
	scrypt.SetWorkFactor(10)
	lock := func(w io.Writer) {
		e, err := age.Encrypt(w, scrypt)
		must(t, err)
		fmt.Fprintln(e, id)
		must(t, e.Close())
	}
	var binary, armored bytes.Buffer
	lock(&binary)
	a := armor.NewWriter(&armored)
	lock(a)
	must(t, a.Close())
	sshPrivate, sshPublic := sshKey(t, "ed25519", "pass-phrase")

	for _, c := range []struct {
		name      string
		file      []byte
		load      func(string, *plugin.ClientUI) ([]identity, error)
		recipient string
	}{
		{"age file", binary.Bytes(), keyFile, id.Recipient().String()},
		{"armored age file", armored.Bytes(), keyFile, id.Recipient().String()},
		{"ssh key", sshPrivate, sshKeyFile, sshPublic},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "k")
			write(t, path, c.file)
			s := seal(t, "a.yaml", "v: value\n", c.recipient)
			wrapped := string(s.Tree.Metadata.KeyGroups[0][0].EncryptedDataKey())
			asked := 0
			ids, err := c.load(path, answering(&asked, "pass-phrase"))
			must(t, err)
			for range 2 {
				key, err := unwrapWith(ids[0], wrapped)
				must(t, err)
				if !bytes.Equal(key, s.Tree.Metadata.DataKey) {
					t.Error("another data key")
				}
			}
			if asked != 1 || !ids[0].asks {
				t.Errorf("asked %d times, asks %v", asked, ids[0].asks)
			}
			ids, err = c.load(path, answering(&asked, "wrong"))
			must(t, err)
			if _, err := unwrapWith(ids[0], wrapped); err == nil || errors.Is(err, age.ErrIncorrectIdentity) {
				t.Errorf("a wrong passphrase gave %v", err)
			}
		})
	}
}

// What needs nobody comes before what asks a person.
func TestNobodyIsAskedInVain(t *testing.T) {
	home := lonely(t)
	id := newKey(t)
	pluginKey, count := installPlugin(t, id)
	t.Setenv("SOPS_AGE_KEY", pluginKey)
	write(t, filepath.Join(home, ".config/sops/age/keys.txt"), []byte(id.String()))
	t.Setenv("SOPS_AGE_KEY_CMD", "touch "+filepath.Join(home, "commanded"))
	root := t.TempDir()
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", "v: value\n", id.Recipient().String()).Bytes(t))
	_, err := open(t, root, "a.yaml")
	must(t, err)
	if n := touches(t, count); n != 0 {
		t.Errorf("the key was touched %d times", n)
	}
	if _, err := os.Stat(filepath.Join(home, "commanded")); err == nil {
		t.Error("the key command was run")
	}
}

func TestEitherRecipient(t *testing.T) {
	lonely(t)
	ann, bob, eve := newKey(t), newKey(t), newKey(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", "v: value\n", ann.Recipient().String(), bob.Recipient().String()).Bytes(t))
	for _, who := range []*age.X25519Identity{ann, bob} {
		t.Setenv("SOPS_AGE_KEY", who.String())
		f, err := open(t, root, "a.yaml")
		must(t, err)
		if got := get(t, f, "v"); got != "value" {
			t.Errorf("got %q", got)
		}
	}
	t.Setenv("SOPS_AGE_KEY", eve.String())
	_, err := open(t, root, "a.yaml")
	checkError(t, err, "no key here can decrypt a.yaml", "sops updatekeys a.yaml")
	for _, r := range []string{ann.Recipient().String(), bob.Recipient().String(), "SOPS_AGE_KEY: " + eve.Recipient().String()} {
		checkError(t, err, r, "")
	}
}

// TestMisnamedRecipients: whose name a wrapped key has is a note of who wrote the
// file, and not what decides.
func TestMisnamedRecipients(t *testing.T) {
	lonely(t)
	ann, bob := newKey(t), newKey(t)
	a, b := ann.Recipient().String(), bob.Recipient().String()
	root := t.TempDir()
	sealed := string(seal(t, "a.yaml", "v: value\n", a, b).Bytes(t))
	swapped := strings.NewReplacer(a, b, b, a).Replace(sealed)
	if swapped == sealed {
		t.Fatalf("it names nobody:\n%s", sealed)
	}
	write(t, filepath.Join(root, "a.yaml"), []byte(swapped))
	for _, who := range []*age.X25519Identity{ann, bob} {
		t.Setenv("SOPS_AGE_KEY", who.String())
		f, err := open(t, root, "a.yaml")
		must(t, err)
		if got := get(t, f, "v"); got != "value" {
			t.Errorf("got %q", got)
		}
	}
}

func TestKeyGroups(t *testing.T) {
	lonely(t)
	ann, bob, cyd := newKey(t), newKey(t), newKey(t)
	root := t.TempDir()
	s := sealWith(t, "a.yaml", "v: value\n", sops.Metadata{ShamirThreshold: 2, KeyGroups: []sops.KeyGroup{
		group(t, ann.Recipient().String()), group(t, bob.Recipient().String()), group(t, cyd.Recipient().String()),
	}})
	write(t, filepath.Join(root, "a.yaml"), s.Bytes(t))
	t.Setenv("SOPS_AGE_KEY", ann.String()+" "+cyd.String())
	f, err := open(t, root, "a.yaml")
	must(t, err)
	if got := get(t, f, "v"); got != "value" {
		t.Errorf("got %q", got)
	}
	t.Setenv("SOPS_AGE_KEY", bob.String())
	_, err = open(t, root, "a.yaml")
	checkError(t, err, "group 3: age "+cyd.Recipient().String(), "updatekeys")
}

// The error lists every place and what it held, but no private key.
func TestNoIdentity(t *testing.T) {
	home := lonely(t)
	other, slip := newKey(t), newKey(t).String()
	private, public := sshKey(t, "ed25519", "pass-phrase")
	write(t, filepath.Join(home, "keys"), []byte(other.String()))
	write(t, filepath.Join(home, ".config/sops/age/keys.txt"), []byte("# mine\n"+slip[:len(slip)-1]+"B\n"))
	write(t, filepath.Join(home, ".ssh/id_ed25519"), private)
	t.Setenv("SOPS_AGE_KEY", "")
	t.Setenv("SOPS_AGE_KEY_FILE", filepath.Join(home, "keys"))
	t.Setenv("SOPS_AGE_SSH_PRIVATE_KEY_FILE", filepath.Join(home, "keys"))
	t.Setenv("SOPS_AGE_KEY_CMD", "false")
	wanted := newKey(t).Recipient().String()
	root := t.TempDir()
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", "v: value\n", wanted).Bytes(t))
	_, err := open(t, root, "a.yaml")
	want := "no key here can decrypt a.yaml; it is encrypted for:\n" +
		"  age " + wanted + "\n" +
		"an age identity was looked for in:\n" +
		"  SOPS_AGE_KEY: empty\n" +
		"  SOPS_AGE_KEY_FILE=" + home + "/keys: " + other.Recipient().String() + "\n" +
		"  SOPS_AGE_SSH_PRIVATE_KEY_FILE=" + home + "/keys: not an SSH private key\n" +
		"  " + home + "/.config/sops/age/keys.txt: line 2 is no age identity\n" +
		"  " + home + "/.ssh/id_ed25519: " + public + " (a passphrase locks it)\n" +
		"  " + home + "/.ssh/id_rsa: no such file\n" +
		"  SOPS_AGE_KEY_CMD: false: exit status 1\n" +
		"  SOPS_AGE_SSH_PRIVATE_KEY_CMD: not set"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("%s", diff)
	}
	checkQuiet(t, err, other.String(), slip[:40], "PRIVATE KEY-----")
}

// A key in the wrong variable is not shown.
func TestMisplacedKey(t *testing.T) {
	lonely(t)
	key := newKey(t).String()
	t.Setenv("SOPS_AGE_KEY_FILE", key)
	t.Setenv("SOPS_AGE_KEY_CMD", key)
	root := t.TempDir()
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", "v: value\n", newKey(t).Recipient().String()).Bytes(t))
	_, err := open(t, root, "a.yaml")
	checkError(t, err, "SOPS_AGE_KEY_FILE: is a key itself", "")
	checkError(t, err, "SOPS_AGE_KEY_CMD: is a key itself", "")
	checkQuiet(t, err, key)
}

// A key that is added while infra watches is found at the next try.
func TestKeyAddedLater(t *testing.T) {
	home := lonely(t)
	id := newKey(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", "v: value\n", id.Recipient().String()).Bytes(t))
	r, f := NewReader(), FileAt(root, "a.yaml")
	_, err := r.Open(t.Context(), f, io.Discard)
	checkError(t, err, ".config/sops/age/keys.txt: no such file", "")
	write(t, filepath.Join(home, ".config/sops/age/keys.txt"), []byte(id.String()))
	_, err = r.Open(t.Context(), f, io.Discard)
	must(t, err)
}

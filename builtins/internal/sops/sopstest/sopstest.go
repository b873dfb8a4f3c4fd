// Package sopstest makes files as sops makes them, and keys to read them with.
package sopstest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keyservice"

	"infra/runtime"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Lonely gives the test a home of its own without any identity.
func Lonely(t testing.TB) (home string) {
	t.Helper()
	home = t.TempDir()
	t.Setenv("HOME", home)
	for _, name := range []string{
		"XDG_CONFIG_HOME", "SOPS_DECRYPTION_ORDER",
		sopsage.SopsAgeKeyEnv, sopsage.SopsAgeKeyFileEnv, sopsage.SopsAgeKeyCmdEnv,
		sopsage.SopsAgeSshPrivateKeyFileEnv, sopsage.SopsAgeSshPrivateKeyCmdEnv,
	} {
		t.Setenv(name, "") // so that it comes back
		must(t, os.Unsetenv(name))
	}
	return home
}

// WithKey is Lonely with one identity in SOPS_AGE_KEY.
func WithKey(t testing.TB) *age.X25519Identity {
	t.Helper()
	Lonely(t)
	id := NewKey(t)
	t.Setenv("SOPS_AGE_KEY", id.String())
	return id
}

// NewKey makes an age identity.
func NewKey(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	must(t, err)
	return id
}

// Sealed is a tree being made into a sops file.
type Sealed struct {
	Tree  sops.Tree
	Store common.Store
}

// Seal encrypts plain for the recipients as sops encrypt does.
func Seal(t testing.TB, name, plain string, recipients ...string) *Sealed {
	t.Helper()
	return SealWith(t, name, plain, sops.Metadata{KeyGroups: []sops.KeyGroup{Group(t, recipients...)}})
}

// Group is a group of age keys.
func Group(t testing.TB, recipients ...string) sops.KeyGroup {
	t.Helper()
	var g sops.KeyGroup
	for _, r := range recipients {
		key, err := sopsage.MasterKeyFromRecipient(r)
		must(t, err)
		g = append(g, key)
	}
	return g
}

// SealWith is Seal with metadata of the test's choice.
func SealWith(t testing.TB, name, plain string, m sops.Metadata) *Sealed {
	t.Helper()
	m.Version = "3.13.3"
	if m.EncryptedRegex == "" {
		m.UnencryptedSuffix = sops.DefaultUnencryptedSuffix
	}
	s := &Sealed{Store: common.StoreForFormat(formats.FormatForPath(name), config.NewStoresConfig())}
	branches, err := s.Store.LoadPlainFile([]byte(plain))
	must(t, err)
	s.Tree = sops.Tree{Branches: branches, Metadata: m}
	key, errs := s.Tree.GenerateDataKeyWithKeyServices([]keyservice.KeyServiceClient{keyservice.NewLocalClient()})
	must(t, errors.Join(errs...))
	s.encrypt(t, key)
	return s
}

func (s *Sealed) encrypt(t testing.TB, key []byte) {
	t.Helper()
	must(t, common.EncryptTree(common.EncryptTreeOpts{Tree: &s.Tree, Cipher: aes.NewCipher(), DataKey: key}))
}

// Reseal replaces the plain text under the same data key, as sops edit does.
func (s *Sealed) Reseal(t testing.TB, plain string) {
	t.Helper()
	branches, err := s.Store.LoadPlainFile([]byte(plain))
	must(t, err)
	s.Tree.Branches = branches
	s.encrypt(t, s.Tree.Metadata.DataKey)
}

// Bytes is the file.
func (s *Sealed) Bytes(t testing.TB) []byte {
	t.Helper()
	out, err := s.Store.EmitEncryptedFile(s.Tree)
	must(t, err)
	return out
}

// Write makes a file and the folders above it.
func Write(t testing.TB, path string, data []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, data, 0o600))
}

var hash = regexp.MustCompile(`(?i)[0-9a-f]{128}`)

// CheckQuiet fails if an error shows a value or a hash of one.
func CheckQuiet(t testing.TB, err error, values ...string) {
	t.Helper()
	text := fmt.Sprintf("%v %+v %#v %s", err, err, err, runtime.HintOf(err))
	if hash.MatchString(text) {
		t.Errorf("the error has a hash: %s", text)
	}
	for _, v := range values {
		if strings.Contains(text, v) {
			t.Errorf("the error shows the value %q: %s", v, text)
		}
	}
}

// CheckError fails unless an error and its hint have these texts in them.
func CheckError(t testing.TB, err error, wantText, wantHint string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", wantText)
	}
	if !strings.Contains(err.Error(), wantText) {
		t.Errorf("error %q, want %q in it", err, wantText)
	}
	if hint := runtime.HintOf(err); !strings.Contains(hint, wantHint) || wantHint != "" && hint == "" {
		t.Errorf("hint %q, want %q in it", hint, wantHint)
	}
}

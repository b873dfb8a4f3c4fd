package secrets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/plugin"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keyservice"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/builtins/internal/call"
	"infra/runtime"
)

// TestMain makes the test binary a real age plugin when it is started under a
// plugin's name; see installPlugin.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "age-plugin-"+pluginName {
		os.Exit(pluginMain())
	}
	os.Exit(m.Run())
}

const pluginName = "infratest"

// pluginMain unwraps X25519 keys with the identity it is given, says so, and
// counts in a file how often it was asked. With INFRATEST_HANG set it hangs.
func pluginMain() int {
	p, err := plugin.New(pluginName)
	if err != nil {
		return 1
	}
	p.HandleIdentity(func(data []byte) (age.Identity, error) {
		if os.Getenv("INFRATEST_HANG") != "" {
			_, err := io.Copy(io.Discard, os.Stdin) // until the test process is gone
			return nil, err
		}
		f, err := os.OpenFile(os.Getenv("INFRATEST_COUNT"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if _, err := f.WriteString("touched\n"); err != nil {
			return nil, err
		}
		if err := p.DisplayMessage("please touch the key"); err != nil {
			return nil, err
		}
		return age.ParseX25519Identity(string(data))
	})
	return p.Main()
}

// installPlugin puts the plugin on PATH and returns its identity for id and
// the file that counts.
func installPlugin(t *testing.T, id *age.X25519Identity) (identity, count string) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	dir := t.TempDir()
	must(t, os.Symlink(self, filepath.Join(dir, "age-plugin-"+pluginName)))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	count = filepath.Join(dir, "count")
	t.Setenv("INFRATEST_COUNT", count)
	return plugin.EncodeIdentity(pluginName, []byte(id.String())), count
}

func touches(t *testing.T, count string) int {
	t.Helper()
	data, err := os.ReadFile(count)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Count(string(data), "touched")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lonely gives the test a home of its own without any identity.
func lonely(t testing.TB) (home string) {
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

// withKey is lonely with one identity in SOPS_AGE_KEY.
func withKey(t testing.TB) *age.X25519Identity {
	t.Helper()
	lonely(t)
	id := newKey(t)
	t.Setenv("SOPS_AGE_KEY", id.String())
	return id
}

func newKey(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	must(t, err)
	return id
}

// A tree being made into a sops file.
type sealed struct {
	store common.Store
	tree  sops.Tree
}

// seal encrypts plain for the recipients as sops encrypt does.
func seal(t testing.TB, name, plain string, recipients ...string) *sealed {
	t.Helper()
	return sealWith(t, name, plain, sops.Metadata{KeyGroups: []sops.KeyGroup{group(t, recipients...)}})
}

func group(t testing.TB, recipients ...string) sops.KeyGroup {
	t.Helper()
	var g sops.KeyGroup
	for _, r := range recipients {
		key, err := sopsage.MasterKeyFromRecipient(r)
		must(t, err)
		g = append(g, key)
	}
	return g
}

func sealWith(t testing.TB, name, plain string, m sops.Metadata) *sealed {
	t.Helper()
	m.Version = "3.13.3"
	if m.EncryptedRegex == "" {
		m.UnencryptedSuffix = sops.DefaultUnencryptedSuffix
	}
	s := &sealed{store: common.StoreForFormat(formats.FormatForPath(name), config.NewStoresConfig())}
	branches, err := s.store.LoadPlainFile([]byte(plain))
	must(t, err)
	s.tree = sops.Tree{Branches: branches, Metadata: m}
	key, errs := s.tree.GenerateDataKeyWithKeyServices([]keyservice.KeyServiceClient{keyservice.NewLocalClient()})
	must(t, errors.Join(errs...))
	s.encrypt(t, key)
	return s
}

func (s *sealed) encrypt(t testing.TB, key []byte) {
	t.Helper()
	must(t, common.EncryptTree(common.EncryptTreeOpts{Tree: &s.tree, Cipher: aes.NewCipher(), DataKey: key}))
}

// reseal replaces the plain text under the same data key, as sops edit does.
func (s *sealed) reseal(t testing.TB, plain string) {
	t.Helper()
	branches, err := s.store.LoadPlainFile([]byte(plain))
	must(t, err)
	s.tree.Branches = branches
	s.encrypt(t, s.tree.Metadata.DataKey)
}

func (s *sealed) bytes(t testing.TB) []byte {
	t.Helper()
	out, err := s.store.EmitEncryptedFile(s.tree)
	must(t, err)
	return out
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, data, 0o600))
}

func open(t testing.TB, root, name string) (*sopsFile, error) {
	t.Helper()
	doc, err := newReader(root).open(t.Context(), name, io.Discard)
	return &sopsFile{name, doc}, err
}

func get(t testing.TB, f *sopsFile, path string) string {
	t.Helper()
	v, _, err := f.Get(starlark.String(path))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v.(*runtime.Secret).Reveal()
}

func content(t testing.TB, f *sopsFile) string {
	t.Helper()
	v, err := f.Attr("content")
	must(t, err)
	return v.(*runtime.Secret).Reveal()
}

// carryOut is a door that carries everything out.
func carryOut(ctx context.Context, op runtime.Op) (runtime.Result, error) {
	return op.Run(ctx, io.Discard)
}

// runStep runs the body of a step.
func runStep(t testing.TB, root string, do runtime.Do, body string) (starlark.StringDict, error) {
	t.Helper()
	thread := &starlark.Thread{Name: t.Name()}
	runtime.SetContext(thread, t.Context())
	return starlark.ExecFileOptions(&syntax.FileOptions{}, thread, "step.star", body, call.Modules(do, Specs(root)))
}

var hash = regexp.MustCompile(`(?i)[0-9a-f]{128}`)

// checkQuiet fails if an error shows a value or a hash of one.
func checkQuiet(t testing.TB, err error, values ...string) {
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

func checkError(t testing.TB, err error, wantText, wantHint string) {
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

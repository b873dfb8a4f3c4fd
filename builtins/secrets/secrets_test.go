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
			select {}
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

const fixture = `hcloud:
    token: hcloud-token-value
db:
    user: app
    password: db-password-value
`

// The examples of the documentation work.
func TestExamples(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "secrets/cinnabar.yaml"), seal(t, "x.yaml", fixture, id.Recipient().String()).bytes(t))
	t.Setenv("HCLOUD_TOKEN", "token-in-env")
	want := map[string]string{
		"secrets.sops":     "hcloud-token-value",
		"secrets.env":      "token-in-env",
		"secrets.template": "postgres://app:db-password-value@db/app",
	}
	for _, s := range Specs(root) {
		t.Run(s.Name, func(t *testing.T) {
			globals, err := runStep(t, root, carryOut, s.Example)
			must(t, err)
			var got []string
			for _, v := range globals {
				if secret, ok := v.(*runtime.Secret); ok {
					got = append(got, secret.Reveal())
				}
			}
			if len(got) != 1 || got[0] != want[s.Name] {
				t.Errorf("the example made %q, want %q", got, want[s.Name])
			}
			if s.Doc == "" || s.Returns == "" || len(s.Params) == 0 {
				t.Errorf("the spec lacks a part: %+v", s)
			}
		})
	}
}

// What the door sees of an operation holds no secret, and what the plan gets
// shows none.
func TestNothingShows(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", fixture, id.Recipient().String()).bytes(t))
	t.Setenv("INFRATEST_TOKEN", "env-token-value")
	var seen []runtime.Op
	do := func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		r, err := op.Run(ctx, io.Discard)
		if r.Value != nil {
			t.Errorf("%s has the value %v in its result", op.Name, r.Value)
		}
		seen = append(seen, op)
		return r, err
	}
	globals, err := runStep(t, root, do, `
f = secrets.sops("a.yaml")
p = f["db.password"]
e = secrets.env("INFRATEST_TOKEN")
text = str(f) + repr(p) + "%s %s" % (f, e)
names = f.keys()
has = "db.password" in f
hasnot = "db.nothing" in f
`)
	must(t, err)
	if len(seen) != 2 || seen[0].Effect != runtime.Read || seen[0].Show != "decrypt a.yaml" || seen[0].Args["file"] != "a.yaml" {
		t.Errorf("operations %+v", seen)
	}
	all := fmt.Sprintf("%v %+v %#v %x", globals["f"], globals, globals["f"], globals["f"]) + globals["text"].String()
	for _, value := range []string{"db-password-value", "env-token-value", fmt.Sprintf("%x", "db-password-value")} {
		if strings.Contains(all, value) {
			t.Errorf("%q shows in %s", value, all)
		}
	}
	if got := globals["names"].String() + globals["has"].String() + globals["hasnot"].String(); got != `["hcloud", "db"]TrueFalse` {
		t.Errorf("names and in: %s", got)
	}
	if got := globals["p"].(*runtime.Secret).Name(); got != "a.yaml[db.password]" {
		t.Errorf("the secret is named %q", got)
	}
	if _, err := runtime.Encode(globals["f"]); err == nil {
		t.Error("a sops_file can be journaled")
	}
	if got := runtime.Scrub("x db-password-value y env-token-value"); strings.Contains(got, "value") {
		t.Errorf("the scrubber does not know the values: %s", got)
	}
}

// The scrubber learns what was asked for, not all there is.
func TestOnlyWhatIsAskedForIsLearned(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	plain := "asked: learned-because-asked\nother: never-asked-for\nwhole: in-content-only\n"
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", plain, id.Recipient().String()).bytes(t))
	f, err := open(t, root, "a.yaml")
	must(t, err)
	get(t, f, "asked")
	if got, want := runtime.Scrub("learned-because-asked never-asked-for"), "‹secret a.yaml[asked]› never-asked-for"; got != want {
		t.Errorf("scrubbed to %q, want %q", got, want)
	}
	content(t, f)
	if got := runtime.Scrub("whole: in-content-only"); strings.Contains(got, "in-content-only") {
		t.Errorf("content is not scrubbed line by line: %q", got)
	}
}

// A resumed run answers from its journal; the plan gets its secrets all the same.
func TestAnsweredFromTheJournal(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", fixture, id.Recipient().String()).bytes(t))
	t.Setenv("INFRATEST_TOKEN", "env-token-value")
	journal := func(context.Context, runtime.Op) (runtime.Result, error) { return runtime.Result{}, nil }
	globals, err := runStep(t, root, journal, `p = secrets.sops("a.yaml")["db.password"] + secrets.env("INFRATEST_TOKEN")`)
	must(t, err)
	if got := globals["p"].(*runtime.Secret).Reveal(); got != "db-password-valueenv-token-value" {
		t.Errorf("got %q", got)
	}
	refuse := func(context.Context, runtime.Op) (runtime.Result, error) { return runtime.Result{}, runtime.ErrHeld }
	if _, err := runStep(t, root, refuse, `secrets.sops("a.yaml")`); !errors.Is(err, runtime.ErrHeld) {
		t.Errorf("a refused operation was carried out: %v", err)
	}
}

func TestEnv(t *testing.T) {
	t.Setenv("INFRATEST_TOKEN", "token-value")
	t.Setenv("INFRATEST_EMPTY", "")
	for _, c := range []struct{ name, want, err, hint string }{
		{name: "INFRATEST_TOKEN", want: "token-value"},
		{name: "INFRATEST_EMPTY", err: "INFRATEST_EMPTY is empty", hint: "INFRATEST_EMPTY=..."},
		{name: "INFRATEST_TOKNE", err: "INFRATEST_TOKNE is not set", hint: "did you mean INFRATEST_TOKEN?"},
		{name: "XQJZWV_QQQQQQQ_ZZZZ", err: "is not set", hint: "infra run"},
		{name: "", err: "no name"},
		{name: "A=B", err: "no name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			globals, err := runStep(t, "", carryOut, fmt.Sprintf("x = secrets.env(%q)", c.name))
			if c.err != "" {
				checkError(t, err, c.err, c.hint)
				return
			}
			must(t, err)
			s := globals["x"].(*runtime.Secret)
			if s.Reveal() != c.want || s.Name() != "env["+c.name+"]" {
				t.Errorf("got %s %q", s.Name(), s.Reveal())
			}
		})
	}
}

func TestTemplate(t *testing.T) {
	t.Setenv("A", "value-of-a")
	t.Setenv("B", "value-of-b")
	for _, c := range []struct{ args, want, name, err, hint string }{
		{args: `"user={u}", values = {"u": a}`, want: "user=value-of-a", name: "env[A]"},
		{args: `"{u}{u} {v}", values = {"v": b, "u": a}`, want: "value-of-avalue-of-a value-of-b", name: "env[A] + env[B]"},
		{args: `"{p}:{u}", values = {"p": "plain", "u": a}`, want: "plain:value-of-a", name: "env[A]"},
		{args: `"{{\"k\": \"{u}\"}}", values = {"u": a}`, want: `{"k": "value-of-a"}`, name: "env[A]"},
		{args: `"{{{u}}}", values = {"u": a}`, want: "{value-of-a}", name: "env[A]"},
		{args: `"{u}", values = {"u": "{{v}}{x}"}`, want: "{{v}}{x}", name: "template"},
		{args: `"no field"`, want: "no field", name: "template"},
		{args: `"", values = {}`, want: "", name: "template"},
		{args: `"{a.b-c}", values = {"a.b-c": a}`, want: "value-of-a", name: "env[A]"},
		{args: `"{usr}", values = {"user": a}`, err: "{usr}, which values does not have", hint: "did you mean {user}?"},
		{args: `"{zzzzzz}", values = {"user": a, "host": b}`, err: "{zzzzzz}", hint: "values has host, user"},
		{args: `"{x}"`, err: "{x}", hint: "values has nothing"},
		{args: `"{u}", values = {"u": a, "w": b}`, err: `values has "w"`, hint: "the text uses u"},
		{args: `"", values = {"w": b}`, err: `values has "w"`, hint: "the text uses no name"},
		{args: `"a\nb {\"k\": 1}"`, err: `line 2 of the text has a "{"`, hint: "{{ and }}"},
		{args: `"a } b"`, err: `has a "}"`, hint: "{{ and }}"},
		{args: `"{}"`, err: `has a "{"`, hint: "{{ and }}"},
		{args: `"{u"`, err: `has a "{"`, hint: "{{ and }}"},
		{args: `"{a{b}}"`, err: `has a "{"`, hint: "{{ and }}"},
		{args: `a`, err: "text: want a string", hint: "secret"},
		{args: `"{u}", values = {"u": 1}`, err: "want a string or a secret"},
		{args: `"{u}", values = {"u": str(a)}`, err: "placeholder", hint: "secrets.template"},
	} {
		t.Run(c.args, func(t *testing.T) {
			globals, err := runStep(t, "", carryOut, "a = secrets.env(\"A\")\nb = secrets.env(\"B\")\nx = secrets.template("+c.args+")")
			if c.err != "" {
				checkError(t, err, c.err, c.hint)
				checkQuiet(t, err, "value-of-")
				return
			}
			must(t, err)
			s := globals["x"].(*runtime.Secret)
			if s.Reveal() != c.want || s.Name() != c.name {
				t.Errorf("got %q named %q, want %q named %q", s.Reveal(), s.Name(), c.want, c.name)
			}
		})
	}
}

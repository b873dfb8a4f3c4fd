package sops

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/plugin"

	"infra/builtins/internal/sops/sopstest"
)

// TestMain makes the test binary a real age plugin when it is started under a
// plugin's name; see installPlugin.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "age-plugin-"+pluginName {
		os.Exit(pluginMain())
	}
	if root := os.Getenv("INFRATEST_SETS"); root != "" {
		os.Exit(setForEver(root))
	}
	code := m.Run()
	sopstest.CleanUp()
	os.Exit(code)
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

// The short names of what the tests use most.
var (
	lonely     = sopstest.Lonely
	withKey    = sopstest.WithKey
	newKey     = sopstest.NewKey
	seal       = sopstest.Seal
	sealWith   = sopstest.SealWith
	group      = sopstest.Group
	write      = sopstest.Write
	checkError = sopstest.CheckError
	checkQuiet = sopstest.CheckQuiet
)

func open(t testing.TB, root, name string) (*Document, error) {
	t.Helper()
	return NewReader().Open(t.Context(), FileAt(root, name), io.Discard)
}

func get(t testing.TB, d *Document, path string) string {
	t.Helper()
	text, err := d.Value(path)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return text
}

func content(t testing.TB, d *Document) string {
	t.Helper()
	text, err := d.Content()
	must(t, err)
	return text
}

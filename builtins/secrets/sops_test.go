package secrets

import (
	"path/filepath"
	"testing"

	getsops "github.com/getsops/sops/v3"
	"go.starlark.net/starlark"

	"infra/builtins/internal/sops"
	"infra/runtime"
)

// Values in clear are handed out as secrets too.
// What a file keeps in clear is a secret too.
func TestClearValuesAreSecrets(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	s := sealWith(t, "a.yaml", "clear: in-the-open\npassword: hidden-value\n",
		getsops.Metadata{EncryptedRegex: "^password$", KeyGroups: []getsops.KeyGroup{group(t, id.Recipient().String())}})
	write(t, filepath.Join(root, "a.yaml"), s.Bytes(t))
	f, err := open(t, root, "a.yaml")
	must(t, err)
	v, _, err := f.Get(starlark.String("clear"))
	must(t, err)
	if secret, ok := v.(*runtime.Secret); !ok || secret.Reveal() != "in-the-open" {
		t.Errorf("got %v", v)
	}
}

// Every value is a secret with a name; every error is one that tells names.
func TestIndex(t *testing.T) {
	id := withKey(t)
	root := t.TempDir()
	write(t, filepath.Join(root, "a.yaml"), seal(t, "a.yaml", fixture, id.Recipient().String()).Bytes(t))
	f, err := open(t, root, "a.yaml")
	must(t, err)
	v, found, err := f.Get(starlark.String("db.user"))
	must(t, err)
	if s := v.(*runtime.Secret); !found || s.Reveal() != "app" || s.Name() != "a.yaml[db.user]" {
		t.Errorf("got %q named %q", s.Reveal(), s.Name())
	}
	_, _, err = f.Get(starlark.MakeInt(1))
	checkError(t, err, "not by a value of type int", "")
	_, err = runStep(t, root, carryOut, `secrets.sops("a.yaml")["db.usr"]`)
	checkError(t, err, `a.yaml has no key "db.usr"`, "did you mean db.user?")
	checkQuiet(t, err, "-value")
}

// Nothing is done before a plan asks.
func TestSpecsAreCheap(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Specs("/nowhere", sops.NewReader()) }); n > 100 {
		t.Errorf("%.0f allocations to list the functions", n)
	}
}

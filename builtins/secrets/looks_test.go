package secrets

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// TestLooks: a file of secrets is altered by what alters the file, where it
// really lies, or the identities; by nothing else.
func TestLooks(t *testing.T) {
	withKey(t)
	home, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	root := filepath.Join(home, "project")
	write(t, filepath.Join(root, "real/a.yaml"), []byte("x"))
	must(t, os.Symlink("real", filepath.Join(root, "link")))
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("SOPS_AGE_KEY_FILE", filepath.Join(home, "keys.txt"))
	t.Setenv("SOPS_AGE_SSH_PRIVATE_KEY_FILE", "AGE-SECRET-KEY-that-is-no-file")
	var ops []runtime.Op
	do := func(_ context.Context, op runtime.Op) (runtime.Result, error) {
		ops = append(ops, op)
		return runtime.Result{}, runtime.ErrHeld
	}
	for _, code := range []string{`secrets.sops("link/a.yaml")`, `secrets.env("TOKEN")`} {
		if _, err := runStep(t, root, do, code); err == nil {
			t.Fatalf("%s was not refused", code)
		}
	}
	for _, path := range []string{root + "/link/a.yaml", root + "/real/a.yaml", home + "/keys.txt", home + "/.config/sops/age/keys.txt", home + "/.ssh"} {
		if !slices.Contains(ops[0].Looks, path) {
			t.Errorf("secrets.sops does not look at %s: %q", path, ops[0].Looks)
		}
	}
	for _, path := range ops[0].Looks {
		if path == home || path == root || path == "/" || filepath.Base(path) == "AGE-SECRET-KEY-that-is-no-file" {
			t.Errorf("secrets.sops looks at %s", path)
		}
	}
	if looks := ops[1].Looks; looks == nil || len(looks) > 0 {
		t.Errorf("secrets.env looks at %q", looks)
	}
	for _, op := range ops {
		if op.Alters == nil || len(op.Alters) > 0 {
			t.Errorf("%s alters %q", op.Name, op.Alters)
		}
	}
}

// TestNotKnown: what a preview answers in place of a secret is what the plan
// gets; the file need not be there.
func TestNotKnown(t *testing.T) {
	asked := 0
	do := func(_ context.Context, op runtime.Op) (runtime.Result, error) {
		asked++
		return runtime.Result{Value: op.NotKnown()}, nil
	}
	globals, err := runStep(t, t.TempDir(), do, `
f = secrets.sops("gone.yaml")
e = secrets.env("INFRATEST_NEVER_SET")
`)
	must(t, err)
	for name, want := range map[string]string{"f": "sops_file", "e": "secret"} {
		u, ok := globals[name].(runtime.Unknown)
		if !ok || u.Shape == nil || u.Shape.Type != want {
			t.Errorf("%s is %v, want an unknown %s", name, globals[name], want)
		}
	}
	if asked != 2 {
		t.Errorf("%d operations were asked for", asked)
	}
}

// TestAnsweredNone: a journal that has None for the empty result is no answer.
func TestAnsweredNone(t *testing.T) {
	t.Setenv("INFRATEST_TOKEN", "env-token-value")
	for _, v := range []starlark.Value{nil, starlark.None} {
		do := func(context.Context, runtime.Op) (runtime.Result, error) { return runtime.Result{Value: v}, nil }
		globals, err := runStep(t, t.TempDir(), do, `p = secrets.env("INFRATEST_TOKEN")`)
		must(t, err)
		if p, ok := globals["p"].(*runtime.Secret); !ok || p.Reveal() != "env-token-value" {
			t.Errorf("answered %v, the plan gets %v", v, globals["p"])
		}
	}
	ran := func(ctx context.Context, op runtime.Op) (runtime.Result, error) { return op.Run(ctx, io.Discard) }
	if _, err := runStep(t, t.TempDir(), ran, `secrets.env("INFRATEST_NEVER_SET")`); err == nil {
		t.Error("a failure is not passed on")
	}
}

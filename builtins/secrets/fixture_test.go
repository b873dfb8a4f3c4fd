package secrets

import (
	"context"
	"io"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/builtins/internal/call"
	"infra/builtins/internal/sops"
	"infra/builtins/internal/sops/sopstest"
	"infra/runtime"
)

// The short names of what the tests use most.
var (
	withKey    = sopstest.WithKey
	newKey     = sopstest.NewKey
	seal       = sopstest.Seal
	sealWith   = sopstest.SealWith
	group      = sopstest.Group
	write      = sopstest.Write
	checkError = sopstest.CheckError
	checkQuiet = sopstest.CheckQuiet
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, root, name string) (*sopsFile, error) {
	t.Helper()
	doc, err := sops.NewReader().Open(t.Context(), sops.FileAt(root, name), io.Discard)
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
	return starlark.ExecFileOptions(&syntax.FileOptions{}, thread, "step.star", body, call.Modules(do, Specs(root, sops.NewReader())))
}

package secrets

import (
	"context"
	"io"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/sops"
	"infra/runtime"
)

type sopsArgs struct {
	File string `arg:"file" doc:"the encrypted file, from the project's root; its name says the format, as for sops: yaml, yml, json, env, ini, else binary"`
}

func (m module) sops(c *call.Call, a sopsArgs) (starlark.Value, error) {
	f := sops.FileAt(m.root, a.File)
	return c.ReadSecret(runtime.Op{Show: "decrypt " + a.File, Looks: f.Looks()}, func(ctx context.Context, log io.Writer) (starlark.Value, error) {
		doc, err := m.files.Open(ctx, f, log)
		if err != nil {
			return nil, err
		}
		return &sopsFile{a.File, doc}, nil
	})
}

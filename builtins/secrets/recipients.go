package secrets

import (
	"context"
	"io"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/file"
	"infra/builtins/internal/sops"
	"infra/runtime"
)

var recipientsSpec = call.Spec{
	Name:    "secrets.recipients",
	Effect:  runtime.Read,
	Doc:     "Lists for whom a file is encrypted, as the file says it. No key is needed.",
	Returns: "list of recipients",
	Fields: []call.Field{
		{Name: "kind", Type: "string", Doc: "\"age\", \"pgp\", \"kms\", \"gcp_kms\", \"azure_kv\", \"hc_vault\" or \"hckms\""},
		{Name: "recipient", Type: "string", Doc: "the public key, the fingerprint or the name of the key"},
		{Name: "group", Type: "int", Doc: "of which key group it is one, from 0"},
	},
	Example: `for r in secrets.recipients("secrets/cinnabar.yaml"):
    log("%s %s" % (r.kind, r.recipient))
`,
}

type recipientsArgs struct {
	File string `arg:"file" doc:"the encrypted file, from the project's root"`
}

func (m module) recipients(c *call.Call, a recipientsArgs) (starlark.Value, error) {
	f := sops.FileAt(m.root, a.File)
	return c.Value(runtime.Op{Show: "recipients of " + a.File, Looks: file.Names(f.Path()), Alters: runtime.Nothing,
		Run: func(context.Context, io.Writer) (runtime.Result, error) {
			data, err := f.Read()
			if err != nil {
				return runtime.Result{}, err
			}
			meta, err := sops.ReadMetadata(f, data)
			if err != nil {
				return runtime.Result{}, err
			}
			return runtime.Result{Value: recipientList(meta.Recipients)}, nil
		}})
}

func recipientList(recipients []sops.Recipient) *starlark.List {
	list := make([]starlark.Value, len(recipients))
	for i, r := range recipients {
		list[i] = runtime.NewRecord("recipient",
			runtime.Field{Name: "kind", Value: starlark.String(r.Kind)},
			runtime.Field{Name: "recipient", Value: starlark.String(r.Name)},
			runtime.Field{Name: "group", Value: starlark.MakeInt(r.Group)})
	}
	return starlark.NewList(list)
}

package secrets

import (
	"context"
	"io"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"infra/builtins/internal/call"
	"infra/builtins/internal/sops"
	"infra/runtime"
)

var checkSpec = call.Spec{
	Name:   "secrets.check",
	Effect: runtime.Read,
	Doc: "Says what is wrong with a file that sops encrypted: whether it is encrypted for those whom the nearest .sops.yaml names, and all that its rule wants encrypted; " +
		"whether a key here can read it, and whether it was changed since. A check of a plan may return it.",
	Returns: "struct",
	Fields: []call.Field{
		{Name: "ok", Type: "bool", Doc: "there is no problem"},
		{Name: "detail", Type: "string", Doc: "the problems in one text"},
		{Name: "problems", Type: "list of structs", Doc: "each with kind and detail; kind is \"missing\", \"damaged\", \"no rule\", \"recipients\", \"clear\", \"unreadable\" or \"changed\""},
	},
	Example: `found = secrets.check("secrets/cinnabar.yaml")
if not found.ok:
    fail(found.detail)
`,
}

type checkArgs struct {
	File string `arg:"file" doc:"the encrypted file, from the project's root"`
}

func (m module) check(c *call.Call, a checkArgs) (starlark.Value, error) {
	f := sops.FileAt(m.root, a.File)
	return c.Value(runtime.Op{Show: "check " + a.File, Looks: f.LooksWithRules(), Alters: runtime.Nothing,
		NotKnown: func() starlark.Value { return c.Unknown().As(checkShape) },
		Run: func(ctx context.Context, log io.Writer) (runtime.Result, error) {
			problems, err := m.files.Check(ctx, f, log)
			if err != nil {
				return runtime.Result{}, err
			}
			return runtime.Result{Value: verdict(problems)}, nil
		}})
}

// checkShape is that of the struct: a check's verdict is read off a struct, and
// off nothing else that has an ok.
var checkShape = &runtime.Shape{Type: "struct", Fields: []runtime.ShapeOf{
	{Name: "ok", Shape: runtime.BoolShape}, {Name: "detail", Shape: runtime.StringShape},
	{Name: "problems", Shape: &runtime.Shape{Type: "list", Elem: &runtime.Shape{Type: "struct", Fields: []runtime.ShapeOf{
		{Name: "kind", Shape: runtime.StringShape}, {Name: "detail", Shape: runtime.StringShape}}}}},
}}

func verdict(problems []sops.Problem) starlark.Value {
	var list []starlark.Value
	var lines []string
	for _, p := range problems {
		list = append(list, starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{
			"kind": starlark.String(p.Kind), "detail": starlark.String(p.Detail)}))
		lines = append(lines, p.Detail)
	}
	return starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{
		"ok":       starlark.Bool(len(problems) == 0),
		"detail":   starlark.String(strings.Join(lines, "\n")),
		"problems": starlark.NewList(list),
	})
}

package secrets

import (
	"context"
	"fmt"
	"io"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/file"
	"infra/builtins/internal/sops"
	"infra/runtime"
)

var rotateSpec = call.Spec{
	Name:   "secrets.rotate",
	Effect: runtime.Change,
	Doc: "Gives a file that sops encrypted a new data key and encrypts all of it anew, for the recipients that the nearest .sops.yaml names now. " +
		"Who is taken from the rule cannot read what is written from then on; what they have read they know. Without a .sops.yaml the recipients stay.",
	Returns: "rotate_result",
	Fields: []call.Field{
		{Name: "file", Type: "string", Doc: "the file, as it was named"},
		{Name: "added", Type: "list of recipients", Doc: "who can read it now, and could not"},
		{Name: "removed", Type: "list of recipients", Doc: "who could, and cannot any more"},
	},
	Example: `for gone in secrets.rotate("secrets/cinnabar.yaml").removed:
    log("no more for " + gone.recipient)
`,
}

type rotateArgs struct {
	File string `arg:"file" doc:"the encrypted file, from the project's root"`
}

// rotate may be repeated: a second new data key is as good as the first. So
// nothing need settle whether one that was in flight came to its end, which
// the file does not tell.
func (m module) rotate(c *call.Call, a rotateArgs) (starlark.Value, error) {
	f := sops.FileAt(m.root, a.File)
	return c.Value(runtime.Op{
		Show: "rotate " + a.File, Looks: f.LooksWithRules(), Alters: file.Names(f.Path()), Repeatable: true,
		Predict: func(context.Context) (runtime.Prediction, error) {
			r, err := f.Rotation()
			if err != nil {
				return runtime.Prediction{}, err
			}
			return runtime.Prediction{Verdict: runtime.WillChange, Value: rotated(a.File, r), Detail: rotation(r)}, nil
		},
		Run: func(ctx context.Context, log io.Writer) (runtime.Result, error) {
			r, err := m.files.Rotate(ctx, f, log)
			if err != nil {
				return runtime.Result{}, err
			}
			return runtime.Result{Changed: true, Value: rotated(a.File, r)}, nil
		}})
}

// rotation says what a rotation alters.
func rotation(r sops.Rotation) string {
	lines := []string{"new data key"}
	for _, a := range r.Added {
		lines = append(lines, "+ "+a.String())
	}
	for _, a := range r.Removed {
		lines = append(lines, "- "+a.String())
	}
	if r.Threshold[0] != r.Threshold[1] {
		lines = append(lines, fmt.Sprintf("shamir_threshold %d -> %d", r.Threshold[0], r.Threshold[1]))
	}
	if len(r.Encrypts) > 0 {
		lines = append(lines, "no more in clear: "+strings.Join(r.Encrypts, ", "))
	}
	return strings.Join(lines, "\n")
}

func rotated(name string, r sops.Rotation) starlark.Value {
	return runtime.NewRecord("rotate_result", runtime.Field{Name: "file", Value: starlark.String(name)},
		runtime.Field{Name: "added", Value: recipientList(r.Added)}, runtime.Field{Name: "removed", Value: recipientList(r.Removed)})
}

package secrets

import (
	"context"
	"io"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/file"
	"infra/builtins/internal/sops"
	"infra/runtime"
)

var setSpec = call.Spec{
	Name:   "secrets.set",
	Effect: runtime.Change,
	Doc: "Sets one value in a file that sops encrypted, or will have: comments, order, the data key and all other values stay. " +
		"A key that is missing is made, and so is a file, by the rules of the nearest .sops.yaml. " +
		"Nothing is written when the value is right already, and never in clear.",
	Returns: "set_result",
	Fields: []call.Field{
		{Name: "changed", Type: "bool", Doc: "whether the file was written"},
		{Name: "file", Type: "string", Doc: "the file, as it was named"},
	},
	Example: `token = secrets.env("HCLOUD_TOKEN")
if secrets.set("secrets/cinnabar.yaml", "hcloud.token", token).changed:
    log("the token is another one now")
`,
}

type setArgs struct {
	File  string       `arg:"file" doc:"the encrypted file, from the project's root; its name says the format, as for secrets.sops"`
	Path  string       `arg:"path" doc:"the value's dotted path, as in secrets.sops(file)[path]; \"section.key\" in an INI file, \"\" for a binary one"`
	Value runtime.Text `arg:"value" doc:"what it shall be; no preview, log or journal shows it"`
}

func (m module) set(c *call.Call, a setArgs) (starlark.Value, error) {
	s := setting{m.files, sops.Setting{File: sops.FileAt(m.root, a.File), Path: a.Path, Value: a.Value}, c.NotKnown}
	return c.Value(runtime.Op{
		Show: s.show(), Args: s.args(), Looks: s.Looks(), Alters: file.Names(s.File.Path()), Repeatable: true,
		Predict: s.predict, Run: s.run, Settle: s.settle,
	})
}

// A setting is one value that is to be set.
type setting struct {
	files *sops.Reader
	sops.Setting
	notKnown func() starlark.Value
}

func (s setting) show() string {
	if s.Path == "" {
		return "set " + s.File.Name
	}
	return "set " + s.File.Name + "[" + s.Path + "]"
}

// args keep a value's name at most: what goes into a file of secrets is one,
// even where the plan has it as a string.
func (s setting) args() runtime.Args {
	value := "(a string)"
	if s.Value.Secret() {
		value = s.Value.String()
	}
	return runtime.Args{"file": s.File.Name, "path": s.Path, "value": value}
}

func (s setting) predict(ctx context.Context) (runtime.Prediction, error) {
	s.learn()
	diff, err := s.files.Foresee(ctx, s.Setting, io.Discard)
	switch {
	case sops.NoKey(err):
		text, _, _ := strings.Cut(err.Error(), ";")
		return runtime.Prediction{Verdict: runtime.NotKnown, Value: s.notKnown(), Detail: text}, nil
	case err != nil:
		return runtime.Prediction{}, err
	case diff == sops.Same:
		return runtime.Prediction{Verdict: runtime.NoChange, Value: s.result(false)}, nil
	}
	detail, err := s.detail(diff)
	return runtime.Prediction{Verdict: runtime.WillChange, Value: s.result(true), Detail: detail}, err
}

// detail says what is set, and nothing of the values.
func (s setting) detail(diff sops.Difference) (string, error) {
	switch diff {
	case sops.NoFile:
		who, err := s.ForWhom()
		if err != nil {
			return "", err
		}
		text := "new file " + s.File.Name
		for _, r := range who {
			text += "\n  for " + r.String()
		}
		return text, nil
	case sops.NoValue:
		return s.Path + ": new", nil
	}
	return s.Path + ": another value", nil
}

func (s setting) run(ctx context.Context, log io.Writer) (runtime.Result, error) {
	s.learn()
	changed, err := s.files.Set(ctx, s.Setting, log)
	if err != nil {
		return runtime.Result{}, err
	}
	return runtime.Result{Changed: changed, Value: s.result(changed)}, nil
}

// settle reads the value back. One that is as it shall be counts as changed: it
// may not have been so before, and what waits for a change must not miss it.
func (s setting) settle(ctx context.Context, log io.Writer) (runtime.Fate, runtime.Result, error) {
	s.learn()
	diff, err := s.files.Compare(ctx, s.Setting, log)
	switch {
	case err != nil:
		return runtime.Untold, runtime.Result{}, err
	case diff != sops.Same:
		return runtime.NotDone, runtime.Result{}, nil
	}
	return runtime.Done, runtime.Result{Changed: true, Value: s.result(true)}, nil
}

// learn makes the value one that nothing shows, before anything may.
func (s setting) learn() {
	runtime.NewSecret(s.File.Name+"["+s.Path+"]", s.Value.Reveal())
}

func (s setting) result(changed bool) starlark.Value {
	return runtime.NewRecord("set_result", runtime.Field{Name: "changed", Value: starlark.Bool(changed)},
		runtime.Field{Name: "file", Value: starlark.String(s.File.Name)})
}

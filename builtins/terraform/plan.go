package terraform

import (
	"context"
	"fmt"
	"io"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

var planSpec = call.Spec{
	Name:     "terraform.plan",
	Receiver: "terraform.dir",
	Effect:   runtime.Read,
	Doc: "Plans what an apply would do, and saves the plan for it. Terraform really plans, in a dry run too: providers are asked, no state is written and no lock is waited for. " +
		"The plan is plain data, which a condition may look at. Plan and apply in one step, if a run that is resumed shall plan again what is left of an apply that failed.",
	Returns: "terraform_plan",
	Fields: []call.Field{
		{Name: "changed", Type: "bool", Doc: "whether an apply would do anything, to resources or to outputs"},
		{Name: "creates", Type: "list of strings", Doc: "the addresses of what would be made"},
		{Name: "updates", Type: "list of strings", Doc: "of what would be altered in place"},
		{Name: "replaces", Type: "list of strings", Doc: "of what would be deleted and made anew"},
		{Name: "deletes", Type: "list of strings", Doc: "of what would be deleted"},
		{Name: "installs", Type: "list of strings", Doc: "of each terraform_data and null_resource whose provisioners would run"},
		{Name: "outputs", Type: "dict", Doc: "those outputs that are known before the apply; sensitive ones are secrets"},
		{Name: "secrets", Type: "list of strings", Doc: "which of the outputs are secrets"},
		{Name: "unknown", Type: "list of strings", Doc: "what only the apply will know: attributes by address, and \"output.NAME\""},
		{Name: "changes", Type: "list of structs", Doc: "every change: address, type, name, action (create, update, replace, delete, import, move or forget)"},
		{Name: "destroy", Type: "bool", Doc: "whether it is a plan to destroy everything"},
		{Name: "dir", Type: "string", Doc: "the folder that it is for"},
		{Name: "digest", Type: "string", Doc: "of all that is shown of the plan: what an apply is held to"},
	},
	Example: example + `p = tf.plan()
if p.replaces or p.deletes:
    fail("this was to add only")
log("%d to create" % len(p.creates))
`,
}

// example is a folder that the examples work in: it needs no provider.
const example = `tf = terraform.dir("terraform/example", config = {
    "resource": {"terraform_data": {"note": {"input": "hello"}}},
    "output": {"note": {"value": "${terraform_data.note.output}"}},
})
`

type planArgs struct {
	Destroy bool `arg:"destroy" default:"False" doc:"plan to destroy everything instead"`
}

func plan(c *call.Call, a planArgs) (starlark.Value, error) { return receiver(c).plan(c, a.Destroy) }

func (d *directory) plan(c *call.Call, destroy bool) (starlark.Value, error) {
	show := "plan "
	if destroy {
		show = "plan -destroy "
	}
	op := d.op(show+d.shown, runtime.Args{"destroy": destroy})
	op.Name, op.Looks, op.Beyond = planSpec.Name, d.sources(), true
	origin := runtime.Unknown{Op: planSpec.Name, Pos: c.Pos}
	op.NotKnown = func() starlark.Value { return planNotKnown(origin) }
	var full *runtime.Record
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		m, err := d.make(ctx, log, destroy)
		if err != nil {
			return runtime.Result{}, err
		}
		outputs, secrets := d.known(m.planned)
		full = d.record(m.planned, destroy, m.digest, outputs, secrets)
		return runtime.Result{Value: d.record(m.planned, destroy, m.digest, plainOnly(outputs), secrets)}, nil
	}
	res, err := c.Read(op)
	switch {
	case err != nil:
		return nil, err
	case full != nil:
		return full, nil
	}
	return withLost(res.Value, origin), nil
}

// make plans, and keeps the plan for the apply.
func (d *directory) make(ctx context.Context, log io.Writer, destroy bool) (*made, error) {
	w, err := d.work()
	if err != nil {
		return nil, err
	}
	saved, err := w.dir.Plan(ctx, log, destroy)
	if err != nil {
		return nil, err
	}
	m := &made{saved: saved, planned: read(saved.Plan, d.secrets)}
	m.digest = d.digest(m.planned, destroy)
	w.keep(destroy, m)
	return m, nil
}

func planNotKnown(u runtime.Unknown) *runtime.Record {
	shapes := map[string]*runtime.Shape{
		"bool": runtime.BoolShape, "string": runtime.StringShape, "dict": runtime.DictShape,
		"list of strings": runtime.StringsShape, "list of structs": runtime.ListShape,
	}
	var fields []runtime.Field
	for _, f := range planSpec.Fields {
		fields = append(fields, runtime.Field{Name: f.Name, Value: u.As(shapes[f.Type])})
	}
	return runtime.NewRecord(planSpec.Returns, fields...)
}

// withLost is a plan that a process which is gone made, as the journal has it:
// the secrets among its outputs are lost, for the state may be another by now.
func withLost(v starlark.Value, origin runtime.Unknown) starlark.Value {
	return withSecrets(v, func(string) (starlark.Value, error) { return origin.As(runtime.SecretShape), nil })
}

// withSecrets adds to the outputs of a record those that its field secrets
// names and that the journal does not keep. Where one cannot be had, it is left out.
func withSecrets(v starlark.Value, get func(name string) (starlark.Value, error)) starlark.Value {
	r, ok := v.(*runtime.Record)
	if !ok {
		return v
	}
	fields := append([]runtime.Field(nil), r.Fields()...)
	var names *starlark.List
	var outputs *runtime.Field
	for i, f := range fields {
		switch f.Name {
		case "secrets":
			names, _ = f.Value.(*starlark.List)
		case "outputs":
			outputs = &fields[i]
		}
	}
	if names == nil || outputs == nil {
		return v
	}
	have, ok := outputs.Value.(*starlark.Dict)
	if !ok {
		return v
	}
	all := starlark.NewDict(have.Len() + names.Len())
	for k, e := range have.Entries() {
		_ = all.SetKey(k, e) // k was a key before
	}
	for name := range names.Elements() {
		s, _ := starlark.AsString(name)
		if _, there, _ := all.Get(name); there {
			continue
		}
		if e, err := get(s); err == nil && e != nil {
			_ = all.SetKey(name, e) // a string is a key
		}
	}
	outputs.Value = all
	return runtime.NewRecord(r.Type(), fields...)
}

var validateSpec = call.Spec{
	Name:     "terraform.validate",
	Receiver: "terraform.dir",
	Effect:   runtime.Read,
	Doc:      "Fails where the configuration is not valid, with each mistake, its file and its line. Neither providers nor the state are asked.",
	Example:  example + "tf.validate()\n",
}

type noArgs struct{}

func validate(c *call.Call, _ noArgs) (starlark.Value, error) {
	d := receiver(c)
	op := d.op("validate "+d.shown, nil)
	op.Looks = d.sources()
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		w, err := d.work()
		if err != nil {
			return runtime.Result{}, err
		}
		if err := w.dir.Validate(ctx, log); err != nil {
			return runtime.Result{}, fmt.Errorf("%s: %w", d.shown, err)
		}
		return runtime.Result{}, nil
	}
	_, err := c.Read(op)
	return starlark.None, err
}

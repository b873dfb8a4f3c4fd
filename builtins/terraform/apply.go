package terraform

import (
	"context"
	"fmt"
	"io"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/builtins/internal/call"
	"infra/builtins/internal/file"
	"infra/runtime"
)

var appliedFields = []call.Field{
	{Name: "changed", Type: "bool", Doc: "whether anything was done"},
	{Name: "created", Type: "list of strings", Doc: "the addresses of what was made"},
	{Name: "updated", Type: "list of strings", Doc: "of what was altered in place"},
	{Name: "replaced", Type: "list of strings", Doc: "of what was deleted and made anew"},
	{Name: "deleted", Type: "list of strings", Doc: "of what was deleted"},
	{Name: "outputs", Type: "dict", Doc: "all outputs; sensitive ones are secrets. In a preview, what is not known before the apply names the resource that it comes from"},
	{Name: "secrets", Type: "list of strings", Doc: "which of the outputs are secrets"},
}

var applySpec = call.Spec{
	Name:     "terraform.apply",
	Receiver: "terraform.dir",
	Effect:   runtime.Destroy,
	Doc: "Applies a plan, and nothing but that plan: where the state is no longer what was planned on, it fails. " +
		"It destroys if the plan deletes or replaces anything, or runs the provisioners of a terraform_data or null_resource: a run then wants the name of the folder typed, or infra run --destroy NAME. Any other plan is a change. " +
		"What is protected is never deleted nor replaced. An apply that fails half way keeps what it did in the state, and the next plan goes on from there.",
	Returns: "terraform_applied",
	Fields:  appliedFields,
	Example: example + `done = tf.apply(tf.plan())
log("it says " + done.outputs["note"])
`,
}

type applyArgs struct {
	Plan starlark.Value `arg:"plan" doc:"what plan() returned"`
}

func apply(c *call.Call, a applyArgs) (starlark.Value, error) {
	return applyAs(c, applySpec.Name, a.Plan)
}

var destroySpec = call.Spec{
	Name:     "terraform.destroy",
	Receiver: "terraform.dir",
	Effect:   runtime.Destroy,
	Doc: "Destroys all that the state holds: a plan to destroy, and its apply. A run wants the name of the folder typed, or infra run --destroy NAME. " +
		"What is protected is refused, and then nothing is destroyed.",
	Returns: "terraform_applied",
	Fields:  appliedFields,
	Example: `tf = terraform.dir("terraform/empty", config = {})
if not tf.destroy().changed:
    log("nothing was there")
`,
}

func destroy(c *call.Call, _ noArgs) (starlark.Value, error) {
	p, err := receiver(c).plan(c, true)
	if err != nil {
		return nil, err
	}
	return applyAs(c, destroySpec.Name, p)
}

// applyAs has a plan carried out by the operation of that name.
func applyAs(c *call.Call, name string, plan starlark.Value) (starlark.Value, error) {
	d := receiver(c)
	p, unknown, err := recordOf(plan)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if unknown == nil && p.dir != d.shown {
		return nil, fmt.Errorf("%s: the plan is of %s, and this is %s", name, p.dir, d.shown)
	}
	if err := d.guard(p); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	a := &applying{directory: d, p: p, name: name, pos: c.Pos, unknown: unknown}
	// What is not known yet is a change, so that a run may carry it out where it
	// turns out to be one. Where it does not, the run is not what was reviewed.
	if name == applySpec.Name && !p.destroys() || unknown == nil && !p.destroys() {
		return a.ask(c.Context(), c.Change)
	}
	return a.ask(c.Context(), c.Do)
}

// applying is a plan on its way.
type applying struct {
	*directory
	p       planRecord
	name    string // of the operation
	pos     syntax.Position
	unknown *runtime.Unknown // the plan is not known yet

	full *runtime.Record // the result with its secrets, once it was carried out
}

func (a *applying) ask(ctx context.Context, do func(runtime.Op) (runtime.Result, error)) (starlark.Value, error) {
	verb := "apply "
	if a.name == destroySpec.Name {
		verb = "destroy "
	}
	op := a.op(verb+a.shown+": "+a.p.summary(), runtime.Args{"digest": a.p.digest, "destroy": a.p.destroy})
	if a.unknown != nil {
		op.Show = a.op(verb+a.shown, nil).Show
		op.Args["digest"], op.Args["destroy"] = a.unknown.String(), a.unknown.String()
		op.Needs = a.unknown
	}
	op.Name, op.Alters = a.name, file.Names(a.at)
	op.Predict, op.Run, op.Settle = a.predict, a.run, a.settle
	res, err := do(op)
	switch {
	case err != nil:
		return nil, err
	case a.full != nil:
		return a.full, nil
	}
	return withSecrets(res.Value, a.stateSecret(ctx)), nil
}

// stateSecret looks a sensitive output up that the journal has no value of. The
// state is asked once, and only where there is one.
func (a *applying) stateSecret(ctx context.Context) func(name string) (starlark.Value, error) {
	var values *starlark.Dict
	return func(name string) (starlark.Value, error) {
		if values == nil {
			var err error
			if values, _, err = a.stateOutputs(ctx, io.Discard); err != nil {
				values = starlark.NewDict(0)
			}
		}
		v, found, err := values.Get(starlark.String(name))
		if !found {
			return runtime.Unknown{Op: a.name, Pos: a.pos, Shape: runtime.SecretShape}, err
		}
		return v, err
	}
}

func (a *applying) result(outputs starlark.Value, secrets []string) *runtime.Record {
	return runtime.NewRecord(applySpec.Returns,
		runtime.Field{Name: "changed", Value: starlark.Bool(a.p.changed)},
		runtime.Field{Name: "created", Value: strs(a.p.creates)},
		runtime.Field{Name: "updated", Value: strs(a.p.updates)},
		runtime.Field{Name: "replaced", Value: strs(a.p.replaces)},
		runtime.Field{Name: "deleted", Value: strs(a.p.deletes)},
		runtime.Field{Name: "outputs", Value: outputs},
		runtime.Field{Name: "secrets", Value: strs(secrets)},
	)
}

// predict says what the plan says: it was made by looking at the world.
func (a *applying) predict(context.Context) (runtime.Prediction, error) {
	if a.unknown != nil || a.needs != nil {
		return runtime.Prediction{Verdict: runtime.NotKnown}, nil
	}
	p := runtime.Prediction{Verdict: runtime.WillChange}
	switch {
	case !a.p.changed:
		p.Verdict = runtime.NoChange
	case a.p.destroys():
		p.Verdict = runtime.WillDestroy
	}
	w, err := a.work()
	if err != nil {
		return p, err
	}
	m := w.kept(a.p.destroy, a.p.digest)
	if m == nil { // another plan was made since
		p.Detail = a.p.summary()
		p.Value = a.result(runtime.Unknown{Op: a.name, Pos: a.pos, Shape: runtime.DictShape}, nil)
		return p, nil
	}
	outputs, secrets := a.foreseen(m.planned, a.name, a.pos)
	p.Detail, p.Value = a.detail(m.planned), a.result(outputs, secrets)
	return p, nil
}

func (a *applying) run(ctx context.Context, log io.Writer) (runtime.Result, error) {
	if !a.p.changed {
		return a.answer(ctx, log)
	}
	w, err := a.work()
	if err != nil {
		return runtime.Result{}, err
	}
	m := w.kept(a.p.destroy, a.p.digest)
	if m == nil {
		fmt.Fprintln(log, "the plan was made by another process, or was followed by another plan: planning again")
		if m, err = a.make(ctx, log, a.p.destroy); err != nil {
			return runtime.Result{}, err
		}
		if m.digest != a.p.digest {
			return runtime.Result{}, a.differs(m.planned)
		}
	}
	w.used()                // whatever becomes of it, it cannot be applied again
	id := runtime.OpID(ctx) // of the run's nth operation: RUN-N
	w.dir.Run = id[:max(0, strings.LastIndexByte(id, '-'))]
	applied, err := w.dir.Apply(ctx, log, m.saved)
	if err != nil {
		return runtime.Result{}, err
	}
	outputs, secrets, err := a.had(applied.Outputs)
	if err != nil {
		return runtime.Result{}, err
	}
	return a.done(outputs, secrets), nil
}

// done is the result of what was carried out: the journal gets it without its
// secrets, which the plan gets.
func (a *applying) done(outputs *starlark.Dict, secrets []string) runtime.Result {
	a.full = a.result(outputs, secrets)
	return runtime.Result{Value: a.result(plainOnly(outputs), secrets), Changed: a.p.changed}
}

// answer is the result where nothing is to be done, or was done before.
func (a *applying) answer(ctx context.Context, log io.Writer) (runtime.Result, error) {
	outputs, secrets, err := a.stateOutputs(ctx, log)
	if err != nil {
		return runtime.Result{}, err
	}
	return a.done(outputs, secrets), nil
}

func (a *applying) differs(now planned) error {
	return runtime.WithHint(fmt.Errorf("what is to be done is no longer what was planned\nplanned: %s\nnow:     %s", a.p.summary(), oneLine(now)),
		"nothing was done; plan again, and apply that: infra run")
}

// oneLine is the summary of a plan that was just made.
func oneLine(p planned) string {
	return planRecord{
		changed: p.changed(), creates: p.list(create), updates: p.list(update), replaces: p.list(replace),
		deletes: p.list(remove), installs: p.installing(),
	}.summary()
}

// settle finds out what became of an apply whose process is gone, by planning
// again: nothing is left, or all, or a part. The plan waits for no lock, so
// that an apply that still goes on leaves a part, too.
func (a *applying) settle(ctx context.Context, log io.Writer) (runtime.Fate, runtime.Result, error) {
	m, err := a.make(ctx, log, a.p.destroy)
	switch {
	case err != nil:
		return runtime.Untold, runtime.Result{}, err
	case !m.planned.changed():
		res, err := a.answer(ctx, log)
		return runtime.Done, res, err
	case m.digest == a.p.digest:
		return runtime.NotDone, runtime.Result{}, nil
	}
	return runtime.Untold, runtime.Result{}, runtime.WithHint(
		fmt.Errorf("%s is half applied: the process that applied it is gone\nplanned: %s\nleft:    %s", a.shown, a.p.summary(), oneLine(m.planned)),
		"the state holds what was done: infra run plans what is left, and shows it before it is applied")
}

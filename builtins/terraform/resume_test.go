package terraform_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/builtins/internal/call"
	"infra/builtins/internal/calltest"
	"infra/runtime"
)

// TestOnlyThatPlan: an apply carries out what was planned, whatever the
// configuration says by then.
func TestOnlyThatPlan(t *testing.T) {
	p := newProject(t, boxes)
	specs := p.specs()
	g := (&calltest.Door{}).Must(t, specs, `p = terraform.dir("terraform/box").plan()`)
	p.write(t, strings.ReplaceAll(boxes, `"one"`, `"another"`))
	door := &calltest.Door{Names: starlark.StringDict{"p": g["p"]}}
	done := door.Must(t, specs, `done = terraform.dir("terraform/box").apply(p)`)
	if got := field(t, done["done"], "outputs"); !strings.Contains(got, `"text": "one"`) {
		t.Errorf("it applied something else: %s", got)
	}
	_, err := door.Run(t, specs, `terraform.dir("terraform/box").apply(p)`)
	wants(t, err, "no longer what was planned", "nothing was done")

	_, err = (&calltest.Door{}).Run(t, specs, `
tf = terraform.dir("terraform/box", vars = {"n": 2})
p = tf.plan()
tf.plan(destroy = True)
tf.apply(p)
p = terraform.dir("terraform/box", vars = {"n": 4}).plan()
terraform.dir("terraform/box", vars = {"n": 5}).apply(p)
`)
	wants(t, err, "no longer what was planned")
	p.write(t, boxes)
	one := (&calltest.Door{}).Must(t, specs, `p = terraform.dir("terraform/box").plan()`)
	p.write(t, strings.ReplaceAll(boxes, `"one"`, `"third"`))
	(&calltest.Door{}).Must(t, specs, `terraform.dir("terraform/box").plan()`)
	_, err = (&calltest.Door{Names: starlark.StringDict{"p": one["p"]}}).Run(t, specs, `terraform.dir("terraform/box").apply(p)`)
	wants(t, err, "no longer what was planned")
}

// TestAnotherProcessHasNoSavedPlan: it plans again, and goes on only where the
// plan is the same.
func TestAnotherProcessHasNoSavedPlan(t *testing.T) {
	p := newProject(t, boxes)
	g := (&calltest.Door{}).Must(t, p.specs(), `p = terraform.dir("terraform/box").plan()`)
	kept, err := runtime.Encode(g["p"])
	if err == nil {
		_, err = runtime.Decode(kept)
	}
	if err == nil {
		t.Error("the test's plan has no secret")
	}
	names := starlark.StringDict{"p": g["p"]}
	p.write(t, strings.ReplaceAll(boxes, `"one"`, `"another"`))
	_, err = (&calltest.Door{Names: names}).Run(t, p.specs(), `terraform.dir("terraform/box").apply(p)`)
	wants(t, err, "no longer what was planned")
	if strings.Contains(p.files(t), "tfstate") {
		t.Error("it was applied")
	}
	p.write(t, boxes)
	(&calltest.Door{Names: names}).Must(t, p.specs(), `terraform.dir("terraform/box").apply(p)`)
	_, err = (&calltest.Door{Names: names}).Run(t, p.specs(), `terraform.dir("terraform/another").apply(p)`)
	wants(t, err, "the plan is of terraform/box, and this is terraform/another")
	_, err = (&calltest.Door{}).Run(t, p.specs(), `terraform.dir("terraform/box").apply({"digest": "x"})`)
	wants(t, err, "want what tf.plan() returned, got dict")
}

// TestSettle: what became of an apply whose process was killed.
func TestSettle(t *testing.T) {
	p := newProject(t, boxes)
	specs := p.specs()
	door := &calltest.Door{DryRun: true}
	door.Must(t, specs, `tf = terraform.dir("terraform/box", vars = {"key": "geheim"})`+"\ntf.apply(tf.plan())\n")
	op := door.Ops[1]

	fate, _, err := op.Settle(t.Context(), io.Discard)
	if fate != runtime.NotDone || err != nil {
		t.Errorf("nothing was done: %d %v", fate, err)
	}
	p.write(t, strings.ReplaceAll(boxes, "var.n", "1")) // and a part of it is made by hand
	(&calltest.Door{}).Must(t, p.specs(), `tf = terraform.dir("terraform/box", vars = {"text": "two", "key": "geheim"})`+"\ntf.apply(tf.plan())\n")
	fate, _, err = op.Settle(t.Context(), io.Discard)
	if fate != runtime.Untold {
		t.Errorf("half of it: %d", fate)
	}
	wants(t, err, "half applied", "planned: create 2", "left:    replace terraform_data.lid", "infra run plans what is left")

	(&calltest.Door{}).Must(t, p.specs(), `tf = terraform.dir("terraform/box", vars = {"key": "geheim"})`+"\ntf.apply(tf.plan())\n")
	fate, res, err := op.Settle(t.Context(), io.Discard)
	if fate != runtime.Done || err != nil || !res.Changed || !strings.Contains(field(t, res.Value, "outputs"), `"text": "one"`) {
		t.Errorf("all of it: %d %v %v", fate, res, err)
	}
	if _, err := runtime.Encode(res.Value); err != nil || strings.Contains(res.Value.String(), "geheim") {
		t.Errorf("%v: %s", err, res.Value)
	}
}

// TestTheJournalCanGoOn: what it keeps of a plan and of an apply is complete
// but for the secrets, and those are had again from the state.
func TestTheJournalCanGoOn(t *testing.T) {
	p := newProject(t, boxes)
	const code = `
tf = terraform.dir("terraform/box", vars = {"key": "geheim"})
p = tf.plan()
done = tf.apply(p)
key = tf.output("key")
`
	door := &calltest.Door{}
	first := door.Must(t, p.specs(), code)
	var kept []starlark.Value
	for i, r := range door.Results[:2] {
		data, err := runtime.Encode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		v, err := runtime.Decode(data)
		if err != nil {
			t.Fatalf("%s: %v", door.Ops[i].Name, err)
		}
		kept = append(kept, v)
	}
	if v := door.Results[2].Value; v != nil && v != starlark.None {
		t.Errorf("the journal gets %s", v)
	}
	resumed := answered(t, p.specs(), code, append(kept, nil))
	for _, g := range []starlark.StringDict{first, resumed} {
		d, _ := g["done"].(starlark.HasAttrs).Attr("outputs")
		v, _, _ := d.(*starlark.Dict).Get(starlark.String("key"))
		s, ok := v.(*runtime.Secret)
		if !ok || s.Reveal() != "geheim" || g["key"].(*runtime.Secret).Reveal() != "geheim" {
			t.Errorf("key is %v, and %v", v, g["key"])
		}
	}
	if got := field(t, resumed["p"], "outputs"); !strings.Contains(got, `"key": (known after terraform.plan`) {
		t.Errorf("the secret of the plan is lost, and it says %s", got)
	}
	if field(t, first["p"], "digest") != field(t, resumed["p"], "digest") {
		t.Error("the plan is another one")
	}
}

// answered runs code whose operations are answered by what is kept of them.
func answered(t *testing.T, specs []call.Spec, code string, kept []starlark.Value) starlark.StringDict {
	t.Helper()
	do := func(context.Context, runtime.Op) (runtime.Result, error) {
		v := kept[0]
		kept = kept[1:]
		return runtime.Result{Value: v}, nil
	}
	thread := &starlark.Thread{Name: t.Name()}
	runtime.SetContext(thread, t.Context())
	g, err := starlark.ExecFileOptions(&syntax.FileOptions{}, thread, "test.star", code, call.Modules(do, specs))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

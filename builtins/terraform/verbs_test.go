package terraform_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/calltest"
	"infra/builtins/internal/terraform/terraformtest"
	"infra/builtins/terraform"
	"infra/runtime"
)

// A project is a folder with a configuration in terraform/box.
type project struct{ root string }

const boxes = `
variable "text" { default = "one" }
variable "key" {
  type    = string
  default = ""
}
variable "n" { default = 1 }
resource "terraform_data" "box" {
  count            = var.n
  input            = var.text
}
resource "terraform_data" "lid" {
  input            = var.key
  triggers_replace = [var.text]
}
output "text" { value = terraform_data.box[0].output }
output "box" { value = terraform_data.box[0].id }
output "length" { value = length(var.text) }
output "key" {
  value     = var.key
  sensitive = true
}
`

func newProject(t *testing.T, config string) project {
	t.Helper()
	terraformtest.Binary(t, "terraform")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("TF_CLI_CONFIG_FILE", os.DevNull)
	p := project{t.TempDir()}
	p.write(t, config)
	return p
}

func (p project) write(t *testing.T, config string) {
	t.Helper()
	dir := filepath.Join(p.root, "terraform", "box")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
}

// specs are those of another process than the last.
func (p project) specs() []call.Spec { return terraform.Specs(p.root) }

// files are all that is in the project.
func (p project) files(t *testing.T) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(p.root, func(path string, _ fs.DirEntry, err error) error {
		all = append(all, strings.TrimPrefix(path, p.root))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

// applied is a project whose boxes were made.
func applied(t *testing.T) project {
	t.Helper()
	p := newProject(t, boxes)
	(&calltest.Door{}).Must(t, p.specs(), `tf = terraform.dir("terraform/box")`+"\ntf.apply(tf.plan())\n")
	return p
}

func field(t *testing.T, v starlark.Value, name string) string {
	t.Helper()
	f, err := v.(starlark.HasAttrs).Attr(name)
	if err != nil || f == nil {
		t.Fatalf("%s has no %s: %v", v, name, err)
	}
	return f.String()
}

func wants(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("it succeeded")
	}
	said := err.Error() + "\n" + runtime.HintOf(err)
	for _, text := range texts {
		if !strings.Contains(said, text) {
			t.Errorf("the error lacks %q:\n%s", text, said)
		}
	}
}

func TestTheReferenceIsComplete(t *testing.T) { calltest.Complete(t, terraform.Specs("/")) }

// TestAPreviewPlansAndWritesNothing: what is known is real, the rest names the
// resource, and the project is as it was.
func TestAPreviewPlansAndWritesNothing(t *testing.T) {
	p := newProject(t, boxes)
	before := p.files(t)
	door := &calltest.Door{DryRun: true}
	g := door.Must(t, p.specs(), `
tf = terraform.dir("terraform/box")
p = tf.plan()
done = tf.apply(p)
`)
	if after := p.files(t); after != before {
		t.Errorf("the project is another one:\n%s", after)
	}
	outputs := field(t, g["done"], "outputs")
	for _, want := range []string{`"length": 3`, "(known after terraform.apply of terraform_data.box[0], test.star:4)", `"key": ‹secret box output key›`} {
		if !strings.Contains(outputs, want) {
			t.Errorf("the outputs lack %s: %s", want, outputs)
		}
	}
	if got := field(t, g["p"], "creates"); got != `["terraform_data.box[0]", "terraform_data.lid"]` {
		t.Errorf("creates %s", got)
	}
	if v := door.Predictions[0].Verdict; v != runtime.WillChange {
		t.Errorf("verdict %s", v)
	}
}

// TestARunAnswersAsThePreviewSaid: the same fields and outputs, in one order.
func TestARunAnswersAsThePreviewSaid(t *testing.T) {
	p := newProject(t, boxes)
	const code = `
tf = terraform.dir("terraform/box")
done = tf.apply(tf.plan())
names = list(done.outputs)
`
	preview := (&calltest.Door{DryRun: true}).Must(t, p.specs(), code)
	run := (&calltest.Door{}).Must(t, p.specs(), code)
	if preview["names"].String() != run["names"].String() || field(t, preview["done"], "created") != field(t, run["done"], "created") {
		t.Errorf("preview %s, run %s", preview["done"], run["done"])
	}
	again := &calltest.Door{DryRun: true}
	g := again.Must(t, p.specs(), code)
	if again.Predictions[0].Verdict != runtime.NoChange || field(t, g["done"], "changed") != "False" {
		t.Errorf("a second time: %s", g["done"])
	}
	if _, unknown := runtime.FindUnknown(g["done"]); unknown {
		t.Errorf("all is known: %s", g["done"])
	}
}

// TestTheEffectIsThePlans: what is deleted or replaced cannot be taken back,
// and neither can what an installer does.
func TestTheEffectIsThePlans(t *testing.T) {
	p := applied(t)
	for _, c := range []struct {
		vars    string
		effect  runtime.Effect
		verdict runtime.Verdict
		show    string
	}{
		{`{}`, runtime.Change, runtime.NoChange, "terraform apply terraform/box: nothing to do"},
		{`{"n": 3}`, runtime.Change, runtime.WillChange, "terraform apply terraform/box: create 2"},
		{`{"key": "x"}`, runtime.Change, runtime.WillChange, "terraform apply terraform/box: update 1"},
		{`{"n": 0}`, runtime.Destroy, runtime.WillDestroy, "terraform apply terraform/box: delete terraform_data.box[0]"},
		{`{"text": "two"}`, runtime.Destroy, runtime.WillDestroy, "terraform apply terraform/box: replace terraform_data.lid; update 1"},
	} {
		config := boxes
		if c.vars == `{"n": 0}` {
			config = strings.ReplaceAll(boxes, "terraform_data.box[0].", "terraform_data.lid.")
		}
		p.write(t, config)
		door := &calltest.Door{DryRun: true}
		door.Must(t, p.specs(), `tf = terraform.dir("terraform/box", name = "crate", vars = `+c.vars+`)`+"\ntf.apply(tf.plan())\n")
		op := door.Ops[1]
		if op.Effect != c.effect || door.Predictions[0].Verdict != c.verdict || op.Show != c.show || op.About != "crate" || op.Name != "terraform.apply" {
			t.Errorf("%s: %s %s %s %s %q", c.vars, op.Name, op.Effect, door.Predictions[0].Verdict, op.About, op.Show)
		}
		if op.Pos.Line != 2 {
			t.Errorf("%s: it stands at %s", c.vars, op.Pos)
		}
	}
	installer := newProject(t, `resource "terraform_data" "install" {
  provisioner "local-exec" { command = "true" }
}`)
	door := &calltest.Door{DryRun: true}
	door.Must(t, installer.specs(), `tf = terraform.dir("terraform/box")`+"\ntf.apply(tf.plan())\n")
	if op := door.Ops[1]; op.Effect != runtime.Destroy || door.Predictions[0].Verdict != runtime.WillDestroy || !strings.Contains(op.Show, "run the provisioners of terraform_data.install") {
		t.Errorf("an installer is %s: %s", op.Effect, op.Show)
	}
}

// TestWhatIsProtectedStays, in the preview and in the run, of apply and destroy.
func TestWhatIsProtectedStays(t *testing.T) {
	p := applied(t)
	for _, dry := range []bool{true, false} {
		for _, do := range []string{`tf.apply(tf.plan())`, `tf.destroy()`, `tf.apply(tf.plan(destroy = True))`} {
			door := &calltest.Door{DryRun: dry}
			_, err := door.Run(t, p.specs(), `tf = terraform.dir("terraform/box", vars = {"text": "two"}, protect = ["terraform_data.lid"])`+"\n"+do+"\n")
			wants(t, err, "protected: terraform_data.lid", "nothing was done")
			if len(door.Ops) != 1 {
				t.Errorf("%s: it was asked for", do)
			}
		}
	}
}

func TestOutputs(t *testing.T) {
	p := applied(t)
	g := (&calltest.Door{}).Must(t, p.specs(), `
tf = terraform.dir("terraform/box")
all = tf.outputs()
text = tf.output("text")
`)
	all := g["all"].(*starlark.Dict)
	if v, _, _ := all.Get(starlark.String("length")); v != starlark.MakeInt(3) && v.String() != "3" || g["text"] != starlark.String("one") {
		t.Errorf("%s, %s", all, g["text"])
	}
	_, err := (&calltest.Door{}).Run(t, p.specs(), `terraform.dir("terraform/box").output("lenght")`)
	wants(t, err, "there is no output lenght; there are: box, key, length, text", "did you mean length?")
	empty := newProject(t, boxes)
	_, err = (&calltest.Door{}).Run(t, empty.specs(), `terraform.dir("terraform/box").output("text")`)
	wants(t, err, "there is no output text, and none at all")
}

func TestDestroy(t *testing.T) {
	for _, binary := range []string{"terraform", "tofu"} {
		t.Run(binary, func(t *testing.T) {
			path := terraformtest.Binary(t, binary)
			p := newProject(t, boxes)
			code := fmt.Sprintf(`tf = terraform.dir("terraform/box", binary = %q)`, path) + `
tf.validate()
made = tf.apply(tf.plan())
gone = tf.destroy()
again = tf.destroy()
`
			door := &calltest.Door{}
			g := door.Must(t, p.specs(), code)
			if got := field(t, g["gone"], "deleted"); got != `["terraform_data.box[0]", "terraform_data.lid"]` || field(t, g["again"], "changed") != "False" {
				t.Errorf("%s, %s", g["gone"], g["again"])
			}
			var effects []string
			for _, op := range door.Ops {
				effects = append(effects, op.Name+" "+op.Effect.String())
			}
			want := []string{"terraform.validate read", "terraform.plan read", "terraform.apply change", "terraform.plan read", "terraform.destroy destroy", "terraform.plan read", "terraform.destroy change"}
			if !slices.Equal(effects, want) {
				t.Errorf("asked for %q", effects)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	p := newProject(t, "resource \"terraform_data\" \"x\" {\n  input = var.nowhere\n}\n")
	_, err := (&calltest.Door{}).Run(t, p.specs(), `terraform.dir("terraform/box").validate()`)
	wants(t, err, "terraform/box", "main.tf:2", "nowhere")
}

// TestTheExamplesRun, one after the other, as those of the reference do.
func TestTheExamplesRun(t *testing.T) {
	p := newProject(t, boxes)
	for _, folder := range []string{"example", "empty"} {
		if err := os.MkdirAll(filepath.Join(p.root, "terraform", folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	token := runtime.NewSecret("token", "of no use here")
	secrets := call.New(call.Spec{Name: "secrets.env"}, func(*call.Call, struct {
		Name string `arg:"name"`
	}) (starlark.Value, error) {
		return token, nil
	})
	specs := append(p.specs(), secrets)
	for _, s := range p.specs() {
		(&calltest.Door{}).Must(t, specs, s.Example)
	}
}

// TestOutputsAlone: a plan that alters no resource but an output is applied
// too, and numbers have all their digits.
func TestOutputsAlone(t *testing.T) {
	p := applied(t)
	p.write(t, boxes+"output \"big\" { value = 12345678901234567890 }\noutput \"half\" { value = 0.5 }\n")
	const code = `
tf = terraform.dir("terraform/box")
done = tf.apply(tf.plan())
`
	for _, dry := range []bool{true, false} {
		door := &calltest.Door{DryRun: dry}
		g := door.Must(t, p.specs(), code)
		if got := field(t, g["done"], "outputs"); field(t, g["done"], "changed") != "True" || !strings.Contains(got, `"big": 12345678901234567890`) || !strings.Contains(got, `"half": 0.5`) {
			t.Errorf("%s", g["done"])
		}
		if dry && (door.Predictions[0].Verdict != runtime.WillChange || door.Ops[1].Show != "terraform apply terraform/box: no resource, only the state") {
			t.Errorf("%s: %s", door.Predictions[0].Verdict, door.Ops[1].Show)
		}
	}
}

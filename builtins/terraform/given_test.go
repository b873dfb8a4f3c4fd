package terraform_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/builtins/internal/call"
	"infra/builtins/internal/calltest"
	"infra/builtins/terraform"
	"infra/runtime"
)

// TestSecretsStayIn: given as a variable or in the environment, a secret is in
// no argument, no detail, no result and no log, and terraform gets it.
func TestSecretsStayIn(t *testing.T) {
	p := newProject(t, `
variable "key" {}
resource "terraform_data" "copy" { input = "<${var.key}>" }
output "hash" { value = sha256(var.key) }
`)
	names := starlark.StringDict{"key": runtime.NewSecret("the key", "hohes-c \"quoted\""), "token": runtime.NewSecret("the token", "hohes-c-sharp")}
	const code = `
tf = terraform.dir("terraform/box", vars = {"key": key}, env = {"TOKEN": token})
p = tf.plan()
done = tf.apply(p)
`
	for _, dry := range []bool{true, false} {
		door := &calltest.Door{DryRun: dry, Names: names}
		g := door.Must(t, p.specs(), code)
		seen := fmt.Sprint(g["tf"], g["p"], g["done"], door.Predictions) + door.Log.String()
		for _, op := range door.Ops {
			seen += calltest.Line(t, op)
		}
		if strings.Contains(seen, "hohes-c") {
			t.Errorf("it is shown:\n%s", seen)
		}
		if dry {
			continue
		}
		if want := fmt.Sprintf("%x", sha256.Sum256([]byte("hohes-c \"quoted\""))); !strings.Contains(field(t, g["done"], "outputs"), want) {
			t.Error("terraform got another one")
		}
	}
}

// TestWhatIsGiven is what terraform.dir refuses, and why.
func TestWhatIsGiven(t *testing.T) {
	names := starlark.StringDict{"s": runtime.NewSecret("s", "very secret"), "f": starlark.NewBuiltin("f", nil)}
	for code, want := range map[string]string{
		`terraform.dir("")`:                                                  "path is empty",
		`terraform.dir("x", backend = {"password": s})`:                      "env = {...}",
		`terraform.dir("x", backend = {"n": 1})`:                             "backend: n: want a string",
		`terraform.dir("x", vars = {"a": {"b": [s]}})`:                       "vars: a: b: element 0: ‹secret s› is within other data",
		`terraform.dir("x", vars = {"a": f})`:                                "vars: a: want plain data, got builtin_function_or_method",
		`terraform.dir("x", vars = {"a": str(s)})`:                           "placeholder of secret s",
		`terraform.dir("x", vars = [])`:                                      "vars: want a dict, got list",
		`terraform.dir("x", vars = {1: 2})`:                                  "vars: want strings as keys",
		`terraform.dir("x", vars = {"a": float("nan")})`:                     "is no number",
		`terraform.dir("x", env = {"A": 1})`:                                 "env: A: want a string or a secret",
		`terraform.dir("x", config = "main.tf")`:                             "want a dict or a store path",
		`terraform.dir("x", config = 3)`:                                     "want a dict or a store path, got int",
		`terraform.dir("x", config = {"locals": {"a": s}})`:                  "a secret is the value of a variable of its own",
		`terraform.dir("x", protect = ["a["])`:                               "is no pattern",
		`l = []` + "\nl.append(l)\n" + `terraform.dir("x", vars = {"a": l})`: "holds itself",
	} {
		_, err := (&calltest.Door{Names: names}).Run(t, terraform.Specs(t.TempDir()), code+"\n")
		wants(t, err, want)
	}
}

// TestNotKnownYet: what terraform is given may be unknown in a preview. Nothing
// is then planned nor applied, and it is said from where it will come.
func TestNotKnownYet(t *testing.T) {
	u := runtime.Unknown{Op: "ssh.run", Pos: syntax.MakePosition(new("p.star"), 7, 1)}
	for _, given := range []string{`vars = {"a": [u]}`, `vars = u`, `env = {"A": u}`, `config = u`, `config = {"a": u}`} {
		do, err := asked(t, `terraform.dir("x", `+given+`).plan()`, starlark.StringDict{"u": u})
		if err != nil || do.Needs == nil || do.Needs.Op != "ssh.run" {
			t.Errorf("%s: %v %v", given, do.Needs, err)
			continue
		}
		plan := do.NotKnown()
		if got := field(t, plan, "digest"); got != "(known after terraform.plan, test.star:1)" {
			t.Errorf("%s: the digest is %s", given, got)
		}
		for _, plan := range []starlark.Value{plan, u} {
			names := starlark.StringDict{"p": plan}
			op, err := asked(t, `terraform.dir("x").apply(p)`, names)
			if err != nil || op.Needs == nil || op.Effect != runtime.Change {
				t.Errorf("%s: %v %s %v", given, op.Needs, op.Effect, err)
			}
			if op.Args["digest"] != op.Needs.String() {
				t.Errorf("the digest is %v", op.Args["digest"])
			}
		}
	}
}

// asked is the first operation that code asks for, which is not carried out.
func asked(t *testing.T, code string, names starlark.StringDict) (op runtime.Op, err error) {
	t.Helper()
	do := func(_ context.Context, o runtime.Op) (runtime.Result, error) {
		op = o
		return runtime.Result{}, nil
	}
	env := call.Modules(do, terraform.Specs("/nowhere"))
	for name, v := range names {
		env[name] = v
	}
	thread := &starlark.Thread{Name: t.Name()}
	runtime.SetContext(thread, t.Context())
	_, err = starlark.ExecFileOptions(&syntax.FileOptions{}, thread, "test.star", "x = "+code, env)
	return op, err
}

// TestWhatAPreviewDoubts: after an apply that was not made, the state's outputs
// and another plan are not what they will be; a plan asks the network too, and
// depends on the configuration that nix builds.
func TestWhatAPreviewDoubts(t *testing.T) {
	p := newProject(t, boxes)
	built := &runtime.StorePath{Path: "/nix/store/00000000000000000000000000000000-config.json"}
	door := &calltest.Door{DryRun: true}
	door.Must(t, p.specs(), `tf = terraform.dir("terraform/box")`+"\np = tf.plan()\ntf.apply(p)\ntf.outputs()\ntf.validate()\n")
	apply := door.Ops[1]
	for _, i := range []int{0, 2} {
		if !calltest.Meets(door.Ops[i].Looks, apply.Alters) {
			t.Errorf("%s does not see what the apply alters", door.Ops[i].Name)
		}
	}
	if calltest.Meets(door.Ops[2].Looks, []string{filepath.Join(p.root, "terraform", "other")}) || !door.Ops[0].Beyond || door.Ops[2].Beyond {
		t.Error("they look elsewhere")
	}
	for _, op := range door.Ops {
		if op.Effect == runtime.Read && (op.Alters == nil || len(op.Alters) > 0) {
			t.Errorf("%s alters %v", op.Name, op.Alters)
		}
		if len(op.Locks) != 1 || op.Locks[0] != door.Ops[0].Locks[0] || !strings.HasSuffix(op.Locks[0], "/terraform/box") {
			t.Errorf("%s has the lock %v", op.Name, op.Locks)
		}
	}
	op, err := asked(t, `terraform.dir("x", config = built, var_files = ["a.tfvars"]).plan()`, starlark.StringDict{"built": built})
	if err != nil || !calltest.Meets(op.Looks, []string{"/nix/store"}) || !calltest.Meets(op.Looks, []string{"/nowhere/a.tfvars"}) {
		t.Errorf("the plan looks at %v: %v", op.Looks, err)
	}
	_, err = (&calltest.Door{DryRun: true, Names: starlark.StringDict{"built": built}}).Run(t, p.specs(), `terraform.dir("terraform/box", config = built).plan()`)
	wants(t, err, "is not built", "nix.build")
}

// TestConfig: the configuration is a dict, a file or a folder that nix built,
// and the folder itself has none.
func TestConfig(t *testing.T) {
	p := newProject(t, boxes)
	if err := os.Remove(filepath.Join(p.root, "terraform/box/main.tf")); err != nil {
		t.Fatal(err)
	}
	config := `{"output":{"answer":{"value":42}}}`
	folder := t.TempDir()
	file := filepath.Join(folder, "config.tf.json")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	names := starlark.StringDict{"file": &runtime.StorePath{Path: file}, "folder": &runtime.StorePath{Path: folder}}
	for _, given := range []string{`{"output": {"answer": {"value": 42}}}`, "file", "folder"} {
		g := (&calltest.Door{Names: names}).Must(t, p.specs(), `p = terraform.dir("terraform/box", config = `+given+`).plan()`)
		if got := field(t, g["p"], "outputs"); got != `{"answer": 42}` {
			t.Errorf("%s: %s", given, got)
		}
	}
	if err := os.WriteFile(file, []byte("output {}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := (&calltest.Door{Names: names}).Run(t, p.specs(), `terraform.dir("terraform/box", config = file).plan()`)
	wants(t, err, "is no JSON", "HCL belongs into the folder")
}

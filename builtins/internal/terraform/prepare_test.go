package terraform

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"infra/builtins/internal/terraform/terraformtest"
	vocabulary "infra/runtime"
)

// counting is a terraform that notes how it is called.
func counting(t *testing.T, name string) (binary string, calls func() string) {
	t.Helper()
	real, noted := terraformtest.Binary(t, name), filepath.Join(t.TempDir(), "calls")
	binary = filepath.Join(t.TempDir(), name)
	write(t, binary, fmt.Sprintf("#!/bin/sh\necho \"$1\" >>%s\nexec %s \"$@\"\n", noted, real))
	must(t, os.Chmod(binary, 0o755))
	return binary, func() string {
		text, _ := os.ReadFile(noted)
		_ = os.Remove(noted)
		return strings.Join(strings.Fields(string(text)), " ")
	}
}

func TestInitOnlyWhenNeeded(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		inits := "init"
		if before(t, binary, 9) { // it has to find out that -json is not known
			inits = "init init"
		}
		binary, calls := counting(t, filepath.Base(binary))
		d := folder(t, binary, map[string]string{
			"main.tf":   "module \"m\" {\n source = \"./m\"\n}\noutput \"x\" { value = 1 }",
			"m/main.tf": `resource "terraform_data" "a" {}`,
			"n/main.tf": `resource "terraform_data" "b" {}`,
		})
		for _, step := range []struct{ name, write, text, want string }{
			{"first", "", "", "init plan show apply"},
			{"again", "", "", "plan show apply"},
			{"a file that is not read", "README", "x", "plan show apply"},
			{"the configuration", "more.tf", `output "y" { value = 2 }`, "init plan show apply"},
			{"what only terraform knows of", "m/more.tf", "module \"n\" {\n source = \"../n\"\n}", "plan init plan show apply"},
			{"after that", "", "", "plan show apply"},
		} {
			if step.write != "" {
				write(t, filepath.Join(d.Path, step.write), step.text)
			}
			fresh := &Dir{Binary: d.Binary, Path: d.Path, Data: d.Data}
			applied(t, fresh, planned(t, fresh))
			if got, want := calls(), strings.Replace(step.want, "init", inits, 1); got != want {
				t.Errorf("%s: %q, want %q", step.name, got, want)
			}
		}
	})
}

// What stands in our environment changes nothing.
func TestStrayEnvironment(t *testing.T) {
	for name, value := range map[string]string{"TF_CLI_ARGS": "-nonsense", "TF_CLI_ARGS_plan": "-nonsense", "TF_CLI_ARGS_apply": "-destroy",
		"TF_VAR_size": "stray", "TF_WORKSPACE": "stray", "TF_LOG": "TRACE", "TF_DATA_DIR": "/nonexistent", "STRAY": "stray", "TF_INPUT": "1"} {
		t.Setenv(name, value)
	}
	tools(t, func(t *testing.T, binary string) {
		d := folder(t, binary, map[string]string{"main.tf": `
variable "size" { default = "small" }
resource "terraform_data" "a" {
  input = var.size
  provisioner "local-exec" { command = "echo stray=$STRAY given=$GIVEN" }
}
output "size" { value = terraform_data.a.output }`})
		d.Env = map[string]vocabulary.Text{"GIVEN": vocabulary.PlainText("yes")}
		must(t, d.Validate(inTime(t), nil))
		a, log := applied(t, d, planned(t, d))
		says(t, log, "stray= given=yes\n")
		if got := string(a.Outputs["size"].Value); got != `"small"` {
			t.Errorf("size is %s", got)
		}
		if _, err := d.Outputs(inTime(t), nil); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(d.Path, "terraform.tfstate")); err != nil {
			t.Errorf("the state: %v", err)
		}
	})
}

func TestWorkspace(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		d := folder(t, binary, map[string]string{"main.tf": `output "ws" { value = terraform.workspace }`})
		d.Workspace = "staging"
		s := planned(t, d)
		if entries, _ := os.ReadDir(d.Path); len(entries) != 1 {
			t.Errorf("planning wrote into the folder: %v", entries)
		}
		a, _ := applied(t, d, s)
		if got := string(a.Outputs["ws"].Value); got != `"staging"` {
			t.Errorf("the workspace is %s", got)
		}
		if _, err := os.Stat(filepath.Join(d.Path, "terraform.tfstate.d/staging/terraform.tfstate")); err != nil {
			t.Error(err)
		}
		plain := &Dir{Binary: binary, Path: d.Path, Data: d.Data}
		if outputs, err := plain.Outputs(inTime(t), nil); err != nil || len(outputs) != 0 {
			t.Errorf("the default workspace has %v: %v", outputs, err)
		}
		write(t, filepath.Join(d.Path, ".terraform/environment"), "staging")
		_, err := plain.Plan(inTime(t), nil, false)
		complains(t, err, "the workspace staging was chosen", "asks for default", `workspace = "staging"`)
	})
}

// Init chooses the default workspace where a backend that is named has no
// other, and refuses one that it does not have where it has others.
func TestWorkspacesOfABackend(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		d := folder(t, binary, nil)
		for _, name := range []string{"staging", "production"} {
			w := &Dir{Binary: binary, Path: d.Path, Data: d.Data, Workspace: name, Config: []byte(`{"output": {"ws": {"value": "${terraform.workspace}"}}}`)}
			a, _ := applied(t, w, planned(t, w))
			if got := string(a.Outputs["ws"].Value); got != `"`+name+`"` {
				t.Errorf("the workspace is %s, not %s", got, name)
			}
			if _, err := os.Stat(filepath.Join(d.Path, "terraform.tfstate.d", name, "terraform.tfstate")); err != nil {
				t.Error(err)
			}
		}
		if _, err := os.Stat(filepath.Join(d.Path, "terraform.tfstate")); err == nil {
			t.Error("the default workspace has a state")
		}
	})
}

func TestConfigurationOfThePlan(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		d := folder(t, binary, nil)
		for i, config := range []string{
			`{"resource":{"terraform_data":{"a":{"input":"one"}}},"output":{"a":{"value":"${terraform_data.a.output}"}}}`,
			`{"terraform":[{"required_version":">= 1.0"}],"resource":{"terraform_data":{"a":{"input":"two"}}},"output":{"a":{"value":"${terraform_data.a.output}"}}}`,
		} {
			d := &Dir{Binary: binary, Path: d.Path, Data: d.Data, Config: []byte(config)}
			s := planned(t, d)
			a, _ := applied(t, d, s)
			if want := []string{`"one"`, `"two"`}[i]; string(a.Outputs["a"].Value) != want {
				t.Errorf("a is %s, want %s", a.Outputs["a"].Value, want)
			}
			if entries, _ := os.ReadDir(d.Path); len(entries) != 1+i || entries[0].Name() != "terraform.tfstate" {
				t.Errorf("the folder has %v", entries)
			}
			if want := []string{"create", "update"}[i]; len(a.Done) != 1 || a.Done[0].Action != want {
				t.Errorf("it did %v, want one %s", a.Done, want)
			}
		}
		info, err := os.Stat(filepath.Join(d.Data, filepath.Base(binary)+"-default", "config", configFile))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	})
}

func TestNamesBackend(t *testing.T) {
	for _, tt := range []struct {
		config    string
		want, bad bool
	}{
		{`{}`, false, false},
		{`{"terraform":{"backend":{"s3":{}}}}`, true, false},
		{`{"terraform":{"cloud":{}}}`, true, false},
		{`{"terraform":[{"required_version":"1"},{"backend":{"s3":{}}}]}`, true, false},
		{`{"terraform":[]}`, false, false},
		{`{"terraform":3}`, false, false},
		{`[]`, false, true},
		{`nonsense`, false, true},
	} {
		if got, err := namesBackend([]byte(tt.config)); got != tt.want || (err != nil) != tt.bad {
			t.Errorf("%s: %v, %v", tt.config, got, err)
		}
	}
}

func TestBackend(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		state := filepath.Join(t.TempDir(), "elsewhere.tfstate")
		d := folder(t, binary, map[string]string{"main.tf": "terraform {\n backend \"local\" {}\n}\noutput \"x\" { value = 1 }"})
		d.Backend = map[string]string{"path": state}
		applied(t, d, planned(t, d))
		if _, err := os.Stat(state); err != nil {
			t.Error(err)
		}
	})
}

// An empty mirror in the place of the registry.
func mirrored(t *testing.T) (mirror string, env map[string]vocabulary.Text) {
	mirror = t.TempDir()
	config := filepath.Join(t.TempDir(), "config.tfrc")
	write(t, config, fmt.Sprintf("provider_installation {\n filesystem_mirror { path = %q }\n}\n", mirror))
	return mirror, map[string]vocabulary.Text{"TF_CLI_CONFIG_FILE": vocabulary.PlainText(config)}
}

func TestProvidersThatAreMissing(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		mirror, env := mirrored(t)
		d := folder(t, binary, map[string]string{"main.tf": `resource "made_up" "a" {}`,
			"versions.tf": "terraform {\n required_providers {\n  made = { source = \"example.org/x/made\" }\n }\n}"})
		d.Env = env
		_, err := d.Plan(inTime(t), nil, false)
		complains(t, err, filepath.Base(binary)+" init of "+d.Path+" failed", "example.org/x/made")

		write(t, filepath.Join(mirror, "example.org/x/made/1.0.0", runtime.GOOS+"_"+runtime.GOARCH, "terraform-provider-made_v1.0.0"), "no program")
		_, err = d.Plan(inTime(t), nil, false)
		complains(t, err, "dependency", lockFile+" lacks a provider", "-chdir="+d.Path+" init -backend=false")
	})
}

func TestWhatIsWrong(t *testing.T) {
	binary := terraformtest.Binary(t, "terraform")
	text := vocabulary.PlainText
	for _, tt := range []struct {
		name, config string
		change       func(*Dir)
		want         []string
	}{
		{"syntax", "output \"x\" {\n  value = \n}", nil, []string{"main.tf:2: "}},
		{"names", "output \"x\" {\n  value = terraform_data.none.id\n}", nil, []string{"plan of ", "main.tf:2: Reference to undeclared resource: "}},
		{"a variable without a value", `variable "v" {}`, nil, []string{"main.tf:1: No value for required variable", "in vars or var_files"}},
		{"a variable of another type", `variable "v" { type = number }`, func(d *Dir) { d.Vars = map[string]vocabulary.Text{"v": text(`"x"`)} },
			[]string{"failed: Invalid value for input variable", "main.tf:1"}},
		{"no JSON", "", func(d *Dir) { d.Vars = map[string]vocabulary.Text{"v": text(`x`)} }, []string{"the value of variable v is not JSON"}},
		{"a variable in the environment", "", func(d *Dir) { d.Env = map[string]vocabulary.Text{"TF_VAR_x": text("y")} },
			[]string{"TF_VAR_x cannot be set in the environment: the variable's place is vars"}},
		{"the environment", "", func(d *Dir) { d.Env = map[string]vocabulary.Text{"TF_LOG": text("TRACE")} }, []string{"TF_LOG cannot be set"}},
		{"our environment", "", func(d *Dir) { d.Env = map[string]vocabulary.Text{"TF_DATA_DIR": text("x")} }, []string{"TF_DATA_DIR cannot be set"}},
		{"a name", "", func(d *Dir) { d.Env = map[string]vocabulary.Text{"A=B": text("x")} }, []string{`"A=B" is no name of an environment variable`}},
		{"a workspace", "", func(d *Dir) { d.Workspace = "../x" }, []string{`"../x" is no name of a workspace`}},
		{"a folder", "", func(d *Dir) { d.Path += "/none" }, []string{"/none is not a folder"}},
		{"a binary", "", func(d *Dir) { d.Binary = "no-such-terraform" }, []string{"no-such-terraform is not installed (not on PATH)"}},
		{"a file with variables", "", func(d *Dir) { d.VarFiles = []string{"none.tfvars"} }, []string{"none.tfvars"}},
		{"JSON", "", func(d *Dir) { d.Config = []byte("{") }, []string{"it is not a JSON object"}},
	} {
		d := folder(t, binary, map[string]string{"main.tf": tt.config})
		if tt.change != nil {
			tt.change(d)
		}
		_, err := d.Plan(inTime(t), nil, false)
		if err == nil {
			t.Errorf("%s: no error", tt.name)
			continue
		}
		says(t, err.Error()+vocabulary.HintOf(err), tt.want...)
		if strings.Contains(err.Error(), "exit status") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	d := folder(t, "no-such-terraform", nil)
	if _, err := d.Outputs(inTime(t), nil); !errors.Is(err, exec.ErrNotFound) {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		d := folder(t, binary, map[string]string{"main.tf": twoThings})
		must(t, d.Validate(inTime(t), nil))
		write(t, filepath.Join(d.Path, "bad.tf"), "output \"y\" {\n  value = terraform_data.none.id\n}")
		err := d.Validate(inTime(t), nil)
		complains(t, err, "the configuration in "+d.Path+" is not valid: ", filepath.Join(d.Path, "bad.tf")+":2: ")
		write(t, filepath.Join(d.Path, "bad.tf"), "output \"y\" {\n  wrong = 1\n}")
		err = d.Validate(inTime(t), nil)
		complains(t, err, filepath.Join(d.Path, "bad.tf")+":1: ", "bad.tf:2: ")
		if strings.Contains(err.Error(), "encountered problems") {
			t.Error(err)
		}
	})
}

func TestSideBySide(t *testing.T) {
	d := folder(t, terraformtest.Binary(t, "terraform"), map[string]string{"main.tf": twoThings})
	var all sync.WaitGroup
	for range 4 {
		fresh := &Dir{Binary: d.Binary, Path: d.Path, Data: d.Data}
		all.Go(func() {
			if _, err := fresh.Plan(inTime(t), nil, false); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

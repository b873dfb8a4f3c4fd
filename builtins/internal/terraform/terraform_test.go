package terraform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"infra/builtins/internal/terraform/terraformtest"
	"infra/runtime"
)

// TestMain lets the test binary be the infra that is killed while it applies.
func TestMain(m *testing.M) {
	if path := os.Getenv("INFRA_TEST_APPLIES"); path != "" {
		d := &Dir{Binary: os.Getenv("INFRA_TEST_BINARY"), Path: path, Data: os.Getenv("INFRA_TEST_DATA"), Run: "r-killed"}
		if api := os.Getenv("INFRA_TEST_API"); api != "" {
			d.Env, d.Config = atHetzner(api), keyConfig("")
		}
		s, err := d.Plan(context.Background(), os.Stdout, false)
		if err == nil {
			_, err = d.Apply(context.Background(), os.Stdout, s)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// hang is longer than anything takes that does not hang.
const hang = 2 * time.Minute

func inTime(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v\nhint: %s", err, runtime.HintOf(err))
	}
}

// tools runs the test with terraform and with tofu.
func tools(t *testing.T, test func(t *testing.T, binary string)) {
	for _, name := range []string{"terraform", "tofu"} {
		t.Run(name, func(t *testing.T) { test(t, theTool(t, name)) })
	}
}

// before says whether the tool is a terraform older than 1.minor, as the lab
// builds it where a machine has none: OpenTofu then shows what that cannot do.
func before(t *testing.T, binary string, minor int) bool {
	t.Helper()
	cmd := exec.Command(binary, "version", "-json")
	cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+os.DevNull)
	out, err := cmd.Output()
	var v struct {
		Terraform string `json:"terraform_version"`
	}
	if err == nil {
		err = json.Unmarshal(out, &v)
	}
	var is int
	if _, scanErr := fmt.Sscanf(v.Terraform, "1.%d.", &is); err != nil || scanErr != nil {
		t.Fatalf("%s has the version %q: %v, %v", binary, v.Terraform, err, scanErr)
	}
	return filepath.Base(binary) == "terraform" && is < minor
}

// folder is a Dir with these files, and data of its own.
func folder(t testing.TB, binary string, files map[string]string) *Dir {
	t.Helper()
	path := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(path, name), text)
	}
	return &Dir{Binary: binary, Path: path, Data: t.TempDir()}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

// A notice is a log that says when a text has come.
type notice struct {
	mu   sync.Mutex
	text bytes.Buffer
	want string
	came chan struct{}
}

func noticing(want string) *notice { return &notice{want: want, came: make(chan struct{})} }

func (n *notice) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.has()
	n.text.Write(p)
	if !before && n.has() {
		close(n.came)
	}
	return len(p), nil
}

func (n *notice) has() bool { return n.want != "" && strings.Contains(n.text.String(), n.want) }

func (n *notice) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

func (n *notice) await(t *testing.T) {
	t.Helper()
	select {
	case <-n.came:
	case <-time.After(hang):
		t.Fatalf("%q did not come; this came:\n%s", n.want, n)
	}
}

// says fails unless the text has all of the parts.
func says(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("it lacks %q:\n%s", p, text)
		}
	}
}

// complains fails unless the error and its hint have all of the parts.
func complains(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", parts)
	}
	says(t, err.Error()+"\nhint: "+runtime.HintOf(err), parts...)
}

func planned(t *testing.T, d *Dir) *Saved {
	t.Helper()
	var log bytes.Buffer
	s, err := d.Plan(inTime(t), &log, false)
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	return s
}

func applied(t *testing.T, d *Dir, s *Saved) (Applied, string) {
	t.Helper()
	var log bytes.Buffer
	a, err := d.Apply(inTime(t), &log, s)
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	return a, log.String()
}

const twoThings = `
variable "size" { default = "small" }
resource "terraform_data" "a" {
  input = var.size
  provisioner "local-exec" { command = "echo from-the-provisioner" }
}
resource "terraform_data" "b" { input = terraform_data.a.id }
output "size" { value = terraform_data.a.output }
output "b" { value = terraform_data.b.id }
output "list" { value = [1, true, null, "x"] }
output "hidden" {
  value     = "sesame-open"
  sensitive = true
}
`

func TestPlanAndApply(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		d := folder(t, binary, map[string]string{"main.tf": twoThings})
		d.Vars = map[string]runtime.Text{"size": runtime.PlainText(`"cx53"`)}
		s := planned(t, d)
		if s.operations() != 2 || len(s.file) == 0 {
			t.Errorf("the plan has %d operations", s.operations())
		}
		if entries, _ := os.ReadDir(d.Path); len(entries) != 1 {
			t.Errorf("planning wrote into the folder: %v", entries)
		}
		a, log := applied(t, d, s)
		says(t, log, "terraform_data.a: creating\n", "terraform_data.a (local-exec): from-the-provisioner\n",
			"terraform_data.a: created in 0.", "(id "+a.Done[0].ID+"), 1 of 2\n", ", 2 of 2\n")
		if len(a.Done) != 2 || a.Done[0].Address != "terraform_data.a" || a.Done[0].Action != "create" || a.Done[0].ID == "" || a.Done[0].Took <= 0 {
			t.Errorf("done: %+v", a.Done)
		}
		kept, err := d.Outputs(inTime(t), nil)
		must(t, err)
		for _, outputs := range []map[string]Output{a.Outputs, kept} {
			for name, want := range map[string]string{"size": `"cx53"`, "b": `"` + a.Done[1].ID + `"`, "list": `[1,true,null,"x"]`, "hidden": `"sesame-open"`} {
				got := strings.NewReplacer(" ", "", "\n", "").Replace(string(outputs[name].Value))
				if got != want || outputs[name].Sensitive != (name == "hidden") {
					t.Errorf("output %s is %s (sensitive: %v), want %s", name, got, outputs[name].Sensitive, want)
				}
			}
		}
		again := planned(t, d)
		if n := len(again.Plan.PriorState.Values.RootModule.Resources); n != 2 {
			t.Errorf("the state has %d resources", n)
		}
		if again.operations() != 0 {
			t.Error("it is to be changed again")
		}
		gone, err := d.Plan(inTime(t), nil, true)
		must(t, err)
		a, log = applied(t, d, gone)
		if len(a.Done) != 2 || a.Done[0].Action != "delete" || a.Done[0].Address != "terraform_data.b" || len(a.Outputs) != 0 {
			t.Errorf("destroying did %+v", a)
		}
		says(t, log, "terraform_data.b: deleting\n", "terraform_data.b: deleted in 0.")
	})
}

func TestApplyOfAnOldPlan(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		d := folder(t, binary, map[string]string{"main.tf": `resource "terraform_data" "a" {}`})
		first, second := planned(t, d), planned(t, d)
		applied(t, d, first)
		_, err := d.Apply(inTime(t), nil, second)
		complains(t, err, filepath.Base(binary)+" apply of "+d.Path, "the state has changed since the plan was made", "plan again")
		if !errors.Is(err, ErrStale) {
			t.Errorf("%v is not ErrStale", err)
		}
	})
}

func theTool(t *testing.T, name string) string { return terraformtest.Binary(t, name) }

func anyTool(t *testing.T) string { return terraformtest.Binary(t, "terraform") }

package terraform

import (
	"bytes"
	"crypto/rand"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// secret is a secret, as JSON if it is for a variable.
func secret(t *testing.T, name, value string) runtime.Text {
	t.Helper()
	text, err := runtime.TextOf(runtime.NewSecret(name, value))
	must(t, err)
	return text
}

// watchArguments looks at the arguments of all processes until the function
// that it returns is called, which says which of the texts were seen.
func watchArguments(t *testing.T, texts ...string) (seen func() map[string]bool) {
	stop, done, found := make(chan struct{}), make(chan struct{}), map[string]bool{}
	end := sync.OnceFunc(func() {
		close(stop)
		<-done
	})
	t.Cleanup(end)
	go func() {
		defer close(done)
		look := time.NewTicker(5 * time.Millisecond) // looking costs those who are looked at
		defer look.Stop()
		for {
			select {
			case <-stop:
				return
			case <-look.C:
			}
			all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, name := range all {
				args, _ := os.ReadFile(name)
				for _, text := range texts {
					if bytes.Contains(args, []byte(text)) {
						found[text] = true
					}
				}
			}
		}
	}()
	return func() map[string]bool {
		end()
		return found
	}
}

// filesWith are the files below the folders that hold the text.
func filesWith(t *testing.T, text []byte, folders ...string) (found []string) {
	t.Helper()
	for _, folder := range folders {
		must(t, filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return nil // it went meanwhile, or is a pipe
			}
			if b, _ := os.ReadFile(path); bytes.Contains(b, text) {
				found = append(found, path)
			}
			return nil
		}))
	}
	return found
}

const secretThings = `
variable "token" {
  type      = string
  ephemeral = true
}
variable "kept" {
  type      = string
  sensitive = true
}
resource "terraform_data" "a" {
  provisioner "local-exec" {
    command     = "sleep 0.5; test \"$TOKEN\" = \"$WANTED\" && test -n \"$KEY\""
    environment = { TOKEN = var.token, KEY = var.kept }
  }
}
`

func TestSecretsStayHidden(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		token, kept := "open-sesame-"+rand.Text(), "sesame-that-is-kept-"+rand.Text()
		temp := t.TempDir()
		t.Setenv("TMPDIR", temp)
		things, ephemeral := secretThings, !before(t, binary, 10)
		if !ephemeral {
			things = strings.Replace(things, "ephemeral = true", "sensitive = true", 1)
		}
		d := folder(t, binary, map[string]string{"main.tf": things})
		d.Vars = map[string]runtime.Text{"token": secret(t, "token", `"`+token+`"`), "kept": secret(t, "kept", `"`+kept+`"`)}
		d.Env = map[string]runtime.Text{"WANTED": secret(t, "wanted", token)}
		seen := watchArguments(t, token, kept, "-var-file=", "sleep 0.5")
		s := planned(t, d)
		if found := filesWith(t, s.file, d.Path, d.Data, temp, memory); len(found) > 0 {
			t.Errorf("the plan is on disk: %v", found)
		}
		if s.ephemeral() != ephemeral {
			t.Errorf("that the variable is ephemeral is seen to be %v", !ephemeral)
		}
		_, log := applied(t, d, s)
		if args := seen(); args[token] || args[kept] || !args["-var-file="] || !args["sleep 0.5"] {
			t.Errorf("seen in arguments: %v", args)
		}
		if found := append(filesWith(t, []byte(token), d.Path, d.Data, temp, memory), filesWith(t, []byte(kept), d.Path, d.Data, temp, memory)...); len(found) > 0 {
			t.Errorf("secrets are on disk: %v", found)
		}
		if found := filesWith(t, s.file, d.Path, d.Data, temp, memory); len(found) > 0 {
			t.Errorf("the plan is on disk: %v", found)
		}
		if strings.Contains(log, token) || strings.Contains(log, kept) {
			t.Errorf("the log has a secret:\n%s", log)
		}
	})
}

// What a command prints of a secret is in neither the log nor the error.
func TestSecretsThatAreSaid(t *testing.T) {
	const token = "a-token-that-is-echoed"
	d := folder(t, anyTool(t), map[string]string{"main.tf": `
resource "terraform_data" "a" {
  provisioner "local-exec" { command = "echo said $TOKEN; exit 3" }
}`})
	d.Env = map[string]runtime.Text{"TOKEN": secret(t, "echoed", token)}
	var log bytes.Buffer
	s := planned(t, d)
	_, err := d.Apply(inTime(t), &log, s)
	complains(t, err, "local-exec provisioner error", "said ‹secret echoed›")
	says(t, log.String(), "said ‹secret echoed›")
	if strings.Contains(err.Error()+log.String(), token) {
		t.Errorf("it is told:\n%v\n%s", err, &log)
	}
}

// A plan that nobody reads the variables for ends too, and leaves nothing.
func TestVariablesThatNobodyReads(t *testing.T) {
	d := folder(t, anyTool(t), map[string]string{"main.tf": `output "x" { value = 1 }`})
	planned(t, d)
	write(t, filepath.Join(d.Path, "early.tf"), `output "x" { value = 1 }`) // fails before variables are read
	d.Vars = map[string]runtime.Text{"v": runtime.PlainText(starlark.String(strings.Repeat("x", 1<<20)).String())}
	_, err := d.Plan(inTime(t), nil, false)
	complains(t, err, "Duplicate output definition")
}

func TestLargeVariables(t *testing.T) {
	tools(t, func(t *testing.T, binary string) {
		d := folder(t, binary, map[string]string{"main.tf": "variable \"v\" {}\noutput \"n\" { value = length(var.v) }"})
		d.Vars = map[string]runtime.Text{"v": runtime.PlainText(starlark.String(strings.Repeat("x", 3<<20)).String())}
		a, _ := applied(t, d, planned(t, d))
		if got := string(a.Outputs["n"].Value); got != "3145728" {
			t.Errorf("its length is %s", got)
		}
	})
}

func TestEncryptedState(t *testing.T) {
	const value = "what-the-state-must-not-show"
	d := folder(t, theTool(t, "tofu"), map[string]string{"main.tf": `
resource "terraform_data" "a" { input = "` + value + `" }
output "a" { value = terraform_data.a.output }`})
	state := filepath.Join(d.Path, "terraform.tfstate")
	d.Env = map[string]runtime.Text{"TF_ENCRYPTION": secret(t, "encryption", `
key_provider "pbkdf2" "key" { passphrase = "correct-horse-battery-staple" }
method "aes_gcm" "m" { keys = key_provider.pbkdf2.key }
state { method = method.aes_gcm.m }
plan { method = method.aes_gcm.m }`)}
	s := planned(t, d)
	a, _ := applied(t, d, s)
	text, err := os.ReadFile(state)
	must(t, err)
	if bytes.Contains(text, []byte(value)) || !bytes.Contains(text, []byte("encrypted_data")) {
		t.Errorf("the state is\n%s", text)
	}
	if bytes.HasPrefix(s.file, []byte("PK")) {
		t.Error("the plan is not encrypted")
	}
	outputs, err := d.Outputs(inTime(t), nil)
	must(t, err)
	if got, want := string(outputs["a"].Value), `"`+value+`"`; got != want || string(a.Outputs["a"].Value) != want {
		t.Errorf("the output is %s", got)
	}
}

package main

import (
	"context"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"infra/examples/lab/fleet"
	"infra/examples/lab/tools"
)

const cinnabarPlan = "plans/cinnabar.star"

// nothingThere is what the cloud has where it has nothing.
const nothingThere = `{"running_actions":[],"servers":[],"ssh_keys":[]}`

// newCloud is a trial whose only host is cinnabar, which only the cloud makes.
func newCloud(t *testing.T) *trial {
	t.Helper()
	t.Parallel()
	if err := tools.Install(t.Context(), os.Stderr, "../..", tools.Terraform, tools.Provider); err != nil {
		t.Fatalf("go run ./examples/lab test sets it up: %v", err)
	}
	return onFleet(t, fleet.Options{Hosts: []string{"cinnabar"}, Cloud: []string{"cinnabar"}}).withClan()
}

// ask asks the cloud for something, past infra and terraform.
func (tr *trial) ask(method, url, body string) string {
	tr.Helper()
	ctx, cancel := context.WithTimeout(tr.Context(), 10*time.Second)
	defer cancel()
	token, err := tr.fleet.CloudToken()
	if err != nil {
		tr.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		tr.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tr.Fatal(err)
	}
	defer resp.Body.Close()
	var text strings.Builder
	if err := resp.Write(&text); err != nil || resp.StatusCode >= 300 {
		tr.Fatalf("%s %s: %v: %s", method, url, err, text.String())
	}
	_, answer, _ := strings.Cut(text.String(), "\r\n\r\n")
	return strings.TrimSpace(answer)
}

// inCloud is what the cloud has.
func (tr *trial) inCloud() string {
	tr.Helper()
	return tr.ask("GET", tr.fleet.CloudControl()+"/resources", "")
}

// cloudHas waits for the cloud to have some of what inCloud shows.
func (tr *trial) cloudHas(what string) {
	tr.Helper()
	for end := time.Now().Add(patience); !strings.Contains(tr.inCloud(), what); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			tr.Fatalf("the cloud never had %s: %s", what, tr.inCloud())
		}
	}
}

// fault makes a request of the cloud's go wrong.
func (tr *trial) fault(f string) {
	tr.Helper()
	tr.ask("POST", tr.fleet.CloudControl()+"/faults", f)
}

// cinnabar runs the plan of the server, and wants the token in nothing that is said.
func (tr *trial) cinnabar(code int, args ...string) ran {
	tr.Helper()
	r := tr.past(cinnabarPlan, args...)
	r.want(tr.T, code)
	tr.tokenless(r.stdout + r.stderr)
	return r
}

// tokenless wants the cloud's token nowhere in a text.
func (tr *trial) tokenless(text string) {
	tr.Helper()
	token, err := tr.fleet.CloudToken()
	if err != nil || len(token) < 20 {
		tr.Fatalf("the token: %v", err)
	}
	if strings.Contains(text, token) {
		tr.Errorf("the token is shown:\n%s", text)
	}
}

// tokenNowhere looks for the token in the project, with .infra and terraform's
// state, in all that terraform keeps beside it, and in the log of the last run.
func (tr *trial) tokenNowhere() {
	tr.Helper()
	token, err := tr.fleet.CloudToken()
	if err != nil {
		tr.Fatal(err)
	}
	log := tr.infra("log", "last", "--output").stdout + tr.infra("log", "last", "--json").stdout
	tr.noSecrets(log, map[string]string{"hcloud.token": token})
	searched := map[string]bool{}
	for _, dir := range []string{tr.fleet.Project(), filepath.Join(tr.fleet.State(), "cache", "infra")} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			searched[d.Name()] = true
			if strings.Contains(string(data), token) {
				tr.Errorf("%s has the token", path)
			}
			return err
		})
		if err != nil {
			tr.Fatal(err)
		}
	}
	for _, name := range []string{"terraform.tfstate", "config.tf.json", "initialized", ".terraform.lock.hcl"} {
		if !searched[name] {
			tr.Errorf("%s was not searched", name)
		}
	}
}

// edit replaces a text in a file of the project.
func (tr *trial) edit(file, old, now string) {
	tr.Helper()
	data, err := os.ReadFile(filepath.Join(tr.fleet.Project(), file))
	if err != nil || !strings.Contains(string(data), old) {
		tr.Fatalf("%s has no %q: %v", file, old, err)
	}
	tr.write(file, strings.ReplaceAll(string(data), old, now))
}

// saidInOrder wants the texts in that order.
func saidInOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		var found bool
		if _, rest, found = strings.Cut(rest, part); !found {
			t.Fatalf("it does not say %q, or not in its place:\n%s", part, text)
		}
	}
}

// TestCinnabar is the life of the server, from nothing to nothing.
func TestCinnabar(t *testing.T) {
	tr := newCloud(t)
	t.Run("a dry run shows what will be there, and makes nothing", func(t *testing.T) {
		tr := tr.with(t)
		project := tr.projectHash()
		r := tr.readOnly("--dry-run", cinnabarPlan)
		const address = "(at (known after terraform.apply of hcloud_server.cinnabar, plans/cinnabar.star:"
		r.want(t, 0, "terraform apply terraform/cinnabar: create 2", "hcloud_server.cinnabar: is created, costs money", "hcloud_ssh_key.admin: is created\n",
			"wait for cinnabar "+address, "! destroy    clan.install cinnabar  clan machines install cinnabar "+address, "1 destroy, 4 changes")
		tr.tokenless(r.stdout + r.stderr)
		if got := tr.inCloud(); got != nothingThere {
			t.Errorf("the cloud has %s", got)
		}
		if tr.projectHash() != project {
			t.Error("the project changed")
		}
	})
	t.Run("nobody lets it erase the new server", func(t *testing.T) {
		tr := tr.with(t)
		r := tr.cinnabar(exitHeld)
		r.want(t, exitHeld, "first contact with root@cinnabar", "clan.install destroys what is on cinnabar, and nobody is here to confirm it", "--destroy cinnabar confirms it", "infra resume ")
		if line := regexp.MustCompile(`(?m)^server \|   hcloud_server\.cinnabar created [0-9.]+s \(id [0-9]+\) 2 of 2$`); !line.MatchString(r.stderr) {
			t.Errorf("its progress has no %s:\n%s", line, r.stderr)
		}
		tr.cloudHas(`"name":"cinnabar","status":"running"`)
	})
	t.Run("it is installed and checked", func(t *testing.T) {
		tr := tr.with(t)
		tr.cinnabar(0, "--destroy", "cinnabar").want(t, 0, "terraform apply terraform/cinnabar: nothing to do", "clan.install done", "5 steps ok; 8 checks ok", "1 change")
		if got, want := tr.exec("cinnabar", "readlink", "-f", "/run/current-system"), tr.built("nixosConfigurations.cinnabar.config.system.build.toplevel"); got != want {
			t.Errorf("cinnabar runs %s, nix built %s", got, want)
		}
	})
	t.Run("a second run changes nothing", func(t *testing.T) {
		tr := tr.with(t)
		tr.cinnabar(0).want(t, 0, "8 checks ok", "operations, no change")
		tr.tokenNowhere()
	})
	t.Run("an update says how far it is as JSON", func(t *testing.T) { updated(tr.with(t)) })
	t.Run("a replace destroys", func(t *testing.T) { replaced(tr.with(t)) })
	t.Run("a server at another address is not what was reviewed", func(t *testing.T) { moved(tr.with(t)) })
	t.Run("it is taken back", func(t *testing.T) { takenBack(tr.with(t)) })
}

func updated(tr *trial) {
	tr.edit("flake.nix", `labels.fleet = "lab"`, `labels.fleet = "other"`)
	r := tr.cinnabar(0, "--step", "server", "--json")
	var said []string
	for line := range strings.Lines(r.stdout) {
		var e struct {
			Event, Step string
			Part        struct {
				Name, Does, Detail string
				Over               bool
				Nth, Of            int
			}
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			tr.Fatalf("%v: %s", err, line)
		}
		if p := e.Part; e.Event == "op_progress" && e.Step == "server" && p.Name == "hcloud_server.cinnabar" && p.Of == 1 && p.Over == (p.Nth == 1) {
			said = append(said, strings.Fields(p.Does + " " + p.Detail)[0])
		}
	}
	if got := strings.Join(said, " "); got != "updating updated" {
		tr.Errorf("its op_progress events are %q:\n%s", got, r.stdout)
	}
}

// replaced makes the server one of another image.
func replaced(tr *trial) {
	before := tr.inCloud()
	tr.edit("flake.nix", `image = "debian-12"`, `image = "debian-13"`)
	saved := filepath.Join(tr.TempDir(), "preview.json")
	r := tr.cinnabar(0, "--dry-run", "--out", saved)
	saidInOrder(tr.T, r.stderr, "! destroy    terraform.apply  terraform apply terraform/cinnabar: replace hcloud_server.cinnabar", "is deleted and made anew, costs money",
		`image = "debian-12" -> "debian-13"  forces the replace`, "destroys:\n  ! terraform.apply  ", "replace hcloud_server.cinnabar", "! clan.install on cinnabar")
	text, err := os.ReadFile(saved)
	if err != nil {
		tr.Fatal(err)
	}
	tr.tokenless(string(text))

	tr.cinnabar(exitHeld).want(tr.T, exitHeld, "terraform.apply destroys: terraform apply terraform/cinnabar: replace hcloud_server.cinnabar, and nobody is here to confirm it", "--destroy cinnabar confirms it")
	if now := tr.inCloud(); now != before {
		tr.Errorf("the cloud had %s, and has %s", before, now)
	}
	r = tr.past(cinnabarPlan, "--plan", saved, "--destroy", "cinnabar")
	r.want(tr.T, 0, "hcloud_server.cinnabar deleted", "hcloud_server.cinnabar created", "THE KEY CHANGED from ", "it is another machine of that name", "clan.install done", "8 checks ok")
	tr.tokenless(r.stderr)
	tr.past(cinnabarPlan, "--plan", saved, "--destroy", "cinnabar").want(tr.T, exitHeld, "cinnabar was rebooted since", "step server: the preview was: a destroy: terraform.apply")
}

// moved gives the server another address, which only the cloud knows.
func moved(tr *trial) {
	host, err := tr.fleet.CloudHost("cinnabar")
	if err != nil {
		tr.Fatal(err)
	}
	saved := filepath.Join(tr.TempDir(), "preview.json")
	tr.edit("flake.nix", `labels.fleet = "other"`, `labels.fleet = "third"`)
	tr.cinnabar(0, "--dry-run", "--out", saved, "--step", "server")
	tr.atAddress(host.Address, tr.fleet.NoHost(5))
	tr.past(cinnabarPlan, "--plan", saved).want(tr.T, exitHeld, "what would be done now is not what the preview", "step server: terraform.apply terraform apply terraform/cinnabar: update 1: ")
	if got := tr.inCloud(); !strings.Contains(got, tr.fleet.NoHost(5)) {
		tr.Errorf("the cloud has %s", got)
	}
	tr.atAddress(tr.fleet.NoHost(5), host.Address)
	tr.past(cinnabarPlan, "--plan", saved).want(tr.T, 0, "hcloud_server.cinnabar updated")
}

// atAddress changes an address that the cloud gives, behind everybody's back.
func (tr *trial) atAddress(was, is string) {
	tr.Helper()
	if err := tr.fleet.StopCloud(); err != nil {
		tr.Fatal(err)
	}
	data, err := os.ReadFile(tr.fleet.CloudState())
	if err != nil || !strings.Contains(string(data), `"`+was+`"`) {
		tr.Fatalf("the cloud has no %s: %v", was, err)
	}
	err = os.WriteFile(tr.fleet.CloudState(), []byte(strings.ReplaceAll(string(data), `"`+was+`"`, `"`+is+`"`)), 0o600)
	if err == nil {
		_, err = fleet.Up(tr.Context(), fleet.Options{State: tr.fleet.State(), Hosts: []string{"cinnabar"}})
	}
	if err != nil {
		tr.Fatal(err)
	}
}

func takenBack(tr *trial) {
	before := tr.inCloud()
	undo := func(code int, args ...string) ran {
		r := tr.infra(append([]string{"undo", "last"}, args...)...)
		r.want(tr.T, code)
		tr.tokenless(r.stdout + r.stderr)
		return r
	}
	undo(0, "--dry-run").want(tr.T, 0, "! destroy    terraform.destroy  terraform destroy terraform/cinnabar: delete hcloud_server.cinnabar, hcloud_ssh_key.admin", "is deleted", "1 destroy, 0 changes")
	undo(exitHeld, "--yes").want(tr.T, exitHeld, "terraform.destroy destroys: ", "nobody is here to confirm it", "--destroy cinnabar confirms it")
	if now := tr.inCloud(); now != before {
		tr.Errorf("the cloud had %s, and has %s", before, now)
	}
	tr.infra("resume", "last", "--destroy", "cinnabar").want(tr.T, 0, "hcloud_server.cinnabar deleted", "is taken back")
	if got := tr.inCloud(); got != nothingThere {
		tr.Errorf("the cloud has %s", got)
	}
	if running, err := tr.fleet.Running(); err != nil || running["cinnabar"] != 0 {
		tr.Errorf("cinnabar runs: %v, %v", running, err)
	}
	tr.tokenNowhere()
}

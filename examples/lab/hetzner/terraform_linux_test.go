package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"infra/examples/lab/fleet"
)

// A trial is terraform with the real provider, in a folder of its own, on a
// fleet whose cinnabar is the cloud's.
type trial struct {
	*testing.T
	f      *fleet.Fleet
	dir    string
	binary string
}

func newTrial(t *testing.T, binary string) *trial {
	t.Helper()
	t.Parallel()
	f, err := fleet.Up(t.Context(), fleet.Options{
		State: filepath.Join(t.TempDir(), "lab"), Net: fleet.RandomNet(), Hosts: []string{"cinnabar"}, Cloud: []string{"cinnabar"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(f.State(), "logs", "hetzner.log"))
			t.Logf("%s", text)
		}
		if err := f.Down(); err != nil {
			t.Error(err)
		}
	})
	tr := &trial{t, f, t.TempDir(), binary}
	tr.config("debian-12", "cx22", "lab")
	tr.run("init", "-no-color").want(t, 0)
	return tr
}

// config is what the server is to be.
func (tr *trial) config(image, kind, label string) {
	tr.Helper()
	public, err := os.ReadFile(filepath.Join(tr.f.Project(), "keys", "admin.pub"))
	if err != nil {
		tr.Fatal(err)
	}
	text := fmt.Sprintf(`
terraform {
  required_providers {
    hcloud = { source = "hetznercloud/hcloud" }
  }
}
provider "hcloud" { poll_interval = "50ms" }
resource "hcloud_ssh_key" "admin" {
  name       = "admin"
  public_key = %q
}
resource "hcloud_server" "cinnabar" {
  name        = "cinnabar"
  image       = %q
  server_type = %q
  location    = "fsn1"
  ssh_keys    = [hcloud_ssh_key.admin.id]
  labels      = { fleet = %q }
}
output "id" { value = hcloud_server.cinnabar.id }
output "ipv4" { value = hcloud_server.cinnabar.ipv4_address }
`, strings.TrimSpace(string(public)), image, kind, label)
	if err := os.WriteFile(filepath.Join(tr.dir, "main.tf"), []byte(text), 0o600); err != nil {
		tr.Fatal(err)
	}
}

func (tr *trial) command(args ...string) *exec.Cmd {
	tr.Helper()
	token, err := tr.f.CloudToken()
	if err != nil {
		tr.Fatal(err)
	}
	env := append(append(os.Environ(), tr.f.Env()...), "HCLOUD_TOKEN="+token, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1")
	// The program is found on the fleet's PATH, not on ours.
	cmd := exec.Command("env", append([]string{tr.binary}, args...)...)
	cmd.Dir, cmd.Env = tr.dir, env
	return cmd
}

// A ran is what a command of terraform left.
type ran struct {
	code int
	text string
}

func (tr *trial) run(args ...string) ran {
	tr.Helper()
	return tr.runs(tr.command(args...))
}

func (tr *trial) runs(cmd *exec.Cmd) ran {
	tr.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		tr.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), out.String()}
}

func (r ran) want(t *testing.T, code int, texts ...string) {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, want %d\n%s", r.code, code, r.text)
	}
	for _, text := range texts {
		if !strings.Contains(r.text, text) {
			t.Errorf("it does not say %q:\n%s", text, r.text)
		}
	}
}

func (tr *trial) apply() ran {
	tr.Helper()
	return tr.run("apply", "-auto-approve", "-no-color", "-input=false")
}

// plan wants a plan to find as much to do as is said.
func (tr *trial) plan(code int, texts ...string) {
	tr.Helper()
	tr.run("plan", "-detailed-exitcode", "-no-color", "-input=false", "-lock=false").want(tr.T, code, texts...)
}

func (tr *trial) output(name string) string {
	tr.Helper()
	r := tr.run("output", "-raw", name)
	r.want(tr.T, 0)
	return r.text
}

// ssh runs a command on the server as whoever has the user's key, and says what
// key the server has.
func (tr *trial) ssh(command string) (out, key string) {
	tr.Helper()
	known := filepath.Join(tr.TempDir(), "known_hosts")
	cmd := exec.Command("ssh", "-F", tr.f.SSHConfig(), "-o", "StrictHostKeyChecking=accept-new", "-o", "UserKnownHostsFile="+known, "-o", "LogLevel=ERROR", "cinnabar", command)
	text, err := cmd.CombinedOutput()
	if err != nil {
		tr.Fatalf("ssh: %v: %s", err, text)
	}
	line, err := os.ReadFile(known)
	if err != nil {
		tr.Fatal(err)
	}
	return strings.TrimSpace(string(text)), string(line)
}

func (tr *trial) up() bool {
	tr.Helper()
	running, err := tr.f.Running()
	if err != nil {
		tr.Fatal(err)
	}
	return running["cinnabar"] != 0
}

// control talks to the stand-in past its API.
func (tr *trial) control(method, path, body string) string {
	tr.Helper()
	ctx, cancel := context.WithTimeout(tr.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, tr.f.CloudControl()+path, strings.NewReader(body))
	if err != nil {
		tr.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tr.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil || resp.StatusCode >= 300 {
		tr.Fatalf("%s %s: %s: %s, %v", method, path, resp.Status, text.String(), err)
	}
	return text.String()
}

// state is how many resources terraform has in its state.
func (tr *trial) state() int {
	tr.Helper()
	text, err := os.ReadFile(filepath.Join(tr.dir, "terraform.tfstate"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(text) == 0 {
		return 0
	}
	var s struct{ Resources []struct{ Type string } }
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		tr.Fatal(err)
	}
	return len(s.Resources)
}

func TestLifeOfAServer(t *testing.T) {
	for _, binary := range []string{"terraform", "tofu"} {
		t.Run(binary, func(t *testing.T) { life(newTrial(t, binary)) })
	}
}

func life(tr *trial) {
	if tr.up() {
		tr.Fatal("cinnabar is up before it was made")
	}
	tr.plan(2, "2 to add")
	tr.apply().want(tr.T, 0, "2 added")
	tr.plan(0)
	id := tr.output("id")
	if host, _ := tr.f.CloudHost("cinnabar"); tr.output("ipv4") != host.Address {
		tr.Errorf("it is at %s, not at %s", tr.output("ipv4"), host.Address)
	}
	out, key := tr.ssh("hostname; ls -d /run/current-system || touch /srv/mine")
	if !strings.HasPrefix(out, "cinnabar\n") || !strings.Contains(out, "No such file") {
		tr.Errorf("it is no plain cinnabar: %s", out)
	}

	tr.config("debian-12", "cx22", "relabelled")
	tr.plan(2, "1 to change")
	tr.apply().want(tr.T, 0, "1 changed")
	tr.config("debian-12", "cx53", "relabelled")
	tr.apply().want(tr.T, 0, "1 changed")
	tr.plan(0)
	if _, same := tr.ssh("ls /srv/mine"); same != key || tr.output("id") != id {
		tr.Errorf("another type made another server: id %s, then %s; key %s, then %s", id, tr.output("id"), key, same)
	}

	tr.config("debian-13", "cx53", "relabelled")
	tr.plan(2, "must be replaced")
	tr.apply().want(tr.T, 0, "1 added, 0 changed, 1 destroyed")
	tr.plan(0)
	if out, other := tr.ssh("ls /srv"); out != "" || other == key || tr.output("id") == id {
		tr.Errorf("the new server is the old one: id %s, /srv %q\n%s", tr.output("id"), out, other)
	}

	tr.run("destroy", "-auto-approve", "-no-color").want(tr.T, 0, "2 destroyed")
	if tr.up() {
		tr.Error("cinnabar is up after it was destroyed")
	}
	if left := tr.control("GET", "/resources", ""); !strings.Contains(left, `"servers":[]`) || !strings.Contains(left, `"ssh_keys":[]`) {
		tr.Errorf("something is left: %s", left)
	}
}

func TestWhatTheProviderMakesOfFaults(t *testing.T) {
	tr := newTrial(t, "terraform")
	destroy := func() { tr.run("destroy", "-auto-approve", "-no-color").want(tr.T, 0) }

	tr.control("POST", "/faults", `{"method": "POST", "path": "/servers", "status": 412}`)
	tr.apply().want(t, 1, "resource_unavailable")
	if n := tr.state(); n != 1 {
		t.Errorf("after 412 the state has %d resources, not the key alone", n)
	}
	tr.control("POST", "/faults", `{"method": "POST", "path": "/servers", "status": 429, "times": 2}`)
	tr.apply().want(t, 0, "1 added")
	destroy()

	tr.control("POST", "/faults", `{"method": "GET", "path": "/servers/", "status": 503}`)
	tr.apply().want(t, 1, "unavailable")
	if n := tr.state(); n != 2 {
		t.Errorf("after 503 the state has %d resources, not the server and the key", n)
	}
	destroy()

	tr.control("POST", "/faults", `{"method": "POST", "path": "/servers", "action": "resource_unavailable"}`)
	tr.apply().want(t, 1, "resource_unavailable")
	tr.plan(2, "is tainted")
	destroy()

	wrong := tr.command("plan", "-no-color", "-input=false")
	wrong.Env = append(wrong.Env, "HCLOUD_TOKEN="+strings.Repeat("x", 64))
	tr.apply().want(t, 0)
	tr.runs(wrong).want(t, 1, "unauthorized")
}

// TestAnOrphan kills terraform while the server is being made: it is there, and
// terraform does not know.
func TestAnOrphan(t *testing.T) {
	tr := newTrial(t, "terraform")
	tr.control("POST", "/faults", `{"method": "POST", "path": "/servers", "slow": 3}`)
	cmd := tr.command("apply", "-auto-approve", "-no-color", "-input=false")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its provider is to die with it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(time.Minute); !strings.Contains(tr.control("GET", "/resources", ""), `"name":"cinnabar"`); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Error("no server is made")
			break
		}
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if n := tr.state(); n > 1 {
		t.Errorf("the state has %d resources, the server among them", n)
	}
	if err := tr.f.StopCloud(); err != nil { // what it has is not lost with it
		t.Fatal(err)
	}
	if _, err := fleet.Up(t.Context(), fleet.Options{State: tr.f.State(), Hosts: []string{"cinnabar"}}); err != nil {
		t.Fatal(err)
	}
	r := tr.apply()
	r.want(t, 1, "uniqueness_error")
}

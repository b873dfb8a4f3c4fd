package main

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"infra/examples/lab/fleet"
)

// patience is when what takes a moment is given up, also on a machine that is busy
// with much else.
const patience = 3 * time.Minute

// A trial is a fleet of the lab on which the program is run as a person would.
type trial struct {
	*testing.T
	fleet *fleet.Fleet
}

// newTrial brings up the named hosts in a state folder of the test's own.
func newTrial(t *testing.T, hosts ...string) *trial {
	t.Helper()
	return onFleet(t, fleet.Options{Hosts: hosts})
}

// newSystemdTrial is a trial with one host that boots a systemd, and others.
func newSystemdTrial(t *testing.T, systemd string, others ...string) *trial {
	t.Helper()
	return onFleet(t, fleet.Options{Hosts: append(others, systemd), Systemd: []string{systemd}})
}

// onFleet brings up a fleet for as long as the test takes.
func onFleet(t *testing.T, o fleet.Options) *trial {
	t.Helper()
	o.State, o.Net = filepath.Join(t.TempDir(), "lab"), fleet.RandomNet()
	f, err := fleet.Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Down(); err != nil {
			t.Error(err)
		}
	})
	if err := f.CopyPlans(t.Context(), "../../plans"); err != nil {
		t.Fatal(err)
	}
	useNix(t, f, o.Hosts)
	return &trial{t, f}
}

// with is the trial for a subtest.
func (tr *trial) with(t *testing.T) *trial { return &trial{t, tr.fleet} }

// A ran is what a run of the program left.
type ran struct {
	code           int
	stdout, stderr string
}

// infra runs the program in the project. Arguments of the form K=V before the
// first other one are added to the environment.
func (tr *trial) infra(args ...string) ran {
	tr.Helper()
	env := append(os.Environ(), tr.fleet.Env()...)
	for len(args) > 0 && strings.Contains(args[0], "=") {
		env, args = append(env, args[0]), args[1:]
	}
	return tr.runs(exec.Command("infra", args...), env)
}

// runs a command in the project.
func (tr *trial) runs(cmd *exec.Cmd, env []string) ran {
	tr.Helper()
	cmd.Dir, cmd.Env = tr.fleet.Project(), env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		tr.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// plan runs a plan of the project on the fleet.
func (tr *trial) plan(args ...string) ran {
	tr.Helper()
	return tr.infra(append([]string{"run", "--ssh-config", tr.fleet.SSHConfig()}, args...)...)
}

func (r ran) want(t *testing.T, code int, texts ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d\n%s%s", r.code, code, r.stdout, r.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(r.stderr, text) {
			t.Errorf("it does not say %q:\n%s", text, r.stderr)
		}
	}
}

// write makes a file of the project.
func (tr *trial) write(name, text string) {
	tr.Helper()
	path := filepath.Join(tr.fleet.Project(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tr.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		tr.Fatal(err)
	}
}

func (tr *trial) hashes() map[string]string {
	tr.Helper()
	hashes := map[string]string{}
	running, err := tr.fleet.Running()
	if err != nil {
		tr.Fatal(err)
	}
	for name := range running {
		if hashes[name], err = tr.fleet.RootHash(name); err != nil {
			tr.Fatal(err)
		}
	}
	if len(hashes) == 0 {
		tr.Fatal("no host is running")
	}
	return hashes
}

// unchanged says that f leaves every host's root as it is.
func (tr *trial) unchanged(f func()) {
	tr.Helper()
	before := tr.hashes()
	f()
	if after := tr.hashes(); !maps.Equal(before, after) {
		tr.Errorf("a host changed: %v, then %v", before, after)
	}
}

func (tr *trial) exec(host string, argv ...string) string {
	tr.Helper()
	out, err := tr.fleet.Exec(host, argv...)
	if err != nil {
		tr.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// built is the path that nix itself says the attribute has.
func (tr *trial) built(attr string) string {
	tr.Helper()
	cmd := exec.Command("nix", "--extra-experimental-features", "nix-command flakes", "eval", "--raw", ".#"+attr+".outPath")
	cmd.Dir, cmd.Env = tr.fleet.Project(), append(os.Environ(), tr.fleet.Env()...)
	out, err := cmd.Output()
	if err != nil {
		tr.Fatal(err)
	}
	return string(out)
}

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"infra/examples/lab/fleet"
)

// lab runs the program on a fleet of the test's own and returns what it wrote
// and the code it would exit with.
func lab(t *testing.T, state string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	root := rootCommand()
	root.SetArgs(append(args[:1:1], append([]string{"--state", state}, args[1:]...)...))
	root.SetIn(strings.NewReader(""))
	root.SetOut(&out)
	root.SetErr(&errs)
	err := root.ExecuteContext(t.Context())
	var exit exitError
	switch {
	case errors.As(err, &exit):
		code = int(exit)
	case err != nil:
		code = 1
		errs.WriteString(err.Error())
	}
	return out.String(), errs.String(), code
}

// A command is one of the lab's, with what it is to exit with and to print.
type command struct {
	name           string
	args           []string
	code           int
	stdout, stderr string
}

// live gives a lab of its own the commands, one after the other.
func live(t *testing.T, commands []command) {
	t.Helper()
	state := filepath.Join(t.TempDir(), "lab")
	t.Cleanup(func() {
		if _, errs, code := lab(t, state, "down"); code != 0 {
			t.Error(errs)
		}
	})
	for _, tt := range commands {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := lab(t, state, tt.args...)
			if code != tt.code || !strings.Contains(out, tt.stdout) || !strings.Contains(errs, tt.stderr) {
				t.Errorf("got %d, want %d\nstdout %q, want %q\nstderr %q, want %q", code, tt.code, out, tt.stdout, errs, tt.stderr)
			}
		})
	}
}

func TestLifeOfALab(t *testing.T) {
	t.Parallel()
	net := fleet.RandomNet()
	live(t, []command{
		{"no status yet", []string{"status"}, 1, "", "no lab in"},
		{"no shell yet", []string{"shell", "blackphos"}, 1, "", "no lab in"},
		{"down when down", []string{"down"}, 0, "", "down already"},
		{"up", []string{"up", "--net", net}, 0, "", "cinnabar blackphos rosegold argentum stibnite up in"},
		{"up when up", []string{"up"}, 0, "", "up already"},
		{"status", []string{"status"}, 0, net + ".3:2222", ""},
		{"shell", []string{"shell", "rosegold", "hostname"}, 0, "rosegold\n", ""},
		{"a flag of the command", []string{"shell", "rosegold", "ls", "--directory", "/nix"}, 0, "/nix\n", ""},
		{"a failing command", []string{"shell", "rosegold", "exit 7"}, 7, "", ""},
		{"a plan that is not there", []string{"run", "plans/nowhere.star"}, 2, "", "no change on argentum, blackphos, cinnabar, rosegold, stibnite"},
	})
}

func TestLifeOfALabWithSystemd(t *testing.T) {
	t.Parallel()
	live(t, []command{
		{"no such host", []string{"up", "--net", fleet.RandomNet(), "--systemd", "cinabar"}, 1, "", `no host "cinabar"`},
		{"up", []string{"up", "--systemd", "cinnabar"}, 0, "", "cinnabar blackphos rosegold argentum stibnite up in"},
		{"up when up", []string{"up", "--systemd", "cinnabar"}, 0, "", "up already"},
		{"another one", []string{"up", "--systemd", "blackphos"}, 1, "", "blackphos is up without systemd"},
		{"status", []string{"status"}, 0, "cinnabar   up, systemd", ""},
		{"shell", []string{"shell", "cinnabar", "systemctl", "is-active", "ssh"}, 0, "active\n", ""},
		{"a host without", []string{"shell", "blackphos", "cat", "/proc/1/comm"}, 0, "sh\n", ""},
	})
}

func TestLifeOfALabWithACloud(t *testing.T) {
	t.Parallel()
	live(t, []command{
		{"no such host", []string{"up", "--net", fleet.RandomNet(), "--cloud", "cinabar"}, 1, "", `no host "cinabar"`},
		{"up", []string{"up", "--cloud", "cinnabar"}, 0, "", "lab: blackphos rosegold argentum stibnite up in"},
		{"status", []string{"status"}, 0, "cinnabar   down, cloud", ""},
		{"a host that is up", []string{"up", "--cloud", "blackphos"}, 1, "", "blackphos is up, and the cloud did not make it"},
		{"another command of infra", []string{"infra", "version"}, 0, "", ""},
		{"and one that fails", []string{"infra", "log", "nothing"}, 1, "", "there is no run"},
	})
}

func TestWhichPlansUseTerraform(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"plans/uses.star":     "tf = terraform.dir(\"a\")\n",
		"plans/loads.star":    "load(\"lib/more.star\", \"x\")\n",
		"plans/lib/more.star": "load(\n    \"//plans/uses.star\",\n    \"tf\",\n)\nload(\"//plans/circle.star\", \"y\")\n",
		"plans/circle.star":   "load(\"lib/more.star\", \"x\")\n",
		"plans/none.star":     "load(\"missing.star\", \"x\")\nlog(\"terraform\")\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]bool{
		"plans/uses.star": true, "plans/loads.star": true, "plans/circle.star": true, "plans/none.star": false, "plans/nowhere.star": false,
	} {
		if got := usesTerraform(root, filepath.Join(root, file)); got != want {
			t.Errorf("%s: %v", file, got)
		}
	}
}

func TestRunShowsWhatChanged(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "lab")
	t.Cleanup(func() {
		if _, errs, code := lab(t, state, "down"); code != 0 {
			t.Error(errs)
		}
	})
	if _, errs, code := lab(t, state, "up", "--net", fleet.RandomNet()); code != 0 {
		t.Fatal(errs)
	}

	preview, errs, code := lab(t, state, "run", "plans/blackphos.star", "--dry-run")
	if code != 0 || !strings.Contains(errs, "no change on argentum, blackphos, cinnabar, rosegold, stibnite") {
		t.Errorf("the dry run ends with %d\n%s%s", code, preview, errs)
	}

	pass := []string{"--override", "stable:cinnabar", "--because", "in the lab no weeks go by"}
	out, errs, code := lab(t, state, append([]string{"run", "plans/blackphos.star"}, pass...)...)
	if code != 0 {
		t.Fatalf("the first run ends with %d\n%s%s", code, out, errs)
	}
	system := currentSystemOf(t, state, "blackphos")
	for _, want := range []string{
		"what changed on blackphos:",
		"/run/current-system: (none) -> " + system,
		"/run/secrets/vars/zerotier/identity: new, 65 bytes, mode 0400, owner 0:0",
		"/etc/motd: new, a link to /etc/static/motd",
		"/var/log/activations: ",
		"no change on argentum, cinnabar, rosegold, stibnite",
	} {
		if !strings.Contains(errs, want) {
			t.Errorf("%q is missing in\n%s", want, errs)
		}
	}

	out, errs, code = lab(t, state, append([]string{"run", "plans/blackphos.star"}, pass...)...)
	if code != 0 || !strings.Contains(errs, "no change on argentum, blackphos, cinnabar, rosegold, stibnite") {
		t.Errorf("the second run ends with %d\n%s%s", code, out, errs)
	}
}

func currentSystemOf(t *testing.T, state, host string) string {
	t.Helper()
	out, errs, code := lab(t, state, "status", "--json")
	var rows []hostStatus
	if err := json.Unmarshal([]byte(out), &rows); err != nil || code != 0 {
		t.Fatal(err, errs)
	}
	for _, r := range rows {
		if r.Name == host && r.System != "" {
			return r.System
		}
	}
	t.Fatalf("%s runs no system: %s", host, out)
	return ""
}

package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// motd is a plan that switches a host, and changes a file whose content it
// shows a diff of.
const motd = `
load("fleet.star", "fleet")
mac = fleet["blackphos"]

def system():
    return nix.build(".#darwinConfigurations.blackphos.system")

def greet():
    key = secrets.sops("secrets/blackphos.yaml")["user.password"]
    ssh.put(mac, "/etc/lab-greeting", content = "hello\n")
    ssh.put(mac, "/etc/lab-secret", content = key, mode = "0600")

def switch(system, _):
    nix.copy(system, to = mac)
    done = nix.switch(mac, system)
    ssh.run(mac, ["logger", "now " + str(done.generation)], check = False)

motd = plan(hosts = [mac], steps = [step(system), step(greet), step(switch, needs = [system, greet])])
`

const motdPlan = "plans/motd.star"

// save previews a plan, and returns what the file then holds.
func (tr *trial) save(file, plan string) string {
	tr.Helper()
	tr.plan("--dry-run", "--out", file, plan).want(tr.T, 0, "saved in "+file+"; infra run --plan "+file+" carries out exactly this")
	data, err := os.ReadFile(file)
	if err != nil {
		tr.Fatal(err)
	}
	return string(data)
}

// lock makes the flake have one input, the folder other, and locks it to what
// that is now.
func (tr *trial) lock(other, text string) {
	tr.Helper()
	if err := errors.Join(os.MkdirAll(other, 0o755), os.WriteFile(filepath.Join(other, "text"), []byte(text), 0o644)); err != nil {
		tr.Fatal(err)
	}
	flake, err := os.ReadFile(filepath.Join(tr.fleet.Project(), "flake.nix"))
	if err != nil {
		tr.Fatal(err)
	}
	with := strings.Replace(string(flake), "inputs = { };", `inputs.other = { url = "path:`+other+`"; flake = false; };`, 1)
	tr.write("flake.nix", strings.Replace(with, "{ self }", "{ self, other }", 1))
	cmd := exec.Command("nix", "--extra-experimental-features", "nix-command flakes", "flake", "lock", "--update-input", "other")
	cmd.Dir, cmd.Env = tr.fleet.Project(), append(os.Environ(), tr.fleet.Env()...)
	if out, err := cmd.CombinedOutput(); err != nil {
		tr.Fatalf("%v: %s", err, out)
	}
	if err := tr.fleet.SetGeneration(tr.Context(), 1); err != nil { // commits
		tr.Fatal(err)
	}
}

var made = regexp.MustCompile(`"made": "[^"]*"`)

func TestSavedPreviewsOnTheFleet(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "blackphos")
	tr.write(motdPlan, motd)
	dir := t.TempDir()
	tr.lock(filepath.Join(dir, "other"), "one")
	lock, err := os.ReadFile(filepath.Join(tr.fleet.Project(), "flake.lock"))
	if err != nil {
		t.Fatal(err)
	}
	system := tr.built("darwinConfigurations.blackphos.system")
	boot := tr.exec("blackphos", "cat", "/proc/sys/kernel/random/boot_id")

	file := filepath.Join(dir, "preview.json")
	t.Run("a preview is saved, the same every time, without a secret and for its owner alone", func(t *testing.T) {
		tr := tr.with(t)
		var text, again string
		tr.unchanged(func() { text = tr.save(file, motdPlan) })
		tr.unchanged(func() { again = tr.save(file, motdPlan) })
		if made.ReplaceAllString(again, "") != made.ReplaceAllString(text, "") {
			t.Errorf("the first time:\n%s\nthe second time:\n%s", text, again)
		}
		for _, want := range []string{system, boot, `"name": "nix.switch.activate"`, `"nar_hash": "sha256-`, `"path": "secrets/blackphos.yaml"`, `"+hello"`,
			`"path": "plans/fleet.star"`, "nix (Nix)", "OpenSSH", "‹secret secrets/blackphos.yaml[user.password]›", "(known after nix.switch, plans/motd.star:"} {
			if !strings.Contains(again, want) {
				t.Errorf("it does not say %q", want)
			}
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("its mode is %v: %v", info.Mode(), err)
		}
		if _, err := os.Stat(filepath.Join(tr.fleet.Project(), ".infra")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("there is a .infra: %v", err)
		}
		if t.Failed() {
			t.Log(again)
		}
	})

	generation := func(n int) func(*trial) {
		return func(tr *trial) {
			if err := tr.fleet.SetGeneration(tr.Context(), n); err != nil {
				tr.Fatal(err)
			}
		}
	}
	write := func(name, text string) func(*trial) { return func(tr *trial) { tr.write(name, text) } }
	host := func(script string) func(*trial) {
		return func(tr *trial) { tr.exec("blackphos", "sh", "-ec", script) }
	}
	encrypted, err := os.ReadFile(filepath.Join(tr.fleet.Project(), "secrets", "rosegold.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	original, err := os.ReadFile(filepath.Join(tr.fleet.Project(), "secrets", "blackphos.yaml"))
	if err != nil {
		t.Fatal(err)
	}

	drifts := []struct {
		name         string
		before, undo func(*trial)
		says         []string
	}{
		{"a source was edited", write(motdPlan, motd+"# a comment\n"), write(motdPlan, motd), []string{"- plans/motd.star was edited since"}},
		{"an operation was added", write(motdPlan, strings.Replace(motd, "    key =", "    ssh.run(mac, [\"touch\", \"/x\"])\n    key =", 1)), write(motdPlan, motd),
			[]string{"- plans/motd.star was edited since", "- step greet: not in the preview: ssh.run touch /x on blackphos (plans/motd.star:"}},
		{"the flake changed", generation(2), generation(1),
			[]string{"- the flake's files changed since: their narHash is sha256-", "- step system: nix.build", "- step switch: "}},
		{"the flake's lock changed", func(tr *trial) { tr.lock(filepath.Join(dir, "other"), "two") },
			write("flake.lock", string(lock)),
			[]string{"- the flake's lock changed since: its inputs are others", "- the flake's files changed since: their narHash is sha256-"}},
		{"an encrypted file changed", write("secrets/blackphos.yaml", string(encrypted)), write("secrets/blackphos.yaml", string(original)),
			[]string{"- secrets/blackphos.yaml was edited since"}},
		{"a file on the host is another one", host("echo bye > /etc/lab-greeting"), host("rm /etc/lab-greeting"),
			[]string{"- step greet: ssh.put", "/etc/lab-greeting", "on blackphos: the preview was:", "now:", "-bye"}},
		{"the host was rebooted", host("cp /proc/sys/kernel/random/uuid /run/other-boot; mount --bind /run/other-boot /proc/sys/kernel/random/boot_id"),
			host("umount /proc/sys/kernel/random/boot_id; rm /run/other-boot"), []string{"- blackphos was rebooted since: its boot id is ", ", the preview saw " + boot}},
	}
	for _, d := range drifts {
		t.Run(d.name, func(t *testing.T) {
			tr := tr.with(t)
			d.before(tr)
			tr.unchanged(func() {
				says := append(d.says, "held: what would be done now is not what the preview in "+file+" shows", "hint: make a new preview and have it reviewed: infra run --dry-run --out")
				tr.plan("--plan", file).want(t, 4, says...)
			})
			if _, err := os.Stat(filepath.Join(tr.fleet.Project(), ".infra")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("there is a .infra: %v", err)
			}
			d.undo(tr)
		})
	}

	t.Run("where nothing differs it is carried out", func(t *testing.T) {
		tr := tr.with(t)
		tr.plan("--plan", file).want(t, 0, "switch")
		if got := tr.exec("blackphos", "readlink", "-f", "/run/current-system"); got != system {
			t.Errorf("blackphos runs %s, nix built %s", got, system)
		}
		if got := tr.exec("blackphos", "cat", "/etc/lab-greeting"); got != "hello" {
			t.Errorf("the greeting is %q", got)
		}
	})

	t.Run("once it was, it is held: the host is another one", func(t *testing.T) {
		tr := tr.with(t)
		tr.unchanged(func() {
			tr.plan("--plan", file).want(t, 4, "- blackphos runs "+system+", the preview saw no system of nix",
				"- blackphos: the generation is 1, the preview saw none")
		})
	})

	t.Run("a switch by hand", func(t *testing.T) {
		tr := tr.with(t)
		const otherPlan = "plans/other.star"
		tr.write(otherPlan, `
load("fleet.star", "fleet")
mac = fleet["blackphos"]
def switch(): nix.switch(mac, nix.build(".#darwinConfigurations.blackphos.system"))
other = plan(hosts = [mac], steps = [step(switch)])
`)
		generation(1)(tr) // commits it
		tr.save(file, motdPlan)
		generation(2)(tr)
		other := filepath.Join(dir, "other.json")
		tr.save(other, otherPlan)
		tr.plan("--plan", other, otherPlan).want(t, 0, "nix.switch")
		generation(1)(tr)
		tr.unchanged(func() {
			tr.plan("--plan", file).want(t, 4, "- blackphos runs /nix/store/", ", the preview saw "+system, "- blackphos: the generation is 2, the preview saw 1",
				"- blackphos: the system profile is /nix/store/")
		})
	})
}

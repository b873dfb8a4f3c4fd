package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// standInClan builds the lab's clan once.
var standInClan = sync.OnceValues(func() (string, error) {
	var err error
	if standInDir, err = os.MkdirTemp("", "infra-clan"); err != nil {
		return "", err
	}
	clan := filepath.Join(standInDir, "clan")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", clan, "../../examples/lab/clan")
	cmd.Stderr = os.Stderr
	return clan, cmd.Run()
})

// standInDir is where it is; "" where no test wanted it.
var standInDir string

// withClan puts the lab's clan among the programs of the trial's fleet.
func (tr *trial) withClan() *trial {
	tr.Helper()
	clan, err := standInClan()
	if err == nil {
		err = os.MkdirAll(tr.fleet.Bin(), 0o755)
	}
	if err == nil {
		err = os.Symlink(clan, filepath.Join(tr.fleet.Bin(), "clan"))
	}
	if err != nil {
		tr.Fatal(err)
	}
	return tr
}

// clan runs a plan; fault is what the stand-in for clan does wrong.
func (tr *trial) clan(fault string, args ...string) ran {
	tr.Helper()
	return tr.infra(append([]string{"LAB_CLAN_FAULT=" + fault, "run", "--ssh-config", tr.fleet.SSHConfig()}, args...)...)
}

// lockedOnce lets a run leave the folder of locks on the host, which the first
// one makes.
func (tr *trial) lockedOnce(host string) {
	tr.Helper()
	tr.write("plans/first.star", "load(\"fleet.star\", \"fleet\")\nh = fleet[\""+host+"\"]\ndef look():\n    ssh.run(h, [\"true\"], reads = True)\nfirst = plan(hosts = [h], steps = [step(look)])\n")
	tr.plan("plans/first.star").want(tr.T, 0)
}

// newInstall has the plan plans/install.star, which installs cinnabar.
func newInstall(t *testing.T) *trial {
	t.Helper()
	tr := newTrial(t, "cinnabar").withClan()
	tr.lockedOnce("cinnabar")
	tr.write("plans/install.star", `
load("fleet.star", "fleet")
vps = fleet["cinnabar"]
def put():
    log("it runs " + clan.install(vps, timeout = "4s").system.path)
install = plan(hosts = [vps], steps = [step(put)])
`)
	return tr
}

func TestInstall(t *testing.T) {
	t.Parallel()
	tr := newInstall(t)
	const plan = "plans/install.star"
	system := tr.built("nixosConfigurations.cinnabar.config.system.build.toplevel")

	t.Run("a dry run shows what would be erased", func(t *testing.T) {
		tr := tr.with(t)
		tr.unchanged(func() {
			tr.clan("", "--dry-run", plan).want(t, 0, "clan.install", "it is a system that lives", "its disks", "1 destroy")
		})
	})
	t.Run("nobody confirms it", func(t *testing.T) {
		tr := tr.with(t)
		tr.unchanged(func() {
			tr.clan("", "--yes", plan).want(t, exitHeld, "clan.install destroys what is on cinnabar, and nobody is here to confirm it", "--destroy cinnabar confirms it")
			tr.clan("", "--destroy", "blackphos", plan).want(t, exitHeld, "nobody is here")
		})
	})
	t.Run("an exit code that lies", func(t *testing.T) {
		tr := tr.with(t)
		tr.unchanged(func() {
			tr.clan("install does nothing", "--destroy", "cinnabar", plan).want(t, 1, "clan says that it installed cinnabar, and after 4s: it runs no system of nix, and not "+system)
		})
	})
	t.Run("an installer that is left", func(t *testing.T) {
		tr := tr.with(t)
		tr.exec("cinnabar", "sh", "-c", "echo VARIANT_ID=installer >> /etc/os-release")
		tr.clan("", "--dry-run", plan).want(t, 0, "it is an installer")
		tr.clan("install leaves the installer", "--destroy", "cinnabar", plan).want(t, 1, "it is an installer still")
	})
	t.Run("a machine that runs the very system", func(t *testing.T) {
		tr := tr.with(t)
		tr.clan("", "--destroy", "cinnabar", plan).want(t, 0, "it runs "+system, "1 change")
		if got := tr.exec("cinnabar", "readlink", "-f", "/run/current-system"); got != system {
			t.Errorf("cinnabar runs %s, nix built %s", got, system)
		}
		if key := tr.exec("cinnabar", "cat", "/var/lib/sops-nix/key.txt"); !strings.HasPrefix(key, "AGE-SECRET-KEY-1") {
			t.Error("it has no key to its secrets")
		}
	})
}

func TestHardwareConfig(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "cinnabar").withClan()
	tr.lockedOnce("cinnabar")
	tr.write("plans/hardware.star", `
load("fleet.star", "fleet")
vps = fleet["cinnabar"]
def look():
    log(clan.hardware_config(vps).file)
hardware = plan(hosts = [vps], steps = [step(look)])
`)
	const plan = "plans/hardware.star"
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", tr.fleet.Project()}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	tr.unchanged(func() {
		tr.clan("", "--dry-run", plan).want(t, 0, "make machines/cinnabar/facter.json", "git commit: hardware of cinnabar")
		const lies = "clan says that it succeeded, and machines/cinnabar/facter.json "
		tr.clan("hardware does nothing", plan).want(t, 1, lies+"is not there")
		tr.clan("hardware is empty", plan).want(t, 1, lies+"holds no description of hardware")
		tr.clan("", plan).want(t, 0, "machines/cinnabar/facter.json")
		if got := git("show", "--format=%s", "--name-only", "HEAD"); got != "clan: hardware of cinnabar\n\nmachines/cinnabar/facter.json" {
			t.Errorf("the last commit is %q", got)
		}
		tr.clan("hardware does nothing", plan).want(t, 1, lies+"was not written")
	})
}

// TestGeneratedAndAnsweredIsRedacted looks for what was generated, and for what
// was answered, in all that a run leaves.
func TestGeneratedAndAnsweredIsRedacted(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "blackphos").withClan()
	project := tr.fleet.Project()
	flake, err := os.ReadFile(filepath.Join(project, "clan.nix"))
	if err != nil {
		t.Fatal(err)
	}
	tr.write("clan.nix", strings.Replace(string(flake), "{ inherit zerotier; } //", `{
        inherit zerotier;
        talks = {
          prompts.word = { description = "A word"; type = "hidden"; };
          prompts.text = { description = "A text"; type = "multiline"; };
          prompts.name = { type = "line"; };
          files.made = { };
          files.word = { };
          finalScript = ''
            head -c 16 /dev/urandom | sha256sum | cut -c 1-40 > $out/made
            cp $prompts/word $out/word
            cat $prompts/* $out/made; echo "name: $(cat $prompts/name)" >&2
          '';
        };
      } //`, 1))
	tr.write("plans/vars.star", `
load("fleet.star", "fleet")
mac = fleet["blackphos"]
def vars():
    made = clan.vars.generate(mac, prompts = {
        "talks/word": secrets.env("WORD"), "talks/text": secrets.env("TEXT"), "talks/name": "a-name-of-mine",
        "user/password": secrets.sops("secrets/blackphos.yaml")["user.password"],
    })
    value = clan.vars.get(mac, "talks/made")
    ssh.put(mac, "/made", content = value)
    local.run("cat; exit 3", stdin = value, check = False)
    log("%d vars" % len(made.generated))
vars_plan = plan(hosts = [mac], steps = [step(vars)])
`)
	run := func(args ...string) ran {
		return tr.infra(append([]string{"WORD=word-of-mine-77", "TEXT=text of mine 1\ntext of mine 2"}, args...)...)
	}
	run("run", "--ssh-config", tr.fleet.SSHConfig(), "--dry-run", "plans/vars.star").want(t, 0, "generate talks: made (secret), word (secret)", "answer word with ‹secret", "git commit: vars of blackphos")
	r := run("run", "--ssh-config", tr.fleet.SSHConfig(), "plans/vars.star")
	r.want(t, 0, "vars")
	made := tr.exec("blackphos", "cat", "/made")
	if len(made) != 40 {
		t.Fatalf("the host got %q", made)
	}
	text := r.stdout + r.stderr + run("log", "last", "--output").stdout + run("log", "last", "--json").stdout
	if !strings.Contains(text, "‹secret") {
		t.Error("nothing was redacted: the generator's output is not there")
	}
	tr.noSecrets(text, map[string]string{"talks/made": made, "talks/word": "word-of-mine-77", "talks/text": "text of mine 2"})
	if !strings.Contains(text, "vars generate blackphos") {
		t.Error("the search did not see the run")
	}
}

// TestResumeCommitsWhatWasGenerated: of a run that is killed after clan has
// written, and before that is committed, nothing is lost or committed twice.
func TestResumeCommitsWhatWasGenerated(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "blackphos").withClan()
	tr.write("plans/vars.star", `
load("fleet.star", "fleet")
mac = fleet["blackphos"]
def vars():
    made = clan.vars.generate(mac, generators = ["zerotier"])
    log("made " + ", ".join(made.generated))
vars_plan = plan(hosts = [mac], steps = [step(vars)])
`)
	project := tr.fleet.Project()
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", project}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	git("add", "plans")
	git("commit", "-q", "-m", "A plan")
	head := git("rev-parse", "HEAD")

	infra := exec.Command("infra", "run", "--ssh-config", tr.fleet.SSHConfig(), "plans/vars.star")
	infra.Dir, infra.Env = project, append(append(os.Environ(), tr.fleet.Env()...), "LAB_CLAN_FAULT=generate stays")
	if err := infra.Start(); err != nil {
		t.Fatal(err)
	}
	// What clan writes last is the hash, and then it tells git of it.
	const hash = "vars/per-machine/blackphos/zerotier/.validation-hash"
	for until := time.Now().Add(patience); git("ls-files", hash) == ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Error("clan generated nothing")
			break
		}
	}
	_ = infra.Process.Kill()
	_ = infra.Wait()
	if git("rev-parse", "HEAD") != head {
		t.Fatal("it was committed before")
	}

	r := tr.infra("resume", "last")
	r.want(t, 0, "made zerotier/identity, zerotier/network-id")
	if got := git("log", "--format=%s", head+"..HEAD"); got != "clan: vars of blackphos" {
		t.Errorf("the commits are %q", got)
	}
	if status := git("status", "--porcelain", "--untracked-files=all"); status != "" {
		t.Errorf("not committed:\n%s", status)
	}
	if left, _ := filepath.Glob(filepath.Join(project, ".infra", "clan", "*")); len(left) > 0 {
		t.Errorf("what only a resumed run needs is left: %q", left)
	}
}

package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const blackphos = "plans/blackphos.star"

func TestTheFirstMigration(t *testing.T) {
	t.Parallel()
	tr := newTrial(t).withClan()
	system := tr.built("darwinConfigurations.blackphos.system")

	t.Run("its dry run says what it cannot know before the vars are there, and changes nothing", func(t *testing.T) {
		tr := tr.with(t)
		tr.unchanged(func() {
			r := tr.plan("--dry-run", "--detailed-exitcode", blackphos)
			r.want(t, 3, "clan.vars.generate", "generate zerotier: identity (secret), network-id",
				"answer password with ‹secret secrets/blackphos.yaml[user.password]›", "git commit: vars of blackphos",
				"? unknown    nix.build", "(before the change)", system, "(known after nix.build, plans/lib/mac.star:",
				"gate stable(\"cinnabar\", \"7d\") is closed: it was never run")
		})
		if _, err := os.Stat(filepath.Join(tr.fleet.Project(), ".infra")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a dry run made .infra: %v", err)
		}
	})

	var seen string
	t.Run("it switches the host to the very path that nix built", func(t *testing.T) {
		tr := tr.with(t)
		stop := watchProcesses()
		r := tr.past(blackphos)
		seen = stop()
		r.want(t, 0)
		if got := tr.exec("blackphos", "readlink", "-f", "/run/current-system"); got != system {
			t.Errorf("blackphos runs %s, nix built %s", got, system)
		}
		tr.exec("blackphos", "nix-store", "--check-validity", system)
		if got := tr.exec("blackphos", "readlink", "-f", "/nix/var/nix/profiles/system"); got != system {
			t.Errorf("the profile is %s", got)
		}
		for _, name := range placedVars {
			if got := tr.exec("blackphos", "stat", "-c", "%a %u", "/run/secrets/vars/"+name); got != "400 0" {
				t.Errorf("%s has %s", name, got)
			}
		}
		seen += r.stdout + r.stderr
	})

	t.Run("no secret is seen anywhere", func(t *testing.T) {
		tr := tr.with(t)
		values := map[string]string{}
		for _, name := range placedVars {
			value, err := tr.fleet.Read("blackphos", "/run/secrets/vars/"+name)
			if err != nil {
				t.Fatal(err)
			}
			values[name] = value
		}
		tr.noSecrets(seen+tr.infra("log", "last", "--output").stdout+tr.infra("log", "last", "--json").stdout, values)
	})

	t.Run("the vars are those of clan, and committed", func(t *testing.T) {
		tr := tr.with(t)
		tr.write("plans/compare.star", `
load("fleet.star", "fleet")
mac = fleet["blackphos"]
def compare():
    for var in ["zerotier/identity", "user/password"]:
        ssh.put(mac, "/run/secrets/vars/" + var, content = clan.vars.get(mac, var), mode = "0400", owner = "root")
    ssh.put(mac, "/run/secrets/vars/user/password", content = secrets.sops("secrets/blackphos.yaml")["user.password"], mode = "0400", owner = "root")
compare_plan = plan(hosts = [mac], steps = [step(compare)])
`)
		tr.unchanged(func() { tr.plan("plans/compare.star").want(t, 0, "no change") })
		git := exec.Command("git", "-C", tr.fleet.Project(), "status", "--porcelain", "vars", "sops")
		if out, err := git.Output(); err != nil || len(out) > 0 {
			t.Errorf("git status: %v\n%s", err, out)
		}
	})

	t.Run("once the vars are there, its dry run lists the operations with the real paths", func(t *testing.T) {
		tr := tr.with(t)
		if err := tr.fleet.SetGeneration(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		tr.unchanged(func() {
			tr.plan("--dry-run", "--detailed-exitcode", blackphos).want(t, 3, "nix.build", "nix.copy", "nix.switch",
				tr.built("darwinConfigurations.blackphos.system"), " 0 unknown;")
		})
		if err := tr.fleet.SetGeneration(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("the second time there is no change", func(t *testing.T) {
		tr := tr.with(t)
		tr.unchanged(func() { tr.past(blackphos).want(t, 0, "no change") })
		tr.unchanged(func() { tr.plan("--dry-run", "--detailed-exitcode", blackphos).want(t, 0) })
	})

	t.Run("a new version is switched to, and back", func(t *testing.T) {
		tr := tr.with(t)
		if err := tr.fleet.SetGeneration(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		tr.past(blackphos).want(t, 0)
		next := tr.built("darwinConfigurations.blackphos.system")
		if got := tr.exec("blackphos", "readlink", "-f", "/run/current-system"); got != next || next == system {
			t.Errorf("blackphos runs %s, nix built %s", got, next)
		}
		tr.write("plans/back.star", `
load("fleet.star", "fleet")
mac = fleet["blackphos"]
def back():
    log(str([(g.number, g.current) for g in nix.generations(mac)]))
    return nix.switch(mac, "`+system+`")
back_again = plan(hosts = [mac], steps = [step(back)])
`)
		tr.plan("plans/back.star").want(t, 0, "[(1, False), (2, True)]")
		if got := tr.exec("blackphos", "readlink", "-f", "/run/current-system"); got != system {
			t.Errorf("blackphos runs %s", got)
		}
	})

	t.Run("a NixOS host too", func(t *testing.T) {
		tr := tr.with(t)
		tr.write("plans/vps.star", `
load("fleet.star", "fleet")
vps = fleet["cinnabar"]
def deploy():
    switched = nix.switch(vps, nix.build(".#nixosConfigurations.cinnabar.config.system.build.toplevel"))
    log("%s %s %d" % (switched.changed, switched.previous, switched.generation))
vps_plan = plan(hosts = [vps], steps = [step(deploy)])
`)
		tr.plan("plans/vps.star").want(t, 0, "True None 1")
		want := tr.built("nixosConfigurations.cinnabar.config.system.build.toplevel")
		if got := tr.exec("cinnabar", "readlink", "-f", "/run/current-system"); got != want {
			t.Errorf("cinnabar runs %s, nix built %s", got, want)
		}
	})

	t.Run("the Macs after it", func(t *testing.T) { theMacsAfterIt(tr.with(t)) })
	t.Run("what a Mac loses is seen", func(t *testing.T) { losses(tr.with(t)) })
	t.Run("a Mac goes back", func(t *testing.T) { goesBack(tr.with(t)) })
	t.Run("nixos-unified leaves", func(t *testing.T) { cleanedUp(tr.with(t)) })
}

// placedVars are the secrets that the migration puts on the Mac: one that clan
// generates in it, and one that answers a prompt of clan's.
var placedVars = []string{"zerotier/identity", "user/password"}

// noSecrets looks for secrets, raw and in base64, in text, in every file under
// .infra, and in all else of the project but git's own files.
func (tr *trial) noSecrets(text string, values map[string]string) {
	tr.Helper()
	places := map[string]string{"an output, an argument or an environment": text}
	infra := false
	err := filepath.WalkDir(tr.fleet.Project(), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == ".git":
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		places[path] = string(data)
		infra = infra || strings.Contains(path, "/.infra/")
		return err
	})
	if err != nil || !infra {
		tr.Fatalf("no file under .infra was searched: %v", err)
	}
	for name, value := range values {
		value = strings.TrimSpace(value)
		if len(value) < 8 {
			tr.Fatalf("%s is %q", name, value)
		}
		forms := []string{value, strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(value)), "=")[:8]}
		for where, in := range places {
			for _, form := range forms {
				if strings.Contains(in, form) {
					tr.Errorf("%s shows the secret %s", where, name)
				}
			}
		}
	}
}

// watchProcesses collects the arguments and environments of every process
// until the function it returns is called. The environment of the program
// itself holds no secret either: the key is in a file.
func watchProcesses() (stop func() string) {
	seen, end, done := map[string]bool{}, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-end:
				return
			default:
			}
			paths, _ := filepath.Glob("/proc/[0-9]*/[ce][mn][dv][li]*") // cmdline and environ
			for _, p := range paths {
				if data, err := os.ReadFile(p); err == nil {
					seen[string(data)] = true
				}
			}
		}
	}()
	return func() string {
		close(end)
		<-done
		return strings.Join(slices.Collect(maps.Keys(seen)), "\n")
	}
}

func TestAPreviewOfWhatIsNotBuilt(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "blackphos")
	tr.write("plans/t.star", `
def compare():
    slow = nix.build(".#slow")
    if nix.diff(slow, nix.build(".#slow")):
        log("never shown")
t = plan(steps = [step(compare)])
`)
	tr.plan("--dry-run", "--detailed-exitcode", "plans/t.star").want(t, 3, "~ change     nix.build", "1 derivation would be built", "(done before)",
		"(after the change)", "the condition of an if is not known in a dry run (known after nix.diff, plans/t.star:4)")
}

func TestJSONIsOneObjectAnEvent(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "blackphos").withClan()
	// Paths are from the working directory, wherever the tools that get them run.
	r := tr.infra("run", "--ssh-config", "../ssh_config", "--flake", ".", "--json", "--dry-run", blackphos)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	kinds := map[string]int{}
	for line := range strings.Lines(r.stdout) {
		var e struct{ Event string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		kinds[e.Event]++
	}
	if kinds["run_started"] != 1 || kinds["run_ended"] != 1 || kinds["op_ended"] == 0 || kinds["op_asked"] != kinds["op_ended"] {
		t.Errorf("events: %v", kinds)
	}
}

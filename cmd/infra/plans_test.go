package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"infra/builtins"
	"infra/runtime"
	"infra/runtime/engine"
)

// theMacs are those after blackphos, in the order of the migration.
var theMacs = []string{"rosegold", "argentum", "stibnite"}

// readPlan reads a plan of plans/, by its file from the root.
func readPlan(t *testing.T, file string) *runtime.Plan {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(root, builtins.All(builtins.Deps{Root: root}))
	read, err := e.Read(runtime.WithPrint(context.Background(), func(string) {}), filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return read.Plan
}

// passing are the flags by which a run of a plan of plans/ begins although no week
// went by, and takes for done what is for a person.
func (tr *trial) passing(file string) []string { return tr.passes(file, true) }

// passes are those flags; a dry run asks nobody for what they did.
func (tr *trial) passes(file string, did bool) []string {
	tr.Helper()
	flags := []string{"--because", "no week goes by in a test"}
	p := readPlan(tr.T, file)
	for _, g := range p.After {
		flags = append(flags, "--override", g.Name())
	}
	for _, s := range p.Steps {
		if s.Human != "" && did {
			flags = append(flags, "--did", s.Name)
		}
	}
	return flags
}

// past runs a plan of plans/, past its gates; with --plan, that of a preview.
func (tr *trial) past(file string, args ...string) ran {
	tr.Helper()
	flags := tr.passes(file, !slices.Contains(args, "--dry-run"))
	if !slices.Contains(args, "--plan") {
		args = append(args, file)
	}
	return tr.plan(append(flags, args...)...)
}

func theMacsAfterIt(tr *trial) {
	for _, mac := range theMacs {
		file := "plans/" + mac + ".star"
		tr.plan(file).want(tr.T, exitHeld, mac+" is held back, and nothing was done", " of 7d, since run ")
		tr.past(file).want(tr.T, exitOK, "9 checks ok")
		if got, want := tr.exec(mac, "readlink", "-f", "/run/current-system"), tr.built("darwinConfigurations."+mac+".system"); got != want {
			tr.Errorf("%s runs %s, nix built %s", mac, got, want)
		}
	}
	last := "plans/stibnite.star"
	said := "operations, no change"
	tr.unchanged(func() {
		tr.past(last).want(tr.T, exitOK, "stibnite reaches the controller, blackphos, rosegold, argentum", said)
	})
	if status := tr.git("status", "--porcelain", "baselines"); status != "" {
		tr.Errorf("not committed:\n%s", status)
	}
}

// losses takes from stibnite, and from the network, what checks are for.
func losses(tr *trial) {
	const app, service, plist = "/opt/homebrew/Caskroom/raycast", "/Library/LaunchAgents/org.example.sync.plist", "/Library/LaunchDaemons/com.zerotier.one.plist"
	tr.exec("stibnite", "sh", "-euc", `cp /etc/ssh/sshd_config /root; mv "$1" "$2" /Users/dev/.gitconfig /root
sed -i s/left/bottom/ /Users/dev/Library/Preferences/com.apple.dock.plist
sed -i /HostCertificate/d /etc/ssh/sshd_config`, "sh", app, service)
	tr.exec("rosegold", "mv", plist, "/root")
	tr.infra("verify", "--ssh-config", tr.fleet.SSHConfig(), "plans/stibnite.star").want(tr.T, exitFailed,
		"check nothing is lost | failed", app+" is gone", service+" is gone", "git user.email was dev@example.org, and is not set",
		"com.apple.dock orientation was left, and is bottom", "check sshd with certificates | failed", "hostcertificate is not set",
		"check reaches the others | failed", "zerotier-one is not running")
	tr.exec("rosegold", "mv", "/root/com.zerotier.one.plist", plist)
	tr.exec("stibnite", "sh", "-euc", `cp /root/sshd_config /etc/ssh; mv /root/raycast "$1"; mv /root/org.example.sync.plist "$2"; mv /root/.gitconfig /Users/dev
sed -i s/bottom/left/ /Users/dev/Library/Preferences/com.apple.dock.plist`, "sh", app, service)
}

// goesBack takes a run back that switched a Mac to a new version.
func goesBack(tr *trial) {
	const mac, file = "argentum", "plans/argentum.star"
	before := tr.exec(mac, "readlink", "-f", "/run/current-system")
	if err := tr.fleet.SetGeneration(tr.Context(), 3); err != nil {
		tr.Fatal(err)
	}
	tr.past(file).want(tr.T, exitOK)
	if tr.exec(mac, "readlink", "-f", "/run/current-system") == before {
		tr.Error("nothing was switched")
	}
	tr.infra("undo", "last", "--yes").want(tr.T, exitOK, "is taken back")
	if got := tr.exec(mac, "readlink", "-f", "/run/current-system"); got != before {
		tr.Errorf("it runs %s, and ran %s", got, before)
	}
}

// cleanedUp removes the setup of before, is refused where that would lose work or
// break the flake, and takes it back.
func cleanedUp(tr *trial) {
	const file = "plans/cleanup.star"
	tr.plan(file).want(tr.T, exitHeld, `stable("stibnite", "7d")`, `approved("daily-work")`)
	head := tr.git("rev-parse", "HEAD")

	tr.write("modules/darwin/mine.nix", "{ }\n")
	tr.past(file).want(tr.T, exitFailed, "commit or drop these first: ?? modules/darwin/mine.nix")
	if err := os.Remove(filepath.Join(tr.fleet.Project(), "modules/darwin/mine.nix")); err != nil {
		tr.Fatal(err)
	}

	flake, err := os.ReadFile(filepath.Join(tr.fleet.Project(), "flake.nix"))
	if err != nil {
		tr.Fatal(err)
	}
	tr.write("flake.nix", strings.Replace(string(flake), "inherit terraform;", "inherit terraform; legacy =\n  nixos-unified;", 1))
	tr.git("commit", "-qam", "Something needs it")
	tr.past(file).want(tr.T, exitFailed, "step \"evaluate\": nix.flake.check", "is taken back")
	if status := tr.git("status", "--porcelain"); status != "" {
		tr.Errorf("it left\n%s", status)
	}
	tr.git("reset", "-q", "--hard", head)

	tr.unchanged(func() { tr.past(file).want(tr.T, exitOK, "7 checks ok") })
	if now, err := os.ReadFile(filepath.Join(tr.fleet.Project(), "flake.nix")); err != nil || string(now) != strings.Replace(string(flake), "      nixos-unified = import ./modules/darwin;\n", "", 1) {
		tr.Errorf("the flake is %s, %v", now, err)
	}
	if changed := tr.git("show", "--format=%s", "--name-only", "HEAD"); changed != "Remove nixos-unified\n\nflake.nix\nmodules/darwin/default.nix" {
		tr.Errorf("the last commit is %q", changed)
	}
	tr.past(file).want(tr.T, exitOK, "operations, no change")
}

// git runs git in the project.
func (tr *trial) git(args ...string) string {
	tr.Helper()
	out, err := exec.Command("git", append([]string{"-C", tr.fleet.Project()}, args...)...).CombinedOutput()
	if err != nil {
		tr.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// place is how plans/README.md names a part of a plan.
var place = regexp.MustCompile("`([a-z]+) (check|step|undo|human|gate) ([^`]+)`")

// TestTheBriefHasItsPlaces holds plans/README.md to the plans: each part that it names
// is there, and each check, gate, undo and human step of each plan is named, so that
// nothing is in the plans for no reason.
func TestTheBriefHasItsPlaces(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../plans/README.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, m := range place.FindAllStringSubmatch(string(text), -1) {
		if m[1] == "infra" { // a command
			continue
		}
		named[strings.Join(m[1:], " ")] = true
	}
	there := map[string]bool{}
	for _, name := range readPlan(t, "plans/migration.star").Phases {
		p := readPlan(t, "plans/"+name+".star")
		if p.Name != name || len(p.Steps)+len(p.Checks) == 0 {
			t.Errorf("plans/%s.star binds %s, with %d steps", name, p.Name, len(p.Steps))
		}
		for part, must := range partsOf(p) {
			there[part] = true
			if must && !named[part] {
				t.Errorf("plans/README.md does not name `%s`", part)
			}
		}
	}
	for part := range named {
		if !there[part] {
			t.Errorf("plans/README.md names `%s`, which is in no plan", part)
		}
	}
}

// partsOf are the parts of a plan as the README names them, and whether it must.
func partsOf(p *runtime.Plan) map[string]bool {
	parts := map[string]bool{}
	for _, g := range p.After {
		parts[p.Name+" gate "+g.String()] = true
	}
	for _, s := range p.Steps {
		kind := "step"
		if s.Human != "" {
			kind = "human"
		}
		parts[p.Name+" "+kind+" "+s.Name] = s.Human != ""
		if s.Undo != nil {
			parts[p.Name+" undo "+s.Name] = true
		}
	}
	for _, c := range p.Checks {
		parts[p.Name+" check "+c.Name] = true
	}
	return parts
}

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const blackphos = "plans/blackphos.star"

func TestTheFirstMigration(t *testing.T) {
	tr := newTrial(t).withClan()
	system := tr.built("darwinConfigurations.blackphos.system")

	t.Run("its dry run says what it cannot know before the vars are there, and changes nothing", func(t *testing.T) {
		tr := tr.with(t)
		tr.unchanged(func() {
			r := tr.plan("--dry-run", "--detailed-exitcode", blackphos)
			r.want(t, 3, "clan.vars.generate", "generate zerotier: identity (secret), network-id",
				"answer password with ‹secret secrets/blackphos.yaml[user.password]›", "git commit: vars of blackphos",
				"? unknown    nix.build", "(before the change)", system, "(known after nix.build, plans/blackphos.star:")
		})
		if _, err := os.Stat(filepath.Join(tr.fleet.Project(), ".infra")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a dry run made .infra: %v", err)
		}
	})

	var seen string
	t.Run("it switches the host to the very path that nix built", func(t *testing.T) {
		tr := tr.with(t)
		stop := watchProcesses()
		r := tr.plan(blackphos)
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
		tr.unchanged(func() { tr.plan(blackphos).want(t, 0, "no change") })
		tr.unchanged(func() { tr.plan("--dry-run", "--detailed-exitcode", blackphos).want(t, 0) })
	})

	t.Run("a new version is switched to, and back", func(t *testing.T) {
		tr := tr.with(t)
		if err := tr.fleet.SetGeneration(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		tr.plan(blackphos).want(t, 0)
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

func TestFailuresOnTheFleet(t *testing.T) {
	tr := newTrial(t, "blackphos", "rosegold")
	for _, h := range []string{"blackphos", "rosegold"} {
		tr.exec(h, "mkdir", "-m", "1777", "/tmp/infra.lock") // the first run on a host makes it, and no dry run
	}
	const head = `
load("fleet.star", "fleet")
mac = fleet["blackphos"]
def f(): %
p = plan(hosts = [mac], steps = [step(f)])
`
	plan := func(body string) string { return strings.Replace(head, "%", body, 1) }
	sshConfig, err := os.ReadFile(tr.fleet.SSHConfig())
	if err != nil {
		t.Fatal(err)
	}
	config := func(name, old, new string) string {
		text := strings.ReplaceAll(string(sshConfig), old, new)
		if text == string(sshConfig) {
			t.Fatalf("the ssh_config has no %q:\n%s", old, text)
		}
		tr.write(name, text)
		return filepath.Join(tr.fleet.Project(), name)
	}
	address := ""
	for _, h := range tr.fleet.Hosts() {
		if h.Name == "blackphos" {
			address = h.Address
		}
	}
	knownHosts := filepath.Join(tr.fleet.State(), "ssh", "known_hosts")

	tests := []struct {
		name, plan string
		code       int
		args       []string
		before     func(tr *trial)
		says       []string
	}{
		{name: "a host key that does not match", plan: plan(`ssh.run(mac, ["true"])`), code: 1,
			args: []string{"--ssh-config", config("wrong-ca", knownHosts, filepath.Join(tr.fleet.Project(), "wrong_known_hosts"))},
			before: func(tr *trial) {
				tr.write("wrong_known_hosts", "["+address+"]:2222 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJv8Y9bJ0vJYzWcFh5pZ8kTQ0mZ1v8Y9bJ0vJYzWcFh5\n")
			},
			says: []string{"plans/t.star:4:10", "ssh.run on blackphos", "THE HOST KEY OF", "HAS CHANGED", "hint:"}},
		{name: "an unreachable host", plan: plan(`ssh.run(mac, ["true"])`), code: 1,
			args: []string{"--ssh-config", config("refused", "Port 2222", "Port 2")},
			says: []string{"plans/t.star:4:10", "ssh.run on blackphos", address + ":2", "refused", "hint:"}},
		{name: "a host that says nothing", plan: plan(`ssh.run(mac, ["true"])`), code: 1,
			args: []string{"--ssh-config", config("silent", "Port 2222", "Port "+silentPort(t)+"\n  ConnectTimeout 1")},
			says: []string{"plans/t.star:4:10", "ssh.run on blackphos", "hint:"}},
		{name: "a host that is not in the fleet", plan: strings.ReplaceAll(plan("pass"), "blackphos", "nosuch"), code: 2,
			says: []string{"plans/t.star:3:12", "nosuch"}},
		{name: "a host that is not in the plan", plan: plan("pass"), code: 2, args: []string{"--host", "rosegold"},
			says: []string{`the plan has no host "rosegold"`, "hint: there are: blackphos"}},
		{name: "a change of a host that the plan does not list", plan: plan(`ssh.run(fleet["rosegold"], ["touch", "/x"])`), code: 1,
			says: []string{"plans/t.star:4:10", "ssh.run would change rosegold", "hint: add it to the plan's hosts"}},
		{name: "a wrong age key", plan: plan(`ssh.put(mac, "/x", content = secrets.sops("secrets/blackphos.yaml")["user.password"])`), code: 1,
			before: func(tr *trial) {
				tr.write("other.key", "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX")
			},
			says: []string{"plans/t.star:4:", "secrets.sops", "secrets/blackphos.yaml", "hint:"}},
		{name: "a sops file with one byte changed", plan: plan(`ssh.put(mac, "/x", content = secrets.sops("secrets/changed.yaml")["user.password"])`), code: 1,
			before: func(tr *trial) { tr.write("secrets/changed.yaml", flipped(tr)) },
			says:   []string{"plans/t.star:4:", "secrets.sops", "secrets/changed.yaml", "hint:"}},
		{name: "a build that fails", plan: plan(`nix.switch(mac, nix.build(".#fail"))`), code: 1,
			says: []string{"plans/t.star:4:", "nix.build", "undefined: frobnicate", "hint: nix log"}},
		{name: "a step that raises after another succeeded", code: 1, plan: `
load("fleet.star", "fleet")
mac = fleet["blackphos"]
def look(): return ssh.run(mac, ["uname"], reads = True).stdout.strip()
def f(kernel): fail("no %s here" % kernel)
def g(_): ssh.run(mac, ["touch", "/x"])
p = plan(hosts = [mac], steps = [step(look), step(f, needs = [look]), step(g, needs = [f])])
`, says: []string{"plans/t.star:5:16", "no Linux here", "it needs f"}},
		{name: "a command that fails", plan: plan(`ssh.run(mac, "echo half a line >&2; exit 7", reads = True)`), code: 1,
			says: []string{"plans/t.star:4:", "ssh.run on blackphos", "7", "half a line", "hint:"}},
		{name: "a question that nobody answers", plan: strings.Replace(plan(`ssh.run(mac, ["touch", "/x"])`), "step(f)", `step(f, confirm = "Sure?")`, 1), code: 4,
			says: []string{"Sure?", "hint: run it on a terminal, or with --yes"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := tr.with(t)
			if tt.before != nil {
				tt.before(tr)
			}
			tr.write("plans/t.star", tt.plan)
			args := append([]string{"run", "--ssh-config", tr.fleet.SSHConfig(), "plans/t.star"}, tt.args...)
			if tt.name == "a wrong age key" {
				args = append([]string{"SOPS_AGE_KEY_FILE=" + filepath.Join(tr.fleet.Project(), "other.key"), "HOME=" + t.TempDir()}, args...)
			}
			tr.unchanged(func() {
				started := time.Now()
				tr.infra(args...).want(t, tt.code, tt.says...)
				if time.Since(started) > patience {
					t.Errorf("it took %s", time.Since(started))
				}
			})
		})
	}

	t.Run("an activation that exits 1 leaves the host on the system it had", func(t *testing.T) {
		tr := tr.with(t)
		tr.withClan()
		tr.exec("blackphos", "sh", "-c", "echo 'exit 1' > /etc/lab-fault")
		r := tr.plan("--step", "switch", blackphos)
		r.want(t, 1, "plans/blackphos.star:", "nix.switch on blackphos", "hint:")
		if out, err := tr.fleet.Exec("blackphos", "readlink", "/run/current-system"); err == nil {
			t.Errorf("blackphos runs %s", out)
		}
		tr.exec("blackphos", "rm", "/etc/lab-fault")
		tr.plan(blackphos).want(t, 0)
	})
}

// silentPort is the port of a server on every loopback address that takes
// connections and never says a word.
func silentPort(t *testing.T) string {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// flipped is the sops file of blackphos with one character of a value changed.
func flipped(tr *trial) string {
	tr.Helper()
	data, err := os.ReadFile(filepath.Join(tr.fleet.Project(), "secrets", "blackphos.yaml"))
	if err != nil {
		tr.Fatal(err)
	}
	i := bytes.Index(data, []byte("password: ENC[AES256_GCM,data:"))
	if i < 0 {
		tr.Fatalf("no encrypted password in\n%s", data)
	}
	at := i + len("password: ENC[AES256_GCM,data:")
	if data[at] == 'A' {
		data[at] = 'B'
	} else {
		data[at] = 'A'
	}
	return string(data)
}

func TestAPreviewOfWhatIsNotBuilt(t *testing.T) {
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

package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFailuresOnTheFleet(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "cinnabar", "blackphos", "rosegold")
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
		r := tr.past(blackphos, "--step", "switch")
		r.want(t, 1, "plans/lib/mac.star:", "nix.switch.activate on blackphos", "it runs no system of nix now", "hint: infra resume tries the same system again")
		if out, err := tr.fleet.Exec("blackphos", "readlink", "/run/current-system"); err == nil {
			t.Errorf("blackphos runs %s", out)
		}
		tr.exec("blackphos", "rm", "/etc/lab-fault")
		tr.past(blackphos).want(t, 0)
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

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAHostAtAnAddress runs a plan on a host that ssh's configuration does not
// reach: its address comes out of the plan, as of one that was just provisioned.
func TestAHostAtAnAddress(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "cinnabar")
	address := tr.fleet.Hosts()[0].Address
	text, err := os.ReadFile(tr.fleet.SSHConfig())
	if err != nil {
		t.Fatal(err)
	}
	tr.write("ssh_config", strings.Replace(string(text), "HostName "+address, "HostName gone.invalid", 1))
	tr.write("address", address+"\n")
	tr.write("stop", "")
	tr.write("plans/t.star", `
load("fleet.star", "fleet")
vps = fleet["cinnabar"]
def provision():
    address = local.run(["cat", "address"]).stdout.strip()
    return ssh.at(vps, address, trust = "first-use", instance = "server 1")
def use(vps):
    ssh.wait(vps, timeout = "1m")
    ssh.put(vps, "/tmp/made", vps.address)
    nix.copy(nix.build(".#nixosConfigurations.cinnabar.config.system.build.toplevel"), to = vps)
    if fs.exists("stop"):
        fail("it is to stop")
    log("it holds " + ssh.get(vps, "/tmp/made"))
    key = ssh.get(vps, "/etc/ssh/ssh_host_ed25519_key.pub")
    ssh.run(ssh.at(vps, vps.address, key = key), ["true"])
p = plan(hosts = [vps], steps = [step(provision), step(use, needs = [provision])])
`)
	config := filepath.Join(tr.fleet.Project(), "ssh_config")
	recorded := filepath.Join(tr.fleet.Project(), ".infra", "known_hosts")
	after := "(at (known after local.run, plans/t.star:5), trust: first use)"
	tr.infra("run", "--ssh-config", config, "--dry-run", "plans/t.star").want(t, 0,
		"ssh.wait cinnabar", "wait for cinnabar "+after, "? unknown    ssh.put cinnabar", after)
	if _, err := os.Stat(recorded); err == nil {
		t.Error("the dry run recorded a key")
	}
	tr.infra("run", "--ssh-config", config, "plans/t.star").want(t, 1, "first contact with", "instance server 1: its host key ED25519 SHA256:", "it is to stop")
	if log := tr.infra("log", "last", "--output").stdout; !strings.Contains(log, "to 'ssh-ng://root@cinnabar'") {
		t.Errorf("nix copied nothing:\n%s", log)
	}
	kept, err := os.ReadFile(recorded)
	if err != nil || strings.Count(string(kept), "\n") != 1 {
		t.Errorf("%s, %v", kept, err)
	}
	if err := os.Remove(filepath.Join(tr.fleet.Project(), "stop")); err != nil {
		t.Fatal(err)
	}
	r := tr.infra("resume")
	r.want(t, 0, "it holds "+address)
	if strings.Contains(r.stderr, "first contact") {
		t.Errorf("the resumed run does not know the key any more:\n%s", r.stderr)
	}
	tr.write(".infra/known_hosts", fmt.Sprintf("cinnabar %s instance=server+1\n", strings.Fields(string(text))[0]))
	tr.infra("run", "--ssh-config", config, "plans/t.star").want(t, 1, "known_hosts, line 1, holds no public key")
}

// A machine is installed where it answers until then, by another key than the
// one that it has afterwards.
func TestInstallAtAnAddress(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, "cinnabar").withClan()
	tr.lockedOnce("cinnabar")
	tr.write("plans/install.star", fmt.Sprintf(`
load("fleet.star", "fleet")
vps = fleet["cinnabar"]
def put():
    before = ssh.at(vps, %q, trust = "first-use", instance = "installer")
    after = ssh.at(vps, before.address, key = ssh.get(before, "/etc/ssh/ssh_host_ed25519_key.pub"))
    log("it runs " + clan.install(after, target = before, timeout = "30s").system.path)
    ssh.run(after, ["true"])
install = plan(hosts = [vps], steps = [step(put)])
`, tr.fleet.Hosts()[0].Address))
	system := tr.built("nixosConfigurations.cinnabar.config.system.build.toplevel")
	tr.clan("", "--dry-run", "plans/install.star").want(t, 0, "a run would record it", "it is a system that lives", "1 destroy",
		"clan machines install cinnabar (at "+tr.fleet.Hosts()[0].Address+", trust: first use)")
	r := tr.clan("", "--destroy", "cinnabar", "plans/install.star")
	r.want(t, 0, "first contact with", "it runs "+system)
}

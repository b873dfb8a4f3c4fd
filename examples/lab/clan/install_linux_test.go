package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"infra/examples/lab/fleet"
)

// TestInstallOnANewServer takes a host that the cloud has just made, a plain
// Debian with a key that nobody knows, to the machine of the flake: with its own
// ssh key, certificates instead of keys, its secrets, and nothing of before.
func TestInstallOnANewServer(t *testing.T) {
	t.Parallel()
	f, err := fleet.Up(t.Context(), fleet.Options{
		State: filepath.Join(t.TempDir(), "lab"), Net: fleet.RandomNet(), Hosts: []string{"cinnabar"}, Cloud: []string{"cinnabar"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Down(); err != nil {
			t.Error(err)
		}
	})
	here := func(argv ...string) (string, error) {
		cmd := exec.Command("env", argv...) // env looks on the fleet's PATH
		cmd.Dir, cmd.Env = f.Project(), append(os.Environ(), f.Env()...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(out string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.TrimSpace(out)
	}
	on := func(argv ...string) string { t.Helper(); return must(f.Exec("cinnabar", argv...)) }
	build := exec.Command("go", "run", "-exec", "cp", "infra/examples/lab/clan", filepath.Join(f.Bin(), "clan"))
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	key, err := os.ReadFile(filepath.Join(f.Project(), "keys", "admin.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Create(t.Context(), "cinnabar", []string{strings.TrimSpace(string(key))}); err != nil {
		t.Fatal(err)
	}
	on("touch", "/root/mine", "/srv/mine")
	before := on("cat", "/etc/ssh/ssh_host_ed25519_key.pub")
	if out, err := here("ssh", "-F", f.SSHConfig(), "cinnabar", "true"); err == nil || !strings.Contains(out, "Host key verification failed") {
		t.Errorf("ssh trusts a host that nobody knows: %v %s", err, out)
	}

	host, err := f.CloudHost("cinnabar")
	if err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "key") // without a certificate beside it
	must(here("cp", filepath.Join(f.State(), "ssh", "id_ed25519"), plain))
	withKey := func() (string, error) {
		return here("ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
			"-o", "IdentitiesOnly=yes", "-i", plain, "-p", "2222", "root@"+host.Address, "true")
	}
	must(withKey())
	target := "root@" + host.Address + ":2222"
	must(here("clan", "machines", "install", "cinnabar", "--yes", "--target-host", target, "-i", filepath.Join(f.State(), "ssh", "id_ed25519")))

	// The key is the var's, and its certificate is from the authority that
	// the user trusts. Only certificates let in now.
	public := must(here("cat", "vars/per-machine/cinnabar/openssh/ssh.id_ed25519.pub/value"))
	var shown string
	for deadline := time.Now().Add(time.Minute); ; { // the machine comes up behind the installation
		if shown, err = here("ssh-keyscan", "-p", "2222", "-t", "ed25519", host.Address); err == nil || time.Now().After(deadline) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	must(shown, err)
	if !strings.Contains(shown, strings.Fields(public)[1]) || strings.Contains(shown, strings.Fields(before)[1]) {
		t.Errorf("it shows the key\n%s\nthe var is %s", shown, public)
	}
	if got := must(here("ssh", "-F", f.SSHConfig(), "cinnabar", "hostname; zerotier-cli info; zerotier-cli listnetworks")); !strings.HasPrefix(got, "cinnabar\n200 info ") || !strings.Contains(got, "8056c2e21c000001 lab") {
		t.Errorf("it says %s", got)
	}
	if out, err := withKey(); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("a key without a certificate: %v %s", err, out)
	}
	sshd := on("/usr/sbin/sshd", "-T")
	for _, want := range []string{"trustedusercakeys /etc/ssh/user_ca.pub", "hostcertificate /etc/ssh/ssh_host_ed25519_key-cert.pub", "passwordauthentication no"} {
		if !strings.Contains(sshd, want) {
			t.Errorf("sshd has no %q:\n%s", want, sshd)
		}
	}
	if got := on("find", "/run/secrets", "-type", "f", "-printf", "%p %m %u\n"); got != "/run/secrets/vars/openssh/ssh.id_ed25519 400 root\n/run/secrets/vars/zerotier/identity 400 root" &&
		got != "/run/secrets/vars/zerotier/identity 400 root\n/run/secrets/vars/openssh/ssh.id_ed25519 400 root" {
		t.Errorf("its secrets are\n%s", got)
	}
	system := must(here("nix", "eval", "--raw", ".#nixosConfigurations.cinnabar.config.system.build.toplevel.outPath"))
	if got := on("readlink", "/run/current-system"); !strings.HasSuffix(system, got) {
		t.Errorf("it runs %s, not %s", got, system)
	}
	if got := on("sh", "-c", "ls /root/mine /srv/mine /root/.ssh 2>&1 || true"); strings.Count(got, "No such file") != 3 {
		t.Errorf("something of before is there: %s", got)
	}
}

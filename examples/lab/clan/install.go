package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A target is a host as clan writes it: [ssh://][user@]host[:port][?OPTION=VALUE&...]
type target struct {
	user, host, port string
	options          []string // for ssh
}

func targetOf(text, identity string) (target, error) {
	text = "ssh://" + strings.TrimPrefix(text, "ssh://")
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return target{}, says("Invalid target host: %s", text)
	}
	t := target{cmp.Or(u.User.Username(), "root"), u.Hostname(), cmp.Or(u.Port(), "22"), nil}
	// This is what nixos-anywhere says, whatever clan was told of host keys.
	t.options = []string{"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"}
	for name, values := range u.Query() {
		t.options = append(t.options, "-o", name+"="+values[0])
	}
	if identity != "" {
		t.options = append(t.options, "-i", identity)
	}
	return t, nil
}

// on runs a command of a host's shell.
func (t target) on(command string) *exec.Cmd {
	args := append(append([]string{}, t.options...), "-p", t.port, t.user+"@"+t.host, command)
	cmd := exec.Command("ssh", args...)
	cmd.Stderr = os.Stderr
	return cmd
}

// confirmed asks before something is done; whoever says no gets an exit code
// of 0.
func confirmed(c call, question string) (bool, error) {
	if c.has("--yes") || c.has("-y") {
		return true, nil
	}
	fmt.Print(question + " [y/N] ")
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		return false, says("EOF when reading a line")
	}
	return strings.EqualFold(strings.TrimSpace(line), "y"), nil
}

// install generates vars, and puts the machine's system on a host that runs
// already: it copies the closure, removes what was there, sets the profile,
// activates it, and gives the machine its secrets. A server of the lab's cloud
// also gets the sshd of the system, with the machine's own key.
func install(c call) error {
	cl, err := open(c)
	if err != nil {
		return err
	}
	name := c.positional[0]
	s, err := cl.store(name)
	if err != nil {
		return err
	}
	if s.Class == "darwin" {
		return says("Installing macOS machines is not yet supported")
	}
	t, err := targetOf(c.one("--target-host"), c.one("-i"))
	if err != nil {
		return err
	}
	if yes, err := confirmed(c, fmt.Sprintf("Install %s to %s?", name, t.host)); err != nil || !yes {
		return err
	}
	if err := s.generate("", false); err != nil {
		return err
	}
	if fault("install does nothing") {
		info("### Done! ###")
		return nil
	}
	if err := s.transfer(t); err != nil {
		return err
	}
	if c.has("--no-persist-state") {
		return nil
	}
	inventory := filepath.Join(cl.dir, "inventory.json")
	if err := os.WriteFile(inventory, []byte(fmt.Sprintf("{\n  \"machines\": {\n    %q: {\n      \"installedAt\": 1\n    }\n  }\n}\n", name)), 0o644); err != nil {
		return err
	}
	return cl.commit([]string{inventory}, "update install time of "+name)
}

// transfer is the phases kexec, disko and install in one: the machine of the lab
// has its disks and its kernel.
func (s *store) transfer(t target) error {
	out, err := nix("build", "--no-link", "--json", s.dir+"#nixosConfigurations."+s.name+".config.system.build.toplevel")
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(out), `"out":"`)
	system, _, _ := strings.Cut(rest, `"`)
	info("### Copying %s to %s ###", system, t.host)
	copying := exec.Command("nix", "--extra-experimental-features", "nix-command", "copy", "--no-check-sigs", "--to", "ssh://"+t.user+"@"+t.host, system)
	copying.Env = append(os.Environ(), "NIX_SSHOPTS="+strings.Join(append(t.options, "-p", t.port), " "))
	if _, err := output(copying); err != nil {
		return err
	}
	key, err := decrypt(filepath.Join(s.dir, "sops", "secrets", s.name+"-age.key", "secret"))
	if err == nil {
		put := t.on("mkdir -p /var/lib/sops-nix && cat > /var/lib/sops-nix/key.txt && chmod 600 /var/lib/sops-nix/key.txt")
		put.Stdin = bytes.NewReader(key)
		if err := put.Run(); err != nil {
			return fmt.Errorf("upload the machine's key: %w", err)
		}
	}
	if err := s.upload(t); err != nil {
		return err
	}
	script := "rm -f /etc/infra-lab-installer; nix-env -p /nix/var/nix/profiles/system --set " + system
	if !fault("install leaves the installer") {
		script = "sed -i '/VARIANT_ID=installer/d' /etc/os-release 2>/dev/null; " + erase + script + " && " + system + "/bin/switch-to-configuration switch && {\n" + restart + "}"
	}
	cmd := t.on(script)
	cmd.Stdout = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	return nil
}

// hardware writes what the host's hardware is, and commits it.
func hardware(c call) error {
	cl, err := open(c)
	if err != nil {
		return err
	}
	name := c.positional[0]
	if _, err := cl.machine(name); err != nil {
		return err
	}
	t, err := targetOf(c.one("--target-host"), c.one("-i"))
	if err != nil {
		return err
	}
	if yes, err := confirmed(c, "Update hardware configuration for machine '"+name+"'?"); err != nil || !yes {
		return err
	}
	if fault("hardware does nothing") {
		return nil
	}
	file := filepath.Join(cl.dir, "machines", name, "facter.json")
	look := `printf '{"version": 1, "system": "%s-linux", "hostname": "%s", "at": "%s"}\n' "$(uname -m)" "$(hostname)" "$(date +%s%N)"`
	if c.one("--backend") == "nixos-generate-config" {
		file = filepath.Join(cl.dir, "machines", name, "hardware-configuration.nix")
		look = `printf '{ ... }: { nixpkgs.hostPlatform = "%s-linux"; } # %s\n' "$(uname -m)" "$(date +%s%N)"`
	}
	out, err := output(t.on(look))
	if err != nil {
		return err
	}
	if fault("hardware is empty") {
		out = nil
	}
	if err := place(file, out); err != nil {
		return err
	}
	return cl.commit([]string{file}, "Update hardware configuration of "+name)
}

// ssh lies: whatever the command there returns, this returns 0.
func ssh(c call) error {
	cl, err := open(c)
	if err != nil || len(c.positional) == 0 {
		return err
	}
	if _, err := cl.machine(c.positional[0]); err != nil {
		return err
	}
	t, err := targetOf(c.positional[0], "")
	if err == nil {
		_ = t.on(strings.Join(c.flags["-c"], " ")).Run()
	}
	return err
}

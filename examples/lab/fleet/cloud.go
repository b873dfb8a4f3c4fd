package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The cloud is the stand-in for Hetzner's API (examples/lab/hetzner). Up starts
// it where Options name hosts of the cloud, and Down ends it. Its token is in
// the project's secrets.

// cloudPort is where the cloud's API listens, at the first address of the net. It
// stands in flake.nix, too.
const cloudPort = 8088

// addCloud notes which more of the hosts only the cloud makes. A host that is up
// already was not made by it.
func (f *Fleet) addCloud(names []string) error {
	boxes, err := f.boxes()
	if err != nil {
		return err
	}
	before := len(f.cloud)
	for _, name := range names {
		switch {
		case slices.Contains(f.cloud, name):
		case boxes[name] != 0:
			return fmt.Errorf("%s is up, and the cloud did not make it: take the lab down first", name)
		default:
			f.cloud = append(f.cloud, name)
		}
	}
	if len(f.cloud) == before {
		return nil
	}
	return f.writeRecord()
}

// CloudHost finds a machine that only the cloud makes, by its name.
func (f *Fleet) CloudHost(name string) (Host, error) {
	h, err := f.host(name)
	if err == nil && !h.Cloud {
		err = fmt.Errorf("%s is not the cloud's", name)
	}
	return h, err
}

// CloudAddress is where the cloud's API listens.
func (f *Fleet) CloudAddress() string { return fmt.Sprintf("%s.1:%d", f.net, cloudPort) }

// CloudState is the file in which the cloud's API keeps what it has.
func (f *Fleet) CloudState() string { return f.path("cloud", "state.json") }

// CloudControl is the URL below which the cloud's API can be told to go wrong
// (faults) and be looked at (resources).
func (f *Fleet) CloudControl() string { return "http://" + f.CloudAddress() + "/_lab" }

// CloudToken is the token that the cloud's API takes.
func (f *Fleet) CloudToken() (string, error) {
	text, err := os.ReadFile(f.path("cloud", "token"))
	if err != nil {
		return "", fmt.Errorf("the cloud's token: %w", err)
	}
	return string(text), nil
}

// NoHost is an address of the fleet's where nothing listens: the nth.
func (f *Fleet) NoHost(n int64) string { return fmt.Sprintf("%s.%d", f.net, 100+n%150) }

// Create switches on a host of the cloud: with an empty disk, an ssh key that
// nobody has seen before, and the keys that let root in. What was there under
// its name is gone.
func (f *Fleet) Create(ctx context.Context, name string, keys []string) error {
	h, err := f.CloudHost(name)
	if err != nil {
		return err
	}
	if err := f.Delete(name); err != nil {
		return err
	}
	if err := f.writeImage(h, keys); err != nil {
		return fmt.Errorf("make the disk of %s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p, err := f.boot(ctx, h)
	if err == nil {
		err = p.answers(ctx)
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	return nil
}

// Delete ends a host of the cloud, if it is there, and its disk.
func (f *Fleet) Delete(name string) error {
	if _, err := f.CloudHost(name); err != nil {
		return err
	}
	if err := f.remove(name); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return os.RemoveAll(f.path("hosts", name))
}

// Power switches a host of the cloud off, as by its power cable, or on.
func (f *Fleet) Power(ctx context.Context, name string, on bool) error {
	h, err := f.CloudHost(name)
	if err != nil {
		return err
	}
	running, err := f.Running()
	if err != nil || on == (running[name] != 0) {
		return err
	}
	if on {
		return f.PowerOn(ctx, h.Name)
	}
	return end(running[name])
}

// imageSSHD is what an image of Debian has. The system that is installed adds
// its own.
const imageSSHD = `Include /etc/ssh/sshd_config.d/nixos.conf
Port %d
ListenAddress %s
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PidFile /run/sshd.pid
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
`

// writeImage makes what is copied to the disk of a new host: a plain Debian.
func (f *Fleet) writeImage(h Host, keys []string) error {
	disk := []string{"hosts", h.Name}
	etc := append(slices.Clone(disk), "etc")
	ssh := append(slices.Clone(disk), "home", ".ssh")
	if _, err := f.key(append(slices.Clone(etc), "ssh", "ssh_host_ed25519_key")...); err != nil {
		return err
	}
	var lines strings.Builder
	for _, key := range keys {
		lines.WriteString(key + "\n")
	}
	return errors.Join(
		os.MkdirAll(f.path(append(disk, "root")...), 0o700),
		f.write(0o644, h.Name+"\n", append(slices.Clone(etc), "hostname")...),
		f.write(0o644, hostNixConf, append(slices.Clone(etc), "nix", "nix.conf")...),
		f.write(0o644, fmt.Sprintf(imageSSHD, Port, h.Address), append(slices.Clone(etc), "ssh", "sshd_config")...),
		f.write(0o600, lines.String(), append(slices.Clone(ssh), "authorized_keys")...),
		os.Chmod(f.path(ssh...), 0o700),
	)
}

// startCloud starts the cloud's API if hosts are the cloud's and it does not
// run. It outlives us, as hosts do.
func (f *Fleet) startCloud(ctx context.Context) error {
	if len(f.cloud) == 0 {
		return nil
	}
	if pid, err := f.cloudProcess(); err != nil || pid != 0 {
		return err
	}
	if err := f.buildCloud(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ended, err := f.runCloud()
	if err != nil {
		return err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f.cloudAnswers(ctx) {
		select {
		case <-tick.C:
		case err := <-ended:
			return fmt.Errorf("the cloud ended at once: %w\n%s", err, tail(f.path("logs", "hetzner.log")))
		case <-ctx.Done():
			return fmt.Errorf("nothing answers at %s: %w", f.CloudAddress(), ctx.Err())
		}
	}
	return nil
}

// buildCloud puts the stand-in into the fleet's own folder of programs. Go keeps
// what it builds for go run, and hands it to cp here.
func (f *Fleet) buildCloud(ctx context.Context) error {
	if err := os.MkdirAll(f.Bin(), 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "run", "-exec", "cp", "infra/examples/lab/hetzner", f.cloudProgram())
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the stand-in for Hetzner's API, which takes a checkout of infra: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (f *Fleet) cloudProgram() string { return filepath.Join(f.Bin(), "hetzner") }

func (f *Fleet) cloudAnswers(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.CloudControl()+"/resources", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// tail is the end of a log, for an error.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

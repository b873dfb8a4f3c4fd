package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// up brings up some hosts for one test, in a state folder and on addresses of
// its own.
func up(t *testing.T, hosts ...string) *Fleet {
	t.Helper()
	f, err := Up(context.Background(), Options{State: filepath.Join(t.TempDir(), "lab"), Net: RandomNet(), Hosts: hosts})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Down(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// here runs a program of this machine on the fleet.
func here(t *testing.T, f *Fleet, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = f.Project()
	cmd.Env = append(os.Environ(), f.Env()...)
	cmd.Env = append(cmd.Env, "NIX_SSHOPTS=-F "+f.SSHConfig())
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return string(out)
}

// on runs a command on a host, and fails the test where that fails.
func on(t *testing.T, f *Fleet, host string, argv ...string) string {
	t.Helper()
	out, err := f.Exec(host, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func TestHostsAreMachinesOfTheirOwn(t *testing.T) {
	t.Parallel()
	f := up(t)
	for _, h := range f.Hosts() {
		t.Run(h.Name, func(t *testing.T) {
			out := here(t, f, "ssh", "-F", f.SSHConfig(), h.Name,
				"hostname; cat /etc/hostname; ls /nix/store; ls -A /root | grep -v nix; echo $0 > /etc/written-by; echo $PATH")
			want := fmt.Sprintf("%s\n%s\n/run/current-system/sw/bin:", h.Name, h.Name)
			if !strings.HasPrefix(out, want) {
				t.Errorf("on %s:\n%swant it to begin with\n%s", h.Name, out, want)
			}
			if _, err := os.Lstat("/etc/written-by"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("what %s wrote to its /etc is in this machine's: %v", h.Name, err)
			}
			if init := on(t, f, h.Name, "readlink", "/proc/1/ns/pid"); init != on(t, f, h.Name, "readlink", "/proc/self/ns/pid") {
				t.Error("its /proc is not that of its processes")
			}
		})
	}
}

func TestOnlyCertificatesLetIn(t *testing.T) {
	t.Parallel()
	f := up(t, "blackphos", "rosegold")
	config, err := os.ReadFile(f.SSHConfig())
	if err != nil {
		t.Fatal(err)
	}
	withoutCertificate := filepath.Join(t.TempDir(), "ssh_config")
	other := strings.NewReplacer("id_ed25519-cert.pub", "none", "id_ed25519", "user_ca").Replace(string(config))
	if err := os.WriteFile(withoutCertificate, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		want string // "" is success
	}{
		{"certificates", nil, ""},
		{"a host under another name", []string{"-o", "HostKeyAlias=stibnite"}, "Host key verification failed"},
		{"a host at another's address", []string{"-o", "HostKeyAlias=" + f.Hosts()[2].Address}, "Host key verification failed"},
		{"an unknown authority of hosts", []string{"-o", "UserKnownHostsFile=/dev/null"}, "Host key verification failed"},
		{"a user without a certificate", []string{"-F", withoutCertificate}, "Permission denied"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"-F", f.SSHConfig()}, tt.args...)
			out, err := exec.Command("ssh", append(args, "blackphos", "true")...).CombinedOutput()
			if (err == nil) != (tt.want == "") || !strings.Contains(string(out), tt.want) {
				t.Errorf("got %v, %q; want %q", err, out, tt.want)
			}
		})
	}
}

// A system's way to each kind of host, by hand, with the commands that
// nixos-rebuild and darwin-rebuild use.
func TestSystemsAreBuiltCopiedAndSwitchedTo(t *testing.T) {
	t.Parallel()
	f := up(t, "cinnabar", "blackphos")
	tests := []struct {
		host, attr string
		activate   []string // below the system
		files      []string // in the system
	}{
		{"cinnabar", "nixosConfigurations.cinnabar.config.system.build.toplevel", []string{"bin/switch-to-configuration", "switch"},
			[]string{"activate", "nixos-version", "sw/bin", "etc", "init", "kernel"}},
		{"blackphos", "darwinConfigurations.blackphos.system", []string{"activate"},
			[]string{"activate-user", "darwin-version", "systemConfig", "sw/bin/darwin-rebuild"}},
	}
	for _, tt := range tests {
		t.Run(tt.host, func(t *testing.T) {
			system := build(t, f, tt.attr)
			for _, file := range tt.files {
				if _, err := os.Stat(filepath.Join(system, file)); err != nil {
					t.Error(err)
				}
			}
			deploy(t, f, tt.host, system, tt.activate)
			if got := on(t, f, tt.host, "readlink", "-f", "/nix/var/nix/profiles/system"); got != system {
				t.Errorf("the profile leads to %q, not to %s", got, system)
			}
			if got := on(t, f, tt.host, "cat", "/etc/motd"); got != "Welcome to "+tt.host+", generation 1." {
				t.Errorf("/etc/motd is %q", got)
			}
			if got := on(t, f, tt.host, "zerotier-cli", "info"); !strings.HasSuffix(got, " 1.14.2 ONLINE") {
				t.Errorf("zerotier-cli says %q", got)
			}

			if err := f.SetGeneration(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
			next := build(t, f, tt.attr)
			if next == system {
				t.Fatal("generation 2 is the same system")
			}
			deploy(t, f, tt.host, next, tt.activate)
			if err := f.SetGeneration(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func build(t *testing.T, f *Fleet, attr string) string {
	t.Helper()
	var built []struct{ Outputs struct{ Out string } }
	out := here(t, f, "nix", "build", "--json", "--no-link", ".#"+attr)
	if err := json.Unmarshal([]byte(out), &built); err != nil {
		t.Fatal(err)
	}
	return built[0].Outputs.Out
}

// deploy copies a system to a host and switches to it there.
func deploy(t *testing.T, f *Fleet, host, system string, activate []string) {
	t.Helper()
	here(t, f, "nix", "copy", "--no-check-sigs", "--to", "ssh-ng://root@"+host, system)
	on(t, f, host, "nix-env", "-p", "/nix/var/nix/profiles/system", "--set", system)
	on(t, f, host, append([]string{system + "/" + activate[0]}, activate[1:]...)...)
	if got := on(t, f, host, "readlink", "/run/current-system"); got != system {
		t.Fatalf("%s runs %q, not %s", host, got, system)
	}
	if got := on(t, f, host, "tail", "-n1", "/var/log/activations"); !strings.HasSuffix(got, system) {
		t.Errorf("the last line of the activations is %q", got)
	}
}

func TestSwitchToConfiguration(t *testing.T) {
	t.Parallel()
	f := up(t, "cinnabar")
	system := build(t, f, "nixosConfigurations.cinnabar.config.system.build.toplevel")
	here(t, f, "nix", "copy", "--no-check-sigs", "--to", "ssh-ng://root@cinnabar", system)
	tests := []struct {
		name, before, action string
		code                 int
		switched             bool
	}{
		{"no action", "true", "", 1, false},
		{"unknown action", "true", "restart", 1, false},
		{"check", "true", "check", 0, false},
		{"dry-activate", "true", "dry-activate", 0, false},
		{"boot", "true", "boot", 0, false},
		{"a fault", "echo exit 4 > /etc/lab-fault", "switch", 4, false},
		{"locked", "mkdir -p /run/nixos; exec 7> /run/nixos/switch-to-configuration.lock; flock 7", "switch", 1, false},
		{"test", "true", "test", 0, true},
		{"switch", "rm /run/current-system", "switch", 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := on(t, f, "cinnabar", "sh", "-c", tt.before+"; "+system+"/bin/switch-to-configuration "+tt.action+
				"; echo $?; readlink /run/current-system; rm -f /etc/lab-fault")
			want := fmt.Sprint(tt.code)
			if tt.switched {
				want += "\n" + system
			}
			if out != want {
				t.Errorf("got %q, want %q", out, want)
			}
		})
	}
}

func TestRootHashTellsChangesFromReads(t *testing.T) {
	t.Parallel()
	f := up(t, "blackphos")
	system := build(t, f, "packages.x86_64-linux.default")
	hash := func() string {
		t.Helper()
		sum, err := f.RootHash("blackphos")
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	last := hash()
	step := func(name string, changes bool, act func()) {
		t.Helper()
		act()
		now := hash()
		if (now != last) != changes {
			t.Errorf("%s: the hash is a different one: %v, want %v", name, now != last, changes)
		}
		last = now
	}
	local := func(argv ...string) func() { return func() { t.Helper(); here(t, f, argv...) } }
	sh := func(script string) func() { return func() { t.Helper(); on(t, f, "blackphos", "sh", "-c", script) } }
	step("a login", false, local("ssh", "-F", f.SSHConfig(), "blackphos", "cat /etc/passwd; ls -R /nix /run"))
	step("a look at a profile", false, sh("nix-env -p /nix/var/nix/profiles/system --list-generations"))
	step("a question to the store", false, local("nix", "path-info", "--all", "--store", "ssh-ng://root@blackphos"))
	step("a copied path", true, local("nix", "copy", "--no-check-sigs", "--to", "ssh-ng://root@blackphos", system))
	step("a closure", false, sh("nix-store -q --requisites "+system))
	step("a path less", true, sh("nix-store --delete "+system))
	step("a new file", true, sh("echo a > /etc/new"))
	step("the same file again", false, sh("echo a > /etc/new"))
	step("other content", true, sh("echo b > /etc/new"))
	step("another mode", true, sh("chmod 600 /etc/new"))
	step("another owner", true, sh("chown 1:1 /etc/new"))
	step("a secret", true, sh("mkdir /run/secrets; echo s > /run/secrets/s"))
	step("a link", true, sh("ln -s a /root/link"))
	step("another target", true, sh("ln -sfn b /root/link"))
	step("a file of this machine gone", true, sh("rm /etc/profile"))
}

func TestUpStartsWhatIsDown(t *testing.T) {
	t.Parallel()
	f := up(t, "cinnabar", "blackphos")
	again := func() []string {
		t.Helper()
		f, err := Up(t.Context(), Options{State: f.State(), Hosts: []string{"cinnabar", "blackphos"}})
		if err != nil {
			t.Fatal(err)
		}
		return f.Started
	}
	before, err := f.Running()
	if err != nil {
		t.Fatal(err)
	}
	if started := again(); started != nil {
		t.Errorf("a living fleet: started %v", started)
	}
	if err := end(before["blackphos"]); err != nil {
		t.Fatal(err)
	}
	if started := again(); len(started) != 1 || started[0] != "blackphos" {
		t.Errorf("after blackphos died: started %v", started)
	}
	after, err := f.Running()
	if err != nil {
		t.Fatal(err)
	}
	if after["cinnabar"] != before["cinnabar"] || after["blackphos"] == 0 {
		t.Errorf("running before %v, after %v", before, after)
	}
}

func TestUpRefuses(t *testing.T) {
	t.Parallel()
	f := up(t, "cinnabar")
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o777); err != nil {
		t.Fatal(err)
	}
	inUse := RandomNet()
	taken, err := net.Listen("tcp", inUse+".2:2222")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"another net", Options{State: f.State(), Net: RandomNet()}, "has the net " + f.net},
		{"a folder of something else", Options{State: full, Net: RandomNet()}, "is no lab's state folder"},
		{"a folder that others can read", Options{State: open, Net: RandomNet()}, "mode 0700"},
		{"an address in use", Options{State: filepath.Join(t.TempDir(), "lab"), Net: inUse}, inUse + ".2:2222 is in use"},
		{"an unknown host", Options{State: f.State(), Hosts: []string{"cinabar"}}, `no host "cinabar"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Up(t.Context(), tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestDownLeavesNothing(t *testing.T) {
	t.Parallel()
	f := up(t)
	here(t, f, "nix", "copy", "--no-check-sigs", "--to", "ssh-ng://root@stibnite", build(t, f, "packages.x86_64-linux.default"))
	seconds := fmt.Sprint(1_000_000_000 + rand.IntN(1_000_000_000)) // to know it by
	here(t, f, "ssh", "-F", f.SSHConfig(), "blackphos", "setsid sleep "+seconds+" >/dev/null 2>&1 &")
	if n := processesWith(t, seconds); n == 0 {
		t.Fatal("the host's process is not seen")
	}
	if err := f.Down(); err != nil {
		t.Fatal(err)
	}
	for _, mark := range []string{f.State(), seconds} {
		if n := processesWith(t, mark); n > 0 {
			t.Errorf("%d processes with %q are left", n, mark)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), f.State()) {
		t.Error("a mount is left")
	}
	if _, err := os.Lstat(f.State()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state folder: %v", err)
	}
	if _, err := Open(f.State()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open after Down: %v", err)
	}
}

// processesWith counts the processes of this machine whose command line has a
// text, hosts' processes among them.
func processesWith(t *testing.T, text string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		cmdline, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(cmdline), text) {
			n++
		}
	}
	return n
}

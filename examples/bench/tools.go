package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// A work is the same for every tool: commands that need no answer, one after another on
// each of the hosts.
type work struct {
	on       *hosts
	commands []string
}

// commandsOf are count commands that leave a trace, by which is seen that they ran.
func commandsOf(count int) []string {
	var all []string
	for i := range count {
		all = append(all, fmt.Sprintf("echo %d >>$HOME/ran", i+1))
	}
	return all
}

// A tool does a work.
type tool struct {
	name string
	pkg  string // the Debian package that has it
	argv func(w work) []string
	warm bool // goes over the connections that the one before it has left open
	slow bool // takes so long that a few rounds must do
}

// atOnce is how many hosts the peers work on side by side, which they must be told.
const atOnce = 50

var (
	toolBare = tool{name: "x/crypto/ssh alone (the limit)", argv: func(w work) []string {
		return w.bare(w.commands...)
	}}
	toolBareJoined = tool{name: "x/crypto/ssh alone, all in one session", argv: func(w work) []string {
		return w.bare(strings.Join(w.commands, " && "))
	}}
	toolInfra = tool{name: "infra run", argv: func(w work) []string {
		return []string{w.program("infra"), "run", "--ssh-config", "ssh_config", w.file("star")}
	}}
	toolSSHJoined = tool{name: "ssh, all in one session", pkg: "openssh-client", argv: func(w work) []string {
		return append(w.xargs(), "ssh", "-F", "ssh_config", "{}", strings.Join(w.commands, " && "))
	}}
	toolSSH = tool{name: "ssh, a connection a command", pkg: "openssh-client", slow: true, argv: func(w work) []string {
		return append(append(w.xargs(), "sh", "each.sh", "ssh_config", "{}"), w.commands...)
	}}
	toolMasterCold = tool{name: "ssh with ControlMaster, cold", pkg: "openssh-client", argv: func(w work) []string {
		return append(append(w.xargs(), "sh", "each.sh", "master_config", "{}"), w.commands...)
	}}
	toolMasterWarm = tool{name: "ssh with ControlMaster, warm", pkg: "openssh-client", warm: true, argv: toolMasterCold.argv}
	toolParallel   = tool{name: "parallel-ssh", pkg: "pssh", slow: true, argv: func(w work) []string {
		return inTurn(w, "parallel-ssh", "-h", "hosts", "-p", strconv.Itoa(atOnce), "-t", "0", "-x", "-F ssh_config")
	}}
	toolClush = tool{name: "clush", pkg: "clustershell", slow: true, argv: func(w work) []string {
		return inTurn(w, "clush", "-S", "-q", "--hostfile=hosts", "-f", strconv.Itoa(atOnce), "-o", "-F ssh_config")
	}}
	toolFabric = tool{name: "fabric (checks no host key)", pkg: "fabric", argv: func(w work) []string {
		return append([]string{"/usr/bin/python3", "fabric_each.py"}, w.commands...)
	}}
	toolRawCold   = tool{name: "ansible, raw, cold", pkg: "ansible-core", slow: true, argv: playbook("raw")}
	toolRawWarm   = tool{name: "ansible, raw, warm", pkg: "ansible-core", slow: true, warm: true, argv: playbook("raw")}
	toolShellCold = tool{name: "ansible, shell, cold", pkg: "ansible-core", slow: true, argv: playbook("shell")}
	toolShellWarm = tool{name: "ansible, shell, warm", pkg: "ansible-core", slow: true, warm: true, argv: playbook("shell")}
)

// eachScript runs commands on a host, each by an ssh of its own.
const eachScript = `config=$1 host=$2
shift 2
for c; do ssh -F "$config" "$host" "$c" || exit 255; done
`

const fabricScript = `import sys
from fabric import Config, ThreadingGroup
config = Config(runtime_ssh_path="ssh_config")
with ThreadingGroup(*open("hosts").read().split(), config=config) as group:
    for command in sys.argv[1:]:
        group.run(command, hide=True)
`

// program is one that prepare built.
func (w work) program(name string) string { return filepath.Join(filepath.Dir(w.on.dir), name) }

// file is this work's plan, or playbook, in the hosts' folder.
func (w work) file(kind string) string { return fmt.Sprintf("do-%d.%s", len(w.commands), kind) }

func (w work) bare(commands ...string) []string {
	return append([]string{w.program("bare"), "hosts", "user", "known_hosts", strconv.Itoa(w.on.port)}, commands...)
}

func (w work) xargs() []string {
	return []string{"xargs", "-a", "hosts", "-P", strconv.Itoa(atOnce), "-I{}"}
}

// inTurn is a tool that knows one command at a time.
func inTurn(w work, argv ...string) []string {
	script := "for c in"
	for _, c := range w.commands {
		script += " '" + c + "'"
	}
	script += `; do "$@" "$c" || exit; done`
	return append([]string{"sh", "-c", script, "sh"}, argv...)
}

func playbook(module string) func(w work) []string {
	return func(w work) []string {
		return []string{"ansible-playbook", "-i", "inventory.ini", w.file(module + ".yml")}
	}
}

// write writes what tools read the work from.
func (w work) write() error {
	if len(w.commands) == 0 {
		return nil
	}
	var plan strings.Builder
	plan.WriteString("hosts = [host(\"h%d\" % i, system = \"x86_64-linux\", ssh = a) for i, a in enumerate([\n")
	for _, a := range w.on.addresses {
		fmt.Fprintf(&plan, "    %q,\n", a)
	}
	plan.WriteString("])]\ndef act(host):\n")
	for _, c := range w.commands {
		fmt.Fprintf(&plan, "    ssh.run(host, %q)\n", c)
	}
	plan.WriteString("work = plan(hosts = hosts, steps = [step(act, each = hosts)])\n")
	files := map[string]string{w.file("star"): plan.String()}
	for _, module := range []string{"raw", "shell"} {
		text := "- hosts: all\n  gather_facts: false\n  tasks:\n"
		for _, c := range w.commands {
			text += fmt.Sprintf("    - ansible.builtin.%s: '%s'\n", module, c)
		}
		files[w.file(module+".yml")] = text
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(w.on.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// install installs the Debian packages that are missing.
func install(ctx context.Context, pkgs ...string) error {
	var missing []string
	for _, p := range pkgs {
		if versionOf(p) == "" {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	for _, argv := range [][]string{
		{"apt-get", "update", "-qq"},
		append([]string{"apt-get", "install", "-y", "-qq", "--no-install-recommends"}, missing...),
	} {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("install %s: %w", strings.Join(missing, " "), err)
		}
	}
	return nil
}

// versionOf is the version of an installed Debian package, "" of one that is not.
func versionOf(pkg string) string {
	out, err := exec.Command("dpkg-query", "-W", "-f", "${db:Status-Abbrev}|${Version}", pkg).Output()
	status, version, _ := strings.Cut(string(out), "|")
	if err != nil || !strings.HasPrefix(status, "ii") {
		return ""
	}
	return version
}

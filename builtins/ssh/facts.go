package ssh

import (
	"context"
	"io"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

var factsSpec = call.Spec{
	Name:    "ssh.facts",
	Effect:  runtime.Read,
	Doc:     "Observes what a host is and what it runs. What a host does not have is an empty string.",
	Returns: "host_facts",
	Fields: []call.Field{
		{Name: "kernel", Type: "string", Doc: "\"Linux\" or \"Darwin\""},
		{Name: "arch", Type: "string", Doc: "\"x86_64\", \"arm64\""},
		{Name: "hostname", Type: "string", Doc: "as the host calls itself"},
		{Name: "user", Type: "string", Doc: "who the login is"},
		{Name: "current_system", Type: "string", Doc: "the store path that /run/current-system leads to"},
		{Name: "booted_system", Type: "string", Doc: "the store path that /run/booted-system leads to"},
		{Name: "boot_id", Type: "string", Doc: "different after every boot"},
		{Name: "os", Type: "string", Doc: "the system's name and version"},
		{Name: "nix_version", Type: "string", Doc: "what nix --version says"},
	},
	Example: `before = ssh.facts(vps)
ssh.run(vps, ["true"])
log("%s runs %s" % (before.hostname, before.current_system))
`,
}

type factsArgs struct {
	Host *runtime.Host `arg:"host" doc:"whom to ask"`
}

// factNames are the fields in order; factsScript prints each as name=value.
var factNames = []string{"kernel", "arch", "hostname", "user", "current_system", "booted_system", "boot_id", "os", "nix_version"}

// factsScript is for any POSIX shell, of Linux and macOS. A login that is not
// interactive has no nix in its PATH on a Mac, hence the two folders.
const factsScript = `
PATH=$PATH:/nix/var/nix/profiles/default/bin:/run/current-system/sw/bin
fact() { printf '%s=%s\n' "$1" "$2"; }
resolve() { (cd -P "$1" 2>/dev/null && pwd -P); }
os() {
  if [ -r /etc/os-release ]; then (. /etc/os-release; printf '%s' "$PRETTY_NAME")
  else printf '%s %s' "$(sw_vers -productName 2>/dev/null)" "$(sw_vers -productVersion 2>/dev/null)"
  fi
}
fact kernel "$(uname -s)"
fact arch "$(uname -m)"
fact hostname "$(uname -n)"
fact user "$(id -un)"
fact current_system "$(resolve /run/current-system)"
fact booted_system "$(resolve /run/booted-system)"
fact boot_id "$(` + remote.BootScript + `)"
fact os "$(os)"
fact nix_version "$(nix --version 2>/dev/null)"
`

// factsLooks is where the answers come from: the kernel, the system that runs,
// and for nix --version the folders of any PATH, with the files of the homes
// that may set one. The store is not among them: what is added to it is not in
// use, and what is in it does not change.
var factsLooks = slices.Concat(names("/etc"), names("/run"), []string{"/proc", "/nix/var/nix/profiles",
	"/bin", "/sbin", "/usr", "/opt", "/System", "/Library", "/home", "/root", "/Users"})

func (m module) facts(c *call.Call, a factsArgs) (starlark.Value, error) {
	return c.Value(runtime.Op{Host: a.Host.Name, Show: "facts of " + a.Host.Name, Looks: factsLooks, Alters: runtime.Nothing, Run: func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		cmd := remote.Command{Argv: []string{"sh", "-c", factsScript}}
		out, err := command.Query(ctx, command.On(m.pool, a.Host), cmd, log)
		if err != nil {
			return runtime.Result{}, err
		}
		if err := out.Err("observing the host"); err != nil {
			return runtime.Result{}, err
		}
		return runtime.Result{Value: parseFacts(out.Stdout)}, nil
	}})
}

func parseFacts(stdout string) *runtime.Record {
	values := map[string]string{}
	for l := range strings.Lines(stdout) {
		if name, value, ok := strings.Cut(l, "="); ok {
			values[name] = strings.TrimSpace(value)
		}
	}
	fields := make([]runtime.Field, len(factNames))
	for i, name := range factNames {
		fields[i] = runtime.Field{Name: name, Value: starlark.String(values[name])}
	}
	return runtime.NewRecord("host_facts", fields...)
}

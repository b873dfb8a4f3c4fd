package core

import (
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

type hostArgs struct {
	Name   string   `arg:"name" doc:"how plans, the journal and people call it"`
	System string   `arg:"system" doc:"the nix system it runs: x86_64-linux, aarch64-darwin, ..."`
	SSH    string   `arg:"ssh" default:"" doc:"what ssh is asked to reach: user@name, an alias of ~/.ssh/config, ssh://user@name:port; the name by default"`
	Tags   []string `arg:"tags" default:"" doc:"words to choose hosts by"`
}

func hostSpec() call.Spec {
	return call.New(call.Spec{
		Name:    "host",
		Level:   call.InFile,
		Doc:     "A machine of the fleet. It knows what it is: host.kind is \"darwin\" for a Mac, else \"nixos\".",
		Returns: "host", Fields: []call.Field{
			{Name: "name", Type: "string", Doc: "how it is called"}, {Name: "system", Type: "string", Doc: "the nix system"}, {Name: "ssh", Type: "string", Doc: "what ssh reaches"},
			{Name: "kind", Type: "string", Doc: "\"nixos\" or \"darwin\""}, {Name: "tags", Type: "tuple of strings", Doc: "words to choose hosts by"},
			{Name: "address", Type: "string", Doc: "where ssh.at says that it is reached; None for any other host"},
		},
		Example: `mac = host("blackphos", system = "aarch64-darwin", ssh = "root@blackphos", tags = ["mac"])`,
	}, newHost)
}

// systems are those that nix builds for and infra knows how to switch.
var systems = []string{"x86_64-linux", "aarch64-linux", "aarch64-darwin", "x86_64-darwin"}

func newHost(c *call.Call, a hostArgs) (starlark.Value, error) {
	if !slices.Contains(systems, a.System) {
		c.Report("one of "+strings.Join(systems, ", "), "host %s has an unknown system %q", a.Name, a.System)
	}
	if a.Name == "" || strings.ContainsAny(a.Name, " \t\n/") || strings.HasPrefix(a.Name, "-") {
		c.Report("letters, digits, dots and dashes", "%q is no name for a host", a.Name)
	}
	if strings.HasPrefix(a.SSH, "-") || strings.ContainsAny(a.SSH, " \t\n") {
		c.Report("user@name", "%q is nothing that ssh can reach", a.SSH)
	}
	if a.SSH == "" {
		a.SSH = a.Name
	}
	h := &runtime.Host{Name: a.Name, System: a.System, SSH: a.SSH, Tags: a.Tags}
	runtime.ReadingFrom(c.Context()).Declare(h)
	return h, nil
}

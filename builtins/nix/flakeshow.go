package nix

import (
	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

var flakeShowSpec = call.Spec{
	Name:   "nix.flake.show",
	Effect: runtime.Read,
	Doc: "Lists what a flake provides, as nix does: dicts by name, down to a dict with type, and with name where it is a derivation. " +
		"What nix has no word for has the type \"unknown\", such as the systems of Macs. " +
		"How much is told of other systems than this machine's differs from version to version, and so do descriptions.",
	Returns: "plain data",
	Example: `systems = nix.flake.show()["nixosConfigurations"]
log("the flake has " + ", ".join(systems.keys()))
`,
}

type flakeArgs struct {
	Flake string `arg:"flake" default:"." doc:"the flake; the project's by default"`
}

func (m module) flakeShow(c *call.Call, a flakeArgs) (starlark.Value, error) {
	return m.ask(c, a.Flake, "show")
}

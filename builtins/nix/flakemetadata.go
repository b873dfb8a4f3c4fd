package nix

import (
	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

var flakeMetadataSpec = call.Spec{
	Name:   "nix.flake.metadata",
	Effect: runtime.Read,
	Doc: "Says where a flake comes from and what its inputs are pinned to, as nix does: every version has description, url, locked, lastModified, path and locks; " +
		"revision is only there where git has no changes that are not committed. A lock file that is missing or out of date is not written.",
	Returns: "plain data",
	Example: `flake = nix.flake.metadata()
for name, node in flake["locks"]["nodes"].items():
    if "locked" in node:
        log("%s is pinned to %s" % (name, node["locked"]["narHash"]))
`,
}

func (m module) flakeMetadata(c *call.Call, a flakeArgs) (starlark.Value, error) {
	return m.ask(c, a.Flake, "metadata")
}

package clan

import (
	"context"
	"fmt"
	"io"
	"strings"

	starlarkjson "go.starlark.net/lib/json"
	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

var inventorySpec = call.Spec{
	Name:   "clan.inventory",
	Level:  call.Input,
	Effect: runtime.Read,
	Doc: "Reads the clan's inventory: machines, instances, meta and tags, as plain data. " +
		"At the top level of a file it is a source of the plan: a preview or a run that was begun with another inventory is not gone on with.",
	Returns: "plain data",
	Example: `for name, machine in clan.inventory()["machines"].items():
    log("%s: %s" % (name, ", ".join(machine["tags"])))
`,
}

// Where the inventory is. What documentation names, the second one, holds
// functions in some versions of clan, and then cannot be printed.
const (
	serialized   = ".#clanInternals.inventoryClass.inventorySerialization"
	asDocumented = ".#clan.inventory"
)

type inventoryArgs struct{}

func (cl Clan) inventory(c *call.Call, _ inventoryArgs) (starlark.Value, error) {
	op := runtime.Op{Show: "the clan's inventory", Alters: runtime.Nothing}
	op.Looks, op.Beyond = cl.looksAtFlake(serialized)
	op.Flake = true
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		data, err := cl.evalInventory(ctx, log)
		if err != nil {
			return runtime.Result{}, err
		}
		v, err := starlark.Call(c.Thread, starlarkjson.Module.Members["decode"], starlark.Tuple{starlark.String(data)}, nil)
		return runtime.Result{Value: v}, err
	}
	return c.Value(op)
}

// looksAtFlake is what an evaluation observes; documentation is made without one.
func (cl Clan) looksAtFlake(installable string) (looks []string, beyond bool) {
	if cl.Looks == nil {
		return nil, true
	}
	return cl.Looks(installable)
}

// evalInventory is the inventory as JSON, whichever of its places the flake has.
func (cl Clan) evalInventory(ctx context.Context, log io.Writer) ([]byte, error) {
	data, err := cl.Eval(ctx, log, serialized, "")
	if err == nil || !lacksAttribute(err) {
		return data, inInventory(err)
	}
	data, err = cl.Eval(ctx, log, asDocumented, "")
	if err != nil && lacksAttribute(err) {
		return nil, runtime.WithHint(fmt.Errorf("the flake has no clan: neither %s nor %s is there", serialized, asDocumented),
			"a clan's flake hands on clan.config.clanInternals; --flake names the folder of the clan's flake")
	}
	return data, inInventory(err)
}

func inInventory(err error) error {
	if err != nil {
		return fmt.Errorf("the clan's inventory: %w", err)
	}
	return nil
}

// lacksAttribute tells a flake without an attribute from one that fails.
func lacksAttribute(err error) bool {
	return strings.Contains(err.Error(), "does not provide attribute")
}

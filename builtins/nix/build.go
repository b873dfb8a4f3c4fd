package nix

import (
	"context"
	"fmt"
	"io"
	"regexp"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

var buildSpec = call.Spec{
	Name:   "nix.build",
	Effect: runtime.Build,
	Doc: "Builds an attribute of a flake into the store here. A dry run evaluates it, so that the path it returns is " +
		"the one that a run builds.",
	Returns: "store_path",
	Fields: []call.Field{
		{Name: "path", Type: "string", Doc: "the path in the store; the output \"out\" where there are several"},
		{Name: "drv", Type: "string", Doc: "the derivation; empty where the installable is a path that was built already"},
		{Name: "name", Type: "string", Doc: "the path without the store and the hash"},
	},
	Example: `system = nix.build(".#darwinConfigurations.blackphos.system")
log("built " + system.path)
`,
}

type buildArgs struct {
	Installable string `arg:"installable" doc:"such as \".#darwinConfigurations.blackphos.system\""`
}

func (m module) build(c *call.Call, a buildArgs) (starlark.Value, error) {
	installable, err := m.resolve(a.Installable)
	if err != nil {
		return nil, fmt.Errorf("nix.build: %w", err)
	}
	b := building{m, installable}
	return c.Value(runtime.Op{Show: "nix build " + installable, Predict: b.predict, Run: b.run})
}

// building is one installable on its way into the store.
type building struct {
	module
	installable string
}

func (b building) predict(ctx context.Context) (runtime.Prediction, error) {
	e, err := b.evaluate(ctx, io.Discard)
	if err != nil {
		return runtime.Prediction{}, err
	}
	built, err := b.here(io.Discard).holds(ctx, e.path.Path)
	if err != nil {
		return runtime.Prediction{}, err
	}
	if built {
		return runtime.Prediction{Verdict: runtime.NoChange, Value: e.path}, nil
	}
	return runtime.Prediction{Verdict: runtime.WillChange, Value: e.path, Detail: e.plan.String()}, nil
}

// run builds the very derivation that was evaluated. nix-store does it, since
// how `nix build` is told of a derivation differs from version to version.
func (b building) run(ctx context.Context, log io.Writer) (runtime.Result, error) {
	e, err := b.evaluate(ctx, log)
	if err != nil {
		return runtime.Result{}, err
	}
	here := b.here(log)
	built, err := here.holds(ctx, e.path.Path)
	if err != nil || built {
		return runtime.Result{Value: e.path}, err
	}
	goal := e.path.Drv
	if goal == "" {
		goal = e.path.Path
	}
	out, err := here.script(ctx, "the build of "+e.path.Name(), remote.Command{Dir: b.root},
		`exec nix-store --log-format raw-with-logs --realise "$@"`, goal)
	if err != nil {
		return runtime.Result{}, here.buildError(ctx, e.path.Name(), out, err)
	}
	return runtime.Result{Value: e.path, Changed: true}, nil
}

// evaluation is what is known of an installable before it is built.
type evaluation struct {
	path *runtime.StorePath
	plan buildPlan
}

func (b building) evaluate(ctx context.Context, log io.Writer) (evaluation, error) {
	out, err := b.nixCommand(ctx, log, nil, "build", "--no-write-lock-file", "--no-link", "--dry-run", "--json", b.installable)
	if err != nil {
		return evaluation{}, err
	}
	path, err := parseBuilt(out.Stdout)
	return evaluation{path, parsePlan(out.Stderr)}, err
}

// failedBuilder finds the derivation whose builder failed, in the words of nix
// up to 2.3x and after.
var failedBuilder = regexp.MustCompile(`(?:builder for|Cannot build) '(/nix/store/[^']+\.drv)'`)

// buildError replaces what nix said at the end by the end of the failed builder's log.
func (s store) buildError(ctx context.Context, name string, out command.Output, err error) error {
	failed := failedBuilder.FindStringSubmatch(out.Stderr)
	if failed == nil {
		return err
	}
	drv := failed[1]
	said := "its log is empty"
	if kept, logErr := s.script(ctx, "reading the log", remote.Command{}, `exec nix-store --read-log "$1"`, drv); logErr == nil {
		if lines := command.LastLines(kept.Stdout, 20); lines != "" {
			said = "the last lines of its log:\n" + lines
		}
	}
	return runtime.WithHint(fmt.Errorf("the build of %s failed in %s; %s", name, drv, said), "nix log %s", drv)
}

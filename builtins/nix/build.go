package nix

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
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
	op := runtime.Op{Show: "nix build " + a.Installable, Once: true, Alters: buildFiles, Predict: b.predict, Run: b.run}
	op.Looks, op.Beyond = m.looks(installable)
	op.Flake = true
	if isPath.MatchString(installable) && !strings.HasSuffix(installable, ".drv") {
		op.NotKnown = func() starlark.Value { return &runtime.StorePath{Path: installable} }
	}
	return c.Value(op)
}

// isPath matches the installable that is a path of the store and nothing more:
// whatever becomes of it, that path is what nix.build returns.
var isPath = regexp.MustCompile(`^/nix/store/[0-9a-z]{32}-[0-9a-zA-Z+._=-]+$`)

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
		return runtime.Prediction{Verdict: runtime.NoChange, Value: e.path, Detail: e.origin()}, nil
	}
	if err := e.plan.obstacle(e.path); err != nil {
		return runtime.Prediction{}, err
	}
	detail := strings.TrimRight(e.origin()+"\n"+e.plan.String(), "\n")
	return runtime.Prediction{Verdict: runtime.WillChange, Value: e.path, Detail: detail}, nil
}

// run evaluates and builds in one go, where nobody else does: to start nix twice takes longer
// than many a build. While others do, what has evaluated lets others evaluate, and is built with theirs.
// Only a path of the store, of which there is nothing to evaluate, is for nix-store: of
// that, nix build says less.
func (b building) run(ctx context.Context, log io.Writer) (runtime.Result, error) {
	if isPath.MatchString(b.installable) && !strings.HasSuffix(b.installable, ".drv") {
		return b.realise(ctx, log, &runtime.StorePath{Path: b.installable})
	}
	if !b.groups.enter() || !b.turns.several() {
		defer b.groups.leave()
		return b.inGroup(ctx, log)
	}
	defer b.groups.leave()
	return b.inOne(ctx, log)
}

// inOne is run by one nix.
func (b building) inOne(ctx context.Context, log io.Writer) (runtime.Result, error) {
	work := activitiesOf(ctx)
	out, err := b.evaluates(ctx, log, work, b.installable, "build", "--no-write-lock-file", "--no-link", "--json", b.installable)
	if err != nil {
		return runtime.Result{}, b.failed(ctx, work, err)
	}
	path, err := parseBuilt(out.Stdout)
	return runtime.Result{Value: path, Changed: work.acted()}, err
}

// failed names what was to be built, which only nix knows.
func (b building) failed(ctx context.Context, work *activities, err error) error {
	if len(work.failures()) == 0 || ctx.Err() != nil {
		return err
	}
	name := b.installable
	if e, unknown := b.evaluate(ctx, io.Discard); unknown == nil {
		name = e.path.Name()
	}
	return b.here(io.Discard).buildError(ctx, name, work, err)
}

// realise gets a path into the store, from wherever nix knows to get it.
func (b building) realise(ctx context.Context, log io.Writer, path *runtime.StorePath) (runtime.Result, error) {
	here := b.here(log)
	built, err := here.holds(ctx, path.Path)
	if err != nil || built {
		return runtime.Result{Value: path}, err
	}
	work := activitiesOf(ctx)
	argv := slices.Concat(internalJSON, []string{"--realise", path.Path})
	if _, err := here.follow(ctx, work, "the build of "+path.Name(), remote.Command{Dir: b.root}, `exec nix-store "$@"`, argv...); err != nil {
		return runtime.Result{}, here.buildError(ctx, path.Name(), work, err)
	}
	return runtime.Result{Value: path, Changed: true}, nil
}

// evaluation is what is known of an installable before it is built.
type evaluation struct {
	path *runtime.StorePath
	plan buildPlan
	text string // as nix tells it
}

func (b building) evaluate(ctx context.Context, log io.Writer) (evaluation, error) {
	said := &planReader{}
	out, err := b.evaluated(ctx, io.MultiWriter(log, said), b.installable, "build", "--no-write-lock-file", "--no-link", "--dry-run", "--json", b.installable)
	if err != nil {
		return evaluation{}, err
	}
	path, err := parseBuilt(out.Stdout)
	return evaluation{path, said.plan, out.Stdout}, err
}

// origin names the path and the derivation that makes it.
func (e evaluation) origin() string {
	if e.path.Drv == "" {
		return e.path.Path
	}
	return e.path.Path + "\nfrom " + e.path.Drv
}

package nix

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"infra/builtins/internal/call"
	"infra/builtins/internal/command"
	"infra/runtime"
)

var flakeCheckSpec = call.Spec{
	Name:   "nix.flake.check",
	Effect: runtime.Build,
	Doc: "Evaluates all that a flake provides and builds its checks for this machine's system, every one even where another fails. " +
		"It fails with the end of the log of what failed, unless check = False. With build = False it only evaluates, which a check of a plan may do. " +
		"A dry run evaluates, and says which checks are not built yet.",
	Returns: "struct",
	Fields: []call.Field{
		{Name: "ok", Type: "bool", Doc: "whether nothing is wrong"},
		{Name: "detail", Type: "string", Doc: "what is wrong: what nix said last, or the end of the log of what failed"},
	},
	Example: `nix.flake.check()
found = nix.flake.check(build = False, check = False)
if not found.ok:
    log(found.detail)
`,
}

type flakeCheckArgs struct {
	Flake string `arg:"flake" default:"." doc:"the flake; the project's by default"`
	Build bool   `arg:"build,keyword" default:"True" doc:"build the checks too; False only reads"`
	Check bool   `arg:"check,keyword" default:"True" doc:"fail where something is wrong"`
}

func (m module) flakeCheck(c *call.Call, a flakeCheckArgs) (starlark.Value, error) {
	ref, err := m.flakeRef(a.Flake)
	if err != nil {
		return nil, fmt.Errorf("nix.flake.check: %w", err)
	}
	k := checking{m, ref, a.Check, c.Unknown()}
	op := runtime.Op{Show: "nix flake check " + a.Flake, Once: true, Alters: buildFiles, Run: k.run, Predict: k.predict, NotKnown: k.notKnown}
	op.Looks, op.Beyond = m.looks(ref)
	op.Flake = true
	if a.Build {
		return c.Value(op)
	}
	op.Show, op.Alters, op.Predict = "nix flake check --no-build "+a.Flake, runtime.Nothing, nil
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		v, err := k.evaluate(ctx, log)
		return answer(v, false, err)
	}
	res, err := c.Read(op)
	return res.Value, err
}

// checking is one check of a flake.
type checking struct {
	module
	flake   string
	check   bool
	unknown runtime.Unknown
}

// notKnown is the answer of a check whose outcome only a run knows: one that
// would have failed answers nothing.
func (k checking) notKnown() starlark.Value {
	if k.check {
		return found(starlark.True, starlark.String(""))
	}
	return found(k.unknown.As(runtime.BoolShape), k.unknown.As(runtime.StringShape))
}

func found(ok, detail starlark.Value) *starlarkstruct.Struct {
	return starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{"ok": ok, "detail": detail})
}

// evaluate checks without building.
func (k checking) evaluate(ctx context.Context, log io.Writer) (*starlarkstruct.Struct, error) {
	out, err := k.takingTurn(ctx, log, "flake", "check", "--no-write-lock-file", "--no-build", k.flake)
	return k.outcome(ctx, log, out, err)
}

func (k checking) run(ctx context.Context, log io.Writer) (runtime.Result, error) {
	said := &addition{}
	out, err := k.takingTurn(ctx, io.MultiWriter(log, said), "flake", "check", "--no-write-lock-file", "--keep-going", k.flake)
	v, err := k.outcome(ctx, log, out, err)
	return answer(v, said.seen, err)
}

// answer is what was found, and no value where nothing was: a nil struct is one.
func answer(v *starlarkstruct.Struct, changed bool, err error) (runtime.Result, error) {
	if err != nil {
		return runtime.Result{Changed: changed}, err
	}
	return runtime.Result{Value: v, Changed: changed}, nil
}

// An addition reads from what nix says whether it adds to the store.
type addition struct{ seen bool }

// adds matches the line of each build, and of each path that comes from a cache.
var adds = regexp.MustCompile(`(?m)^(building|copying path) '/nix/store/`)

// Write takes whole lines.
func (a *addition) Write(p []byte) (int, error) {
	a.seen = a.seen || adds.Match(colour.ReplaceAll(p, nil))
	return len(p), nil
}

// outcome is what nix found. That nix could not look, or was stopped, is never
// the flake's fault.
func (k checking) outcome(ctx context.Context, log io.Writer, out command.Output, err error) (*starlarkstruct.Struct, error) {
	switch {
	case err == nil:
		return found(starlark.True, starlark.String("")), nil
	case ctx.Err() != nil, out.Exit.Code == 0, out.Exit.Code == notFound, out.Exit.Signal != "":
		return nil, err
	}
	err = k.here(log).checkError(ctx, out, err)
	if k.check {
		return nil, err
	}
	return found(starlark.False, starlark.String(err.Error())), nil
}

func (k checking) predict(ctx context.Context) (runtime.Prediction, error) {
	v, err := k.evaluate(ctx, io.Discard)
	if err != nil {
		return runtime.Prediction{}, err
	}
	if ok, err := v.Attr("ok"); err != nil || !bool(ok.Truth()) {
		return runtime.Prediction{Verdict: runtime.NoChange, Value: v}, err
	}
	missing, err := k.unbuilt(ctx, io.Discard)
	if err != nil || len(missing) == 0 {
		return runtime.Prediction{Verdict: runtime.NoChange, Value: v}, err
	}
	detail := count(len(missing), "check") + " would be built:" + indented(missing, 20)
	return runtime.Prediction{Verdict: runtime.WillChange, Value: k.notKnown(), Detail: detail}, nil
}

// unbuilt names the checks for this machine's system that the store lacks.
// Where they cannot be told, nix itself will say why.
func (k checking) unbuilt(ctx context.Context, log io.Writer) ([]string, error) {
	system, err := k.nixCommand(ctx, log, nil, "eval", "--impure", "--raw", "--expr", "builtins.currentSystem")
	if err != nil {
		return nil, err
	}
	checks := k.flake + "#checks." + system.Stdout
	args := append([]string{"eval", "--no-write-lock-file", "--json", checks,
		"--apply", "builtins.mapAttrs (_: check: check.outPath)"}, withoutCache...)
	out, err := k.evaluated(ctx, io.Discard, checks, args...)
	if err != nil {
		return nil, ctx.Err() // there are none, or one cannot be evaluated
	}
	var paths map[string]string
	if err := json.Unmarshal([]byte(out.Stdout), &paths); err != nil {
		return nil, fmt.Errorf("the checks of %s: %w", k.flake, err)
	}
	gone, err := k.here(log).invalid(ctx, slices.Collect(maps.Values(paths)))
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		if slices.Contains(gone, paths[name]) {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// brokenBuilder finds every derivation whose own builder failed, in the words
// of nix up to 2.3x and after.
var brokenBuilder = regexp.MustCompile(`builder for '(/nix/store/[^']+\.drv)' failed|Cannot build '(/nix/store/[^']+\.drv)'\.\s+Reason: builder`)

// checkError replaces what nix said at the end by the end of the log of each
// builder that failed. Where none did, the flake does not evaluate.
func (s store) checkError(ctx context.Context, out command.Output, err error) error {
	failed := brokenBuilders(out.Stderr)
	if len(failed) == 0 {
		return err
	}
	const shown = 3
	var said []string
	for _, drv := range failed[:min(len(failed), shown)] {
		said = append(said, s.failure(ctx, failedBuild{drv: drv}))
	}
	if more := len(failed) - shown; more > 0 {
		said = append(said, fmt.Sprintf("and %d more failed", more))
	}
	return runtime.WithHint(fmt.Errorf("%s", strings.Join(said, "\n")), "nix log %s", failed[0])
}

// brokenBuilders lists them by name; a later nix names each several times.
func brokenBuilders(said string) []string {
	var failed []string
	for _, m := range brokenBuilder.FindAllStringSubmatch(colour.ReplaceAllString(said, ""), -1) {
		if drv := m[1] + m[2]; !slices.Contains(failed, drv) {
			failed = append(failed, drv)
		}
	}
	slices.SortFunc(failed, func(a, b string) int { return strings.Compare(drvName(a), drvName(b)) })
	return failed
}

// drvName is the name that a derivation has in a flake's build.
func drvName(drv string) string {
	return strings.TrimSuffix((&runtime.StorePath{Path: drv}).Name(), ".drv")
}

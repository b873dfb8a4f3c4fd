package clan

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

var generateSpec = call.Spec{
	Name:   "clan.vars.generate",
	Effect: runtime.Change,
	Doc: "Generates the vars that a machine still lacks, by clan, and commits them. What clan asks is answered with prompts; a question without an answer fails before anything is generated. " +
		"The files are looked for afterwards, whatever clan says. The commit is an operation of its own and holds nothing but what clan changed.",
	Returns: "vars_generated",
	Fields: []call.Field{
		{Name: "changed", Type: "bool", Doc: "False where no var was missing"},
		{Name: "generated", Type: "list of strings", Doc: "the vars that are new, as \"generator/file\""},
		{Name: "files", Type: "list of strings", Doc: "the files that changed, from the clan's folder"},
	},
	Example: `password = secrets.sops("secrets/blackphos.yaml")["user.password"]
made = clan.vars.generate(mac, prompts = {"user/password": password})
log("%d vars are new" % len(made.generated))
`,
}

type generateArgs struct {
	Host       *runtime.Host           `arg:"host" doc:"which machine, by the host's name"`
	Generators []string                `arg:"generators,keyword" default:"" doc:"only these and what they need; all if not given"`
	Regenerate bool                    `arg:"regenerate,keyword" default:"False" doc:"generate also what is there"`
	Prompts    map[string]runtime.Text `arg:"prompts,keyword" default:"" doc:"what to answer, by \"generator/prompt\""`
	Sandbox    bool                    `arg:"sandbox,keyword" default:"True" doc:"let generators see nothing of this machine; clan can do so on Linux only"`
	Commit     bool                    `arg:"commit,keyword" default:"True" doc:"commit what changed"`
}

// generating is one generation of a machine's vars.
type generating struct {
	driver
	generateArgs
	unknown  runtime.Unknown
	foreseen *pending // by the prediction
}

func (d driver) generate(c *call.Call, a generateArgs) (starlark.Value, error) {
	g := &generating{driver: d, generateArgs: a, unknown: c.Unknown()}
	for id, answer := range a.Prompts { // whatever it is, it is nobody else's
		if !answer.Secret() {
			a.Prompts[id] = asSecret("prompt "+id, answer.Reveal())
		}
	}
	looks, beyond := d.Looks(".#clanInternals")
	op := runtime.Op{
		Repeatable: !a.Regenerate, Show: g.show(), Args: g.args(),
		Looks: looks, Beyond: beyond, Flake: true, Alters: d.alters(a.Host.Name),
		Predict: g.predict, Run: g.run, Forget: d.forget, NotKnown: g.notKnown,
	}
	if op.Repeatable {
		op.Settle = goOn
	}
	res, err := c.Do(op)
	g.foreseen, _ = res.Aside.(*pending)
	if err != nil || !a.Commit {
		return res.Value, err
	}
	return res.Value, d.commit(c, committing{
		subject: "vars of " + a.Host.Name,
		about:   g.about(res.Value), unsure: unsure(res.Value),
	})
}

// asSecret makes text a secret with a name.
func asSecret(name, value string) runtime.Text {
	t, _ := runtime.TextOf(runtime.NewSecret(name, value)) // a secret is always a text
	return t
}

// args are the call's without what is answered to prompts: even plain answers
// are no business of the journal's.
func (g *generating) args() runtime.Args {
	args := runtime.Args{"host": g.Host.Name}
	if len(g.Generators) > 0 {
		args["generators"] = g.Generators
	}
	if g.Regenerate {
		args["regenerate"] = true
	}
	if !g.Sandbox {
		args["sandbox"] = false
	}
	if len(g.Prompts) > 0 {
		prompts := map[string]any{}
		for id, answer := range g.Prompts {
			prompts[id] = answer.String()
		}
		args["prompts"] = prompts
	}
	return args
}

func (g *generating) show() string {
	show := "clan vars generate " + g.Host.Name
	for _, name := range g.Generators {
		show += " --generator " + name
	}
	if g.Regenerate {
		show += " --regenerate"
	}
	return show
}

// alters is what clan may write to, beside the index of git.
func (d driver) alters(machine string) []string {
	paths := []string{filepath.Join(d.dir, ".git", "index")}
	for _, part := range snapshotParts(machine) {
		paths = append(paths, filepath.Join(d.dir, part))
	}
	return paths
}

// invocations are the calls of clan: one for each generator that is named,
// since clan takes one name.
func (g *generating) invocations(ctx context.Context) ([][]string, error) {
	var settings []setting
	if g.Regenerate {
		settings = append(settings, setting{"regenerate", ""})
	}
	if !g.Sandbox {
		settings = append(settings, setting{"no_sandbox", ""})
	}
	names := g.Generators
	if len(names) == 0 {
		names = []string{""}
	}
	var all [][]string
	for _, name := range names {
		i := invocation{leaf: varsGenerate, positional: []string{g.Host.Name}, settings: settings}
		if name != "" {
			i.settings = append([]setting{{"generator", name}}, settings...)
		}
		argv, err := g.argv(ctx, i)
		if err != nil {
			return nil, err
		}
		all = append(all, argv)
	}
	return all, nil
}

// heldBack bounds what of clan's output waits for its secrets to be known.
const heldBack = 1 << 20

func (g *generating) run(ctx context.Context, log io.Writer) (runtime.Result, error) {
	done, err := g.takeTurn(ctx, log)
	if err != nil {
		return runtime.Result{}, err
	}
	defer done()
	p, err := g.pending(ctx)
	if err != nil {
		return runtime.Result{}, err
	}
	before, resumed, err := g.before(ctx, g.Host.Name)
	if err != nil {
		return runtime.Result{}, err
	}
	if len(p.generators) == 0 && !resumed {
		return runtime.Result{Value: generated(false, nil, nil)}, nil
	}
	argvs, err := g.invocations(ctx)
	if err != nil {
		return runtime.Result{}, err
	}
	// A generator may print what it makes. Nobody can know that for a secret
	// before it is in its file: what is printed is held back until then.
	held := &lastLines{limit: heldBack}
	failure := g.invoke(ctx, argvs, p, held)
	after, err := g.snapshot(g.Host.Name)
	if err != nil {
		return runtime.Result{}, err
	}
	files := after.since(before)
	g.learn(ctx, files)
	_, _ = io.WriteString(log, held.String())
	if failure == nil {
		failure = p.verify(files)
	}
	if failure != nil {
		return runtime.Result{}, partly(failure, files)
	}
	return runtime.Result{Changed: len(files) > 0, Value: generated(len(files) > 0, varsIn(files), files)}, nil
}

func (g *generating) invoke(ctx context.Context, argvs [][]string, p *pending, log io.Writer) error {
	if len(p.generators) == 0 {
		return nil // an earlier process of the run did it all
	}
	for _, argv := range argvs {
		dl := &dialog{machine: g.Host.Name, prompts: p.vars.prompts(), answers: g.Prompts, log: log}
		out, err := g.converse(ctx, argv, dl)
		if err == nil {
			err = out.Err("clan vars generate")
		}
		if err != nil {
			return advised(err)
		}
	}
	return nil
}

// advised adds what to do about failures of clan's that every user meets.
func advised(err error) error {
	if runtime.HintOf(err) != "" {
		return err
	}
	said := err.Error()
	switch {
	case strings.Contains(said, "--no-sandbox"):
		return runtime.WithHint(err, "sandbox = False runs generators without a sandbox")
	case strings.Contains(said, "admin keys"):
		return runtime.WithHint(err, "clan vars keygen, once for each person, makes the key")
	case strings.Contains(said, "vars fix"):
		return runtime.WithHint(err, "clan.vars.check says what is wrong; clan vars fix mends it")
	}
	return err
}

// partly adds to a failure what is changed nevertheless.
func partly(failure error, files []string) error {
	if len(files) == 0 {
		return failure
	}
	hint := runtime.HintOf(failure)
	err := fmt.Errorf("%w\nchanged until then, and not committed:\n%s", failure, listed(files))
	if hint != "" {
		return runtime.WithHint(err, "%s", hint)
	}
	return err
}

// learn makes the values of secrets that were written known to all that leaves
// the process, as far as they can be decrypted here.
func (d driver) learn(ctx context.Context, files []string) {
	for _, f := range files {
		if filepath.Base(f) != "secret" || !strings.HasPrefix(f, "vars"+string(filepath.Separator)) {
			continue
		}
		if value, err := d.decrypted(ctx, f); err == nil {
			runtime.NewSecret(strings.Join(varsIn([]string{f}), ""), value)
		}
	}
}

func generated(changed bool, vars, files []string) *runtime.Record {
	return runtime.NewRecord("vars_generated",
		runtime.Field{Name: "changed", Value: starlark.Bool(changed)},
		runtime.Field{Name: "generated", Value: stringList(vars)},
		runtime.Field{Name: "files", Value: stringList(files)})
}

func stringList(texts []string) *starlark.List {
	elems := make([]starlark.Value, len(texts))
	for i, t := range texts {
		elems[i] = starlark.String(t)
	}
	return starlark.NewList(elems)
}

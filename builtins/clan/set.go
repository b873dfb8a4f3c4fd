package clan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

var setSpec = call.Spec{
	Name:   "clan.vars.set",
	Effect: runtime.Change,
	Doc: "Sets one var of a machine, by clan, and commits it. clan gets the value on its standard input. A var that has the value already is left alone. " +
		"The file is looked at afterwards, whatever clan says.",
	Returns: "vars_generated",
	Fields:  generateSpec.Fields,
	Example: `clan.vars.set(mac, "zerotier/network-id", "8056c2e21c000001")
`,
}

type setArgs struct {
	Host   *runtime.Host `arg:"host" doc:"which machine, by the host's name"`
	Var    string        `arg:"var" doc:"which of its vars, as \"generator/file\""`
	Value  runtime.Text  `arg:"value" doc:"what it is to be; a var that is secret wants a secret, one that is not a string"`
	Commit bool          `arg:"commit,keyword" default:"True" doc:"commit what changed"`
}

// setting one var.
type varSetting struct {
	driver
	setArgs
	unknown  runtime.Unknown
	foreseen *pending
}

func (d driver) set(c *call.Call, a setArgs) (starlark.Value, error) {
	if generator, file, ok := strings.Cut(a.Var, "/"); !ok || !valid(generator) || !valid(file) {
		return nil, fmt.Errorf("var: %q is none: it is \"generator/file\"", a.Var)
	}
	s := &varSetting{driver: d, setArgs: a, unknown: c.Unknown()}
	looks, beyond := d.Looks(".#clanInternals")
	res, err := c.Do(runtime.Op{
		Repeatable: true, Show: "clan vars set " + a.Host.Name + " " + a.Var,
		Looks: looks, Beyond: beyond, Flake: true, Alters: d.alters(a.Host.Name),
		Predict: s.predict, Run: s.run, Settle: goOn, Forget: d.forget, NotKnown: s.notKnown,
	})
	s.foreseen, _ = res.Aside.(*pending)
	if err != nil || !a.Commit {
		return res.Value, err
	}
	return res.Value, d.commit(c, committing{
		subject: "var " + a.Var + " of " + a.Host.Name,
		about:   s.about(res.Value), unsure: unsure(res.Value),
	})
}

// target is the var's file from the clan's folder. It refuses what would fail,
// and what would put a secret where everybody reads it.
func (s *varSetting) target(ctx context.Context) (file string, secret bool, err error) {
	vars, err := s.vars(ctx, s.Host.Name)
	if err != nil {
		return "", false, err
	}
	generator, name, _ := strings.Cut(s.Var, "/")
	of, ok := vars.Generators[generator].Files[name]
	if !ok {
		var all []string
		for g, gen := range vars.Generators {
			for f := range maps.Keys(gen.Files) {
				all = append(all, g+"/"+f)
			}
		}
		slices.Sort(all)
		return "", false, misspelt("var", s.Var, s.Host.Name, all)
	}
	if !of.Secret && s.Value.Secret() {
		return "", false, runtime.WithHint(fmt.Errorf("%s is not secret: its value is written as it is, and %s would show", s.Var, s.Value),
			"make the file secret in its generator")
	}
	if of.Secret && !s.Value.Secret() {
		return "", false, runtime.WithHint(fmt.Errorf("%s is secret, and its value stands in the plan", s.Var),
			"take it from secrets.sops(file)[key] or secrets.env(name)")
	}
	s.foreseen = &pending{dir: s.dir, machine: s.Host.Name, vars: vars, generators: []string{generator}}
	return s.foreseen.file(generator, name), of.Secret, nil
}

// is says whether the var has the value; known is false where that cannot be
// found out.
func (s *varSetting) is(ctx context.Context, file string, secret bool) (same, known bool) {
	if secret {
		value, err := s.decrypted(ctx, file)
		return err == nil && value == s.Value.Reveal(), err == nil
	}
	value, err := os.ReadFile(filepath.Join(s.dir, file))
	return err == nil && string(value) == s.Value.Reveal(), err == nil || errors.Is(err, os.ErrNotExist)
}

func (s *varSetting) predict(ctx context.Context) (runtime.Prediction, error) {
	file, secret, err := s.target(ctx)
	if err != nil {
		return runtime.Prediction{}, err
	}
	if same, _ := s.is(ctx, file, secret); same {
		return runtime.Prediction{Verdict: runtime.NoChange, Value: generated(false, nil, nil), Aside: s.foreseen}, nil
	}
	if _, err := s.argv(ctx, s.invocation()); err != nil {
		return runtime.Prediction{Aside: s.foreseen}, err
	}
	return runtime.Prediction{Verdict: runtime.WillChange, Value: s.notKnown(), Detail: "stdin: " + s.Value.String(), Aside: s.foreseen}, nil
}

func (s *varSetting) invocation() invocation {
	return invocation{leaf: varsSet, positional: []string{s.Host.Name, s.Var}}
}

func (s *varSetting) run(ctx context.Context, log io.Writer) (runtime.Result, error) {
	done, err := s.takeTurn(ctx, log)
	if err != nil {
		return runtime.Result{}, err
	}
	defer done()
	file, secret, err := s.target(ctx)
	if err != nil {
		return runtime.Result{}, err
	}
	before, resumed, err := s.before(ctx, s.Host.Name)
	if err != nil {
		return runtime.Result{}, err
	}
	if same, _ := s.is(ctx, file, secret); !same {
		if err := s.change(ctx, log, file, secret); err != nil {
			return runtime.Result{}, err
		}
	} else if !resumed {
		return runtime.Result{Value: generated(false, nil, nil)}, nil
	}
	after, err := s.snapshot(s.Host.Name)
	if err != nil {
		return runtime.Result{}, err
	}
	files := after.since(before)
	return runtime.Result{Changed: len(files) > 0, Value: generated(len(files) > 0, varsIn(files), files)}, nil
}

// change lets clan set the var and looks whether it did.
func (s *varSetting) change(ctx context.Context, log io.Writer, file string, secret bool) error {
	argv, err := s.argv(ctx, s.invocation())
	if err != nil {
		return err
	}
	if s.Value.Reveal() == "" {
		return errors.New("value: it is empty, and clan would wait for a person to type one")
	}
	was, _ := digestOf(filepath.Join(s.dir, file))
	out, err := command.Run(ctx, remote.Run, remote.Command{Argv: argv, Dir: s.dir, Env: environment(), Stdin: s.Value}, log)
	if err == nil {
		err = out.Err("clan vars set")
	}
	if err != nil {
		return advised(err)
	}
	same, known := s.is(ctx, file, secret)
	if is, err := digestOf(filepath.Join(s.dir, file)); !known && err == nil && is != was {
		return nil // it is another one, and nobody here can read it
	}
	if same {
		return nil
	}
	return runtime.WithHint(fmt.Errorf("clan says that it succeeded, and %s does not have the value", s.Var),
		"clan vars list %s shows what it has", s.Host.Name)
}

func (s *varSetting) notKnown() starlark.Value {
	return runtime.NewRecord("vars_generated",
		runtime.Field{Name: "changed", Value: s.unknown.As(runtime.BoolShape)},
		runtime.Field{Name: "generated", Value: s.unknown.As(runtime.StringsShape)},
		runtime.Field{Name: "files", Value: s.unknown.As(runtime.StringsShape)})
}

func (s *varSetting) about(result starlark.Value) func() (what, files []string) {
	return func() (what, files []string) {
		if !unsure(result) {
			return fieldStrings(result, "generated"), fieldStrings(result, "files")
		}
		if s.foreseen == nil {
			return nil, nil
		}
		generator, name, _ := strings.Cut(s.Var, "/")
		return nil, []string{s.foreseen.file(generator, name)}
	}
}

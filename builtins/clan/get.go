package clan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/file"
	"infra/builtins/internal/sops"
	"infra/runtime"
)

var getSpec = call.Spec{
	Name:   "clan.vars.get",
	Effect: runtime.Read,
	Doc: "Reads a var of a machine, its own or one that it shares. " +
		"A public value is a string, exactly as it is in the repository; a secret one is a secret, and is refused if it was changed since it was encrypted.",
	Returns: "string, or secret",
	Example: `network = clan.vars.get(vps, "zerotier/network-id")
log("it joins " + network)
`,
}

type getArgs struct {
	Machine *runtime.Host `arg:"machine" doc:"the machine"`
	Var     string        `arg:"var" doc:"\"generator/file\", as clan calls it"`
}

func (cl Clan) get(c *call.Call, a getArgs) (starlark.Value, error) {
	generator, file, err := parseVar(a.Var)
	if err != nil {
		return nil, fmt.Errorf("clan.vars.get: %w", err)
	}
	own, shared := variable{a.Machine.Name, generator, file}, variable{"", generator, file}
	op := runtime.Op{Show: a.Machine.Name + " " + a.Var}
	op.Looks = cl.looksAt(own.valueFile(), own.secretFile(), shared.valueFile(), shared.secretFile())
	return c.ReadSecret(op, func(ctx context.Context, log io.Writer) (starlark.Value, error) {
		if !valid(a.Machine.Name) {
			return nil, fmt.Errorf("%q is no name of a machine", a.Machine.Name)
		}
		repo, err := cl.open()
		if err != nil {
			return nil, err
		}
		defer repo.close()
		for _, v := range []variable{own, shared} {
			if f, ok := repo.find(v); ok {
				text, err := cl.value(ctx, repo, f, log)
				return text.Value(), err
			}
		}
		return nil, repo.noVar(a.Machine.Name, a.Var)
	})
}

// looksAt is what reading one of these files observes: itself, and where there
// may be a key for it.
func (cl Clan) looksAt(names ...string) []string {
	dir, err := cl.folder()
	if err != nil {
		return nil
	}
	looks := []string{}
	for i, name := range names {
		more := file.Names(filepath.Join(dir, filepath.FromSlash(name)))
		if i == 0 {
			more = sops.File{Root: dir, Name: name}.Looks()
		}
		if more == nil {
			return nil
		}
		looks = append(looks, more...)
	}
	return looks
}

// value is that of a var that is there.
func (cl Clan) value(ctx context.Context, repo *repository, f found, log io.Writer) (runtime.Text, error) {
	if f.secret {
		return cl.reveal(ctx, repo, f.secretFile(), f.dir(), log)
	}
	data, err := repo.read(f.valueFile())
	if err != nil {
		return runtime.Text{}, fmt.Errorf("%s %w", f.valueFile(), err)
	}
	return runtime.TextOf(starlark.String(data))
}

// reveal decrypts a secret's file; name is what the secret is called.
func (cl Clan) reveal(ctx context.Context, repo *repository, from, name string, log io.Writer) (runtime.Text, error) {
	data, err := repo.read(from)
	if err != nil {
		return runtime.Text{}, fmt.Errorf("%s %w", from, err)
	}
	text, err := cl.decrypt(ctx, repo, from, data, log)
	if err != nil {
		return runtime.Text{}, err
	}
	return runtime.TextOf(runtime.NewSecret(name, text))
}

// noVar says that a machine has no such var, and why that may be.
func (r *repository) noVar(machine, name string) error {
	err := fmt.Errorf("machine %s has no var %s in the repository", machine, name)
	if backend := r.backend(); backend != "" {
		return otherBackend("the clan", backend)
	}
	var names []string
	for _, of := range []string{machine, ""} {
		vars, _ := r.vars(of) // they only help to name one
		for _, v := range vars {
			names = append(names, v.String())
		}
	}
	if near := call.Nearest(name, names); near != "" {
		return runtime.WithHint(err, "did you mean %s?", near)
	}
	return runtime.WithHint(err, "generate it: clan.vars.generate(machine); clan.vars.list(machine) lists what is declared")
}

// backend names another backend than sops that has left its files here. One
// that keeps them elsewhere leaves none.
func (r *repository) backend() string {
	for _, dir := range []string{"secrets/clan-vars", "secrets/age-keys"} {
		if r.exists(dir) {
			return "age"
		}
	}
	return ""
}

var secretSpec = call.Spec{
	Name:   "clan.secret",
	Effect: runtime.Read,
	Doc: "Decrypts a secret that was kept with clan secrets set, or a machine's private key (\"NAME-age.key\"). " +
		"It is refused if it was changed since it was encrypted.",
	Returns: "secret",
	Example: `token = clan.secret("hcloud-token")` + "\n",
}

type secretArgs struct {
	Name string `arg:"name" doc:"the name, as in clan secrets list"`
}

func (cl Clan) secret(c *call.Call, a secretArgs) (starlark.Value, error) {
	if !valid(a.Name) {
		return nil, fmt.Errorf("clan.secret: %q is no name of a secret", a.Name)
	}
	dir := path.Join("sops/secrets", a.Name)
	from := path.Join(dir, "secret")
	return c.ReadSecret(runtime.Op{Show: a.Name, Looks: cl.looksAt(from)}, func(ctx context.Context, log io.Writer) (starlark.Value, error) {
		repo, err := cl.open()
		if err != nil {
			return nil, err
		}
		defer repo.close()
		text, err := cl.reveal(ctx, repo, from, dir, log)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, repo.noSecret(a.Name)
		}
		return text.Value(), err
	})
}

func (r *repository) noSecret(name string) error {
	err := fmt.Errorf("the clan has no secret %s", name)
	names, _ := r.folders("sops/secrets") // they only help to name one
	if near := call.Nearest(name, names); near != "" {
		return runtime.WithHint(err, "did you mean %s?", near)
	}
	return runtime.WithHint(err, "clan secrets list lists them; vars are read with clan.vars.get")
}

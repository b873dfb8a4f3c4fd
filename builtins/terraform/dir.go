package terraform

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/file"
	tool "infra/builtins/internal/terraform"
	"infra/runtime"
)

var dirSpec = call.Spec{
	Name:  "terraform.dir",
	Level: call.Anywhere,
	Doc: "Names a folder for Terraform or OpenTofu, and all that it is given there. Nothing is looked at before a method is called; init happens when it is needed. " +
		"The configuration is the folder's, or config: a dict, or what nix built of terranix. The folder then only has the state, if no backend is named, and the lock file of the providers. " +
		"Of infra's environment terraform gets what every program needs, and no TF_VAR_ nor TF_CLI_ARGS; a provider's token is given by env. " +
		"No step can return it: call terraform.dir in a function that all the steps call, or at the top of the file.",
	Returns: "terraform_dir",
	Fields: []call.Field{
		{Name: "name", Type: "string", Doc: "how it is called: what --destroy names"},
		{Name: "path", Type: "string", Doc: "the folder, as it was given"},
	},
	Example: `tf = terraform.dir("terraform/cinnabar",
    vars = {"size": "cx53", "labels": {"clan": "pantheon"}},
    env = {"HCLOUD_TOKEN": secrets.env("HCLOUD_TOKEN")},
    protect = ["hcloud_volume.*"],
)
`,
}

type dirArgs struct {
	Path        string         `arg:"path" doc:"the folder, from the project's root"`
	Config      starlark.Value `arg:"config,keyword" default:"" doc:"the configuration in the place of the folder's: a dict, or a store path of a JSON file"`
	Vars        starlark.Value `arg:"vars,keyword" default:"" doc:"the values of variables: a dict of plain data and secrets"`
	Env         starlark.Value `arg:"env,keyword" default:"" doc:"environment for terraform and its providers: a dict of strings and secrets"`
	VarFiles    []string       `arg:"var_files,keyword" default:"" doc:"files with values of variables, from the project's root; vars wins over them"`
	Backend     starlark.Value `arg:"backend,keyword" default:"" doc:"the backend's settings, on top of the configuration's: a dict of strings; credentials belong into env"`
	Workspace   string         `arg:"workspace,keyword" default:"default" doc:"the workspace, which is made if it is not there"`
	Binary      string         `arg:"binary,keyword" default:"terraform" doc:"\"terraform\", \"tofu\", or a program from the project's root"`
	Protect     []string       `arg:"protect,keyword" default:"" doc:"patterns of addresses that are never deleted nor replaced: \"hcloud_volume.*\", with or without module and key"`
	Costs       []string       `arg:"costs,keyword" default:"" doc:"patterns of types, or addresses, that cost money; servers, disks, addresses and the like of the usual providers if not given"`
	Name        string         `arg:"name,keyword" default:"" doc:"how it is called, and what --destroy has to name; the folder's name if not given"`
	LockTimeout time.Duration  `arg:"lock_timeout,keyword" default:"10m" doc:"how long to wait for somebody else's lock of the state"`
}

// A directory is what terraform.dir returns. It cannot be journaled:
// [runtime.Encode] refuses it; a step makes it anew.
type directory struct {
	module
	name, shown string
	at          string // the folder, absolute
	costs       []string
	protect     []string

	given   tool.Dir         // without the configuration
	config  configuration    //
	id      runtime.Args     // what it is in the arguments of operations: no secret
	secrets []string         // what may be in a plan
	needs   *runtime.Unknown // something of what it is given is not known yet
	methods starlark.StringDict
}

func (m module) dir(c *call.Call, a dirArgs) (starlark.Value, error) {
	d := &directory{module: m, shown: a.Path, at: a.Path, costs: a.Costs, protect: a.Protect}
	if !filepath.IsAbs(d.at) {
		d.at = filepath.Join(m.root, d.at)
	}
	d.at = filepath.Clean(d.at)
	if a.Path == "" {
		return nil, fmt.Errorf("terraform.dir: path is empty")
	}
	if d.name = cmp.Or(a.Name, filepath.Base(d.at)); d.costs == nil {
		d.costs = paid
	}
	if err := checkPatterns(slices.Concat(a.Costs, a.Protect)); err != nil {
		return nil, fmt.Errorf("terraform.dir: %w", err)
	}
	if err := d.give(a); err != nil {
		return nil, fmt.Errorf("terraform.dir: %w", err)
	}
	d.methods = starlark.StringDict{}
	for _, s := range methods {
		b := c.Method(s, d)
		d.methods[b.Name()] = b
	}
	return d, nil
}

// give takes over what terraform is to be given.
func (d *directory) give(a dirArgs) error {
	p := given{}
	vars, err := p.vars(a.Vars)
	if err != nil {
		return err
	}
	env, err := p.texts("env", a.Env)
	if err != nil {
		return err
	}
	backend, err := p.backend(a.Backend)
	if err != nil {
		return err
	}
	if d.config, err = p.config(a.Config); err != nil {
		return err
	}
	d.needs, d.secrets = p.needs, p.secrets
	d.given = tool.Dir{
		Binary: d.program(a.Binary), Path: d.at, Workspace: a.Workspace, Env: env, Vars: vars, Backend: backend,
		VarFiles: d.inRoot(a.VarFiles), LockTimeout: a.LockTimeout,
	}
	d.id = runtime.Args{"path": d.shown, "name": d.name, "binary": a.Binary, "workspace": a.Workspace,
		"vars": shownTexts(vars), "env": shownTexts(env), "var_files": slices.Clone(a.VarFiles), "backend": backend, "config": d.config.shown()}
	return nil
}

func (d *directory) program(name string) string {
	if strings.Contains(name, "/") && !filepath.IsAbs(name) {
		return filepath.Join(d.root, name)
	}
	return name
}

func (d *directory) inRoot(files []string) []string {
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = f
		if !filepath.IsAbs(f) {
			out[i] = filepath.Join(d.root, f)
		}
	}
	return out
}

// work is the folder with all that terraform is given, the configuration
// included, which must be there by now.
func (d *directory) work() (*work, error) {
	content, err := d.config.read()
	if err != nil {
		return nil, err
	}
	g := &d.given
	return d.works.of(&tool.Dir{
		Binary: g.Binary, Path: g.Path, Workspace: g.Workspace, Env: g.Env, Vars: g.Vars, VarFiles: g.VarFiles,
		Backend: g.Backend, Config: content, LockTimeout: g.LockTimeout,
	})
}

// op is an operation on the folder; more are arguments of its own.
func (d *directory) op(show string, more runtime.Args) runtime.Op {
	args := maps.Clone(d.id)
	maps.Copy(args, more)
	return runtime.Op{
		Show: filepath.Base(d.given.Binary) + " " + show, Args: args, About: d.name, Needs: d.needs,
		Looks: file.Names(d.at), Alters: runtime.Nothing,
		Locks: []string{"terraform:" + d.folder()},
	}
}

// folder is the one name by which the folder is locked, however it is named.
func (d *directory) folder() string {
	if names := file.Names(d.at); len(names) > 0 {
		return names[len(names)-1]
	}
	return d.at
}

// sources are what a plan is made of, besides what providers are asked.
func (d *directory) sources() []string {
	out := file.Names(d.at)
	for _, f := range d.given.VarFiles {
		out = append(out, file.Names(f)...)
	}
	if d.config.path != "" {
		out = append(out, d.config.path)
	}
	return out
}

// receiver is the directory that a method is called on.
func receiver(c *call.Call) *directory { return c.Recv.(*directory) }

var _ starlark.HasAttrs = (*directory)(nil)

// Attr returns a method, name or path.
func (d *directory) Attr(name string) (starlark.Value, error) {
	switch name {
	case "name":
		return starlark.String(d.name), nil
	case "path":
		return starlark.String(d.shown), nil
	}
	if m := d.methods[name]; m != nil {
		return m, nil
	}
	return nil, nil
}

// AttrNames lists the attributes, for spelling hints.
func (d *directory) AttrNames() []string {
	return slices.Sorted(slices.Values(append(d.methods.Keys(), "name", "path")))
}

// String shows the folder, and nothing that terraform is given.
func (d *directory) String() string { return "terraform_dir(" + d.shown + ")" }

// Format shows the folder for every verb.
func (d *directory) Format(s fmt.State, _ rune) { fmt.Fprint(s, d.String()) }

// Type is "terraform_dir".
func (d *directory) Type() string { return "terraform_dir" }

// Freeze does nothing: a directory is immutable.
func (d *directory) Freeze() {}

// Truth is always true.
func (d *directory) Truth() starlark.Bool { return true }

// Hash refuses: a folder for terraform is no key.
func (d *directory) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: terraform_dir") }

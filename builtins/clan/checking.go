package clan

import (
	"context"
	"fmt"
	"io"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"infra/builtins/internal/call"
	"infra/builtins/internal/sops"
	"infra/runtime"
)

var checkSpec = call.Spec{
	Name:   "clan.vars.check",
	Effect: runtime.Read,
	Doc: "Compares the vars that machines declare with those that are in the repository. " +
		"A kind of problem is missing, stale (the generator's definition changed since), recipients (encrypted for too few or too many, by users, machines and groups), " +
		"unreadable (no key here decrypts it), damaged (changed since it was written, cut off, or a link that leads astray), exposed (a secret in clear), empty, or key (a key.json without a usable key). " +
		"The result may be that of a check. Secrets are decrypted with the keys that are here, but nobody is asked for a touch or a passphrase and no program is started for it.",
	Returns: "struct",
	Fields: []call.Field{
		{Name: "ok", Type: "bool", Doc: "whether there is no problem"},
		{Name: "detail", Type: "string", Doc: "the problems, a line for each"},
		{Name: "problems", Type: "list of structs", Doc: "each with kind, machine (\"\" for a shared var), generator, file, path and detail"},
		{Name: "unopened", Type: "int", Doc: "how many secrets were not decrypted, because only a person or a program could have"},
	},
	Example: `vars = clan.vars.check(mac, decrypt = False)
for problem in vars.problems:
    log("%s: %s" % (problem.kind, problem.path))
`,
}

type checkArgs struct {
	Machines call.Hosts `arg:"machines" default:"" doc:"the machines; all of the clan by default"`
	Decrypt  bool       `arg:"decrypt,keyword" default:"True" doc:"whether to decrypt the secrets: without it, what was changed in them is not seen"`
}

func (cl Clan) check(c *call.Call, a checkArgs) (starlark.Value, error) {
	op := runtime.Op{Show: "all machines", Alters: runtime.Nothing, NotKnown: func() starlark.Value { return c.Unknown() }}
	if len(a.Machines) > 0 {
		op.Show = strings.Join(namesOf(a.Machines), ", ")
	}
	op.Looks, op.Beyond = cl.looksAtVars()
	op.Flake = true
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		wanted, err := cl.wanted(ctx, log, namesOf(a.Machines))
		if err != nil {
			return runtime.Result{}, err
		}
		repo, err := cl.open()
		if err != nil {
			return runtime.Result{}, err
		}
		defer repo.close()
		check := checker{repo: repo}
		if a.Decrypt {
			check.open = cl.quietly(ctx, repo, log)
		}
		problems := check.check(wanted)
		return runtime.Result{Value: verdict(problems, check.unopened)}, ctx.Err()
	}
	return c.Value(op)
}

func namesOf(hosts []*runtime.Host) []string {
	names := make([]string, len(hosts))
	for i, h := range hosts {
		names[i] = h.Name
	}
	return names
}

// looksAtVars is what is observed for questions about declared vars: the flake,
// of which vars/ and sops/ are a part, and the files that may hold an identity.
func (cl Clan) looksAtVars() (looks []string, beyond bool) {
	dir, err := cl.folder()
	if err != nil {
		return nil, true
	}
	flake, beyond := cl.looksAtFlake(allMachines)
	var files []string
	for _, name := range []string{"vars", "sops"} {
		names := sops.File{Root: dir, Name: name}.Looks()
		if names == nil {
			return nil, beyond
		}
		files = append(files, names...)
	}
	if flake == nil {
		return nil, beyond
	}
	return append(files, flake...), beyond
}

// quietly decrypts with what needs nobody.
func (cl Clan) quietly(ctx context.Context, repo *repository, log io.Writer) opener {
	ctx = sops.WithoutAsking(ctx)
	return func(name string, data []byte) (string, error) { return cl.decrypt(ctx, repo, name, data, log) }
}

func (cl Clan) decrypt(ctx context.Context, repo *repository, name string, data []byte, log io.Writer) (string, error) {
	doc, err := cl.Sealed.Decrypt(ctx, sops.File{Root: repo.dir, Name: name, Format: sops.Binary}, data, log)
	if err != nil {
		return "", err
	}
	return doc.Content()
}

// mostLines bounds the detail of a check.
const mostLines = 20

func verdict(problems []problem, unopened int) starlark.Value {
	var lines []string
	list := make([]starlark.Value, len(problems))
	for i, p := range problems {
		if i < mostLines {
			lines = append(lines, p.String())
		}
		list[i] = p.value()
	}
	if more := len(problems) - len(lines); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	if unopened > 0 {
		lines = append(lines, fmt.Sprintf("%d secrets were not decrypted: the keys that are here ask a person or start a program", unopened))
	}
	return starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{
		"ok":       starlark.Bool(len(problems) == 0),
		"detail":   starlark.String(strings.Join(lines, "\n")),
		"problems": starlark.NewList(list),
		"unopened": starlark.MakeInt(unopened),
	})
}

// String is a line for a person: "blackphos zerotier/identity: missing: ...".
func (p problem) String() string {
	who := p.machine + " "
	if p.machine == "" {
		who = "shared "
	}
	switch {
	case p.generator == "":
		who = ""
	case p.file == "":
		who += p.generator + ": "
	default:
		who += p.variable.String() + ": "
	}
	return who + p.kind + ": " + p.detail
}

func (p problem) value() starlark.Value {
	fields := starlark.StringDict{}
	for name, text := range map[string]string{
		"kind": p.kind, "machine": p.machine, "generator": p.generator, "file": p.file, "path": p.path, "detail": p.detail,
	} {
		fields[name] = starlark.String(text)
	}
	return starlarkstruct.FromStringDict(starlarkstruct.Default, fields)
}

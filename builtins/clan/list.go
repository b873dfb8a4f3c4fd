package clan

import (
	"cmp"
	"context"
	"io"
	"slices"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

var listSpec = call.Spec{
	Name:   "clan.vars.list",
	Effect: runtime.Read,
	Doc: "Lists a machine's vars, those that it shares with others included. " +
		"Listed is what the machine declares, whether it is there or not, and what is there of its own and no longer declared. No value is read.",
	Returns: "list of vars",
	Fields: []call.Field{
		{Name: "generator", Type: "string", Doc: "what makes it"},
		{Name: "file", Type: "string", Doc: "the file's name; clan calls the var \"generator/file\""},
		{Name: "secret", Type: "bool", Doc: "whether its value is encrypted"},
		{Name: "shared", Type: "bool", Doc: "whether other machines may have the same"},
		{Name: "deployed", Type: "bool", Doc: "whether the machine is given it"},
		{Name: "declared", Type: "bool", Doc: "whether the machine's configuration has it"},
		{Name: "exists", Type: "bool", Doc: "whether it was generated"},
	},
	Example: `for v in clan.vars.list(mac):
    log("%s/%s %s" % (v.generator, v.file, "is there" if v.exists else "is missing"))
`,
}

type listArgs struct {
	Machine *runtime.Host `arg:"machine" doc:"the machine"`
}

func (cl Clan) list(c *call.Call, a listArgs) (starlark.Value, error) {
	op := runtime.Op{Show: a.Machine.Name, Alters: runtime.Nothing}
	op.Looks, op.Beyond = cl.looksAtVars()
	op.Flake = true
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		wanted, err := cl.wanted(ctx, log, []string{a.Machine.Name})
		if err != nil {
			return runtime.Result{}, err
		}
		repo, err := cl.open()
		if err != nil {
			return runtime.Result{}, err
		}
		defer repo.close()
		list, err := repo.entries(a.Machine.Name, wanted[a.Machine.Name])
		if err != nil {
			return runtime.Result{}, err
		}
		values := make([]starlark.Value, len(list))
		for i, l := range list {
			values[i] = l.value()
		}
		return runtime.Result{Value: starlark.NewList(values)}, nil
	}
	return c.Value(op)
}

// An entry is one var as a plan sees it.
type entry struct {
	found
	declared, exists bool
}

// entries lists what a machine wants, and what else of its own is there.
func (r *repository) entries(machine string, w wants) ([]entry, error) {
	var out []entry
	seen := map[variable]bool{}
	for _, it := range itemsOf(map[string]wants{machine: w}) {
		there, exists := r.find(it.variable)
		of := found{it.variable, it.Secret, it.Deploy}
		if exists {
			of.secret = there.secret
		}
		out = append(out, entry{of, true, exists})
		seen[it.variable] = true
	}
	left, err := r.vars(machine)
	if err != nil {
		return nil, err
	}
	for _, f := range left {
		if !seen[f.variable] {
			out = append(out, entry{f, false, true})
		}
	}
	slices.SortFunc(out, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.generator, b.generator), cmp.Compare(a.file, b.file))
	})
	return out, nil
}

func (l entry) value() starlark.Value {
	return runtime.NewRecord("var",
		runtime.Field{Name: "generator", Value: starlark.String(l.generator)},
		runtime.Field{Name: "file", Value: starlark.String(l.file)},
		runtime.Field{Name: "secret", Value: starlark.Bool(l.secret)},
		runtime.Field{Name: "shared", Value: starlark.Bool(l.machine == "")},
		runtime.Field{Name: "deployed", Value: starlark.Bool(l.deployed)},
		runtime.Field{Name: "declared", Value: starlark.Bool(l.declared)},
		runtime.Field{Name: "exists", Value: starlark.Bool(l.exists)},
	)
}

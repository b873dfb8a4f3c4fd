package terraform

import (
	"fmt"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"infra/runtime"
)

// record is the plan as a plan's author has it.
func (d *directory) record(p planned, destroy bool, digest string, outputs *starlark.Dict, secrets []string) *runtime.Record {
	changes := make([]starlark.Value, len(p.Changes))
	for i, c := range p.Changes {
		changes[i] = starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{
			"address": starlark.String(c.Address), "type": starlark.String(c.Type),
			"name": starlark.String(c.Name), "action": starlark.String(c.Action),
		})
	}
	return runtime.NewRecord("terraform_plan",
		runtime.Field{Name: "changed", Value: starlark.Bool(p.changed())},
		runtime.Field{Name: "creates", Value: strs(p.list(create))},
		runtime.Field{Name: "updates", Value: strs(p.list(update))},
		runtime.Field{Name: "replaces", Value: strs(p.list(replace))},
		runtime.Field{Name: "deletes", Value: strs(p.list(remove))},
		runtime.Field{Name: "installs", Value: strs(p.installing())},
		runtime.Field{Name: "outputs", Value: outputs},
		runtime.Field{Name: "secrets", Value: strs(secrets)},
		runtime.Field{Name: "unknown", Value: strs(p.unknowns())},
		runtime.Field{Name: "changes", Value: starlark.NewList(changes)},
		runtime.Field{Name: "destroy", Value: starlark.Bool(destroy)},
		runtime.Field{Name: "dir", Value: starlark.String(d.shown)},
		runtime.Field{Name: "digest", Value: starlark.String(digest)},
	)
}

// A planRecord is what an apply needs of a plan that an author hands it: one of
// this process, of a step before, or of a process that is gone.
type planRecord struct {
	changed, destroy                              bool
	creates, updates, replaces, deletes, installs []string
	dir, digest                                   string
}

// recordOf reads a plan. Where it is not known yet, that is the second result.
func recordOf(v starlark.Value) (planRecord, *runtime.Unknown, error) {
	if u, ok := v.(runtime.Unknown); ok {
		return planRecord{}, &u, nil
	}
	r, ok := v.(*runtime.Record)
	if !ok || r.Type() != "terraform_plan" {
		return planRecord{}, nil, runtime.WithHint(fmt.Errorf("plan: want what tf.plan() returned, got %s", v.Type()), "p = tf.plan(); tf.apply(p)")
	}
	var p planRecord
	for _, f := range r.Fields() {
		if f.Name == "outputs" {
			continue // of what a resumed run cannot know; an apply needs none
		}
		if u, found := runtime.FindUnknown(f.Value); found {
			return planRecord{}, &u, nil
		}
		p.take(f.Name, f.Value)
	}
	if p.digest == "" {
		return planRecord{}, nil, fmt.Errorf("plan: it has no digest")
	}
	return p, nil, nil
}

func (p *planRecord) take(name string, v starlark.Value) {
	lists := map[string]*[]string{"creates": &p.creates, "updates": &p.updates, "replaces": &p.replaces, "deletes": &p.deletes, "installs": &p.installs}
	switch name {
	case "changed":
		p.changed = bool(v.Truth())
	case "destroy":
		p.destroy = bool(v.Truth())
	case "dir":
		p.dir, _ = starlark.AsString(v)
	case "digest":
		p.digest, _ = starlark.AsString(v)
	}
	list, ok := v.(*starlark.List)
	if into := lists[name]; ok && into != nil {
		for e := range list.Elements() {
			s, _ := starlark.AsString(e)
			*into = append(*into, s)
		}
	}
}

// destroys says whether an apply of the plan cannot be taken back: what is
// replaced is another afterwards, and what provisioners install is no
// business of terraform's.
func (p planRecord) destroys() bool {
	return len(p.deletes)+len(p.replaces)+len(p.installs) > 0
}

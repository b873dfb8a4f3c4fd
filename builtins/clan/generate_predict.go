package clan

import (
	"context"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// predict says what would be generated, by the files that are not there.
func (g *generating) predict(ctx context.Context) (runtime.Prediction, error) {
	p, err := g.pending(ctx)
	if err != nil {
		return runtime.Prediction{}, err
	}
	g.foreseen = p
	if len(p.generators) == 0 {
		return runtime.Prediction{Verdict: runtime.NoChange, Value: generated(false, nil, nil), Aside: p}, nil
	}
	if _, err := g.invocations(ctx); err != nil {
		return runtime.Prediction{Aside: p}, err
	}
	return runtime.Prediction{Verdict: runtime.WillChange, Value: g.notKnown(), Detail: p.detail(g.Prompts), Aside: p}, nil
}

func (g *generating) notKnown() starlark.Value {
	var changed starlark.Value = g.unknown.As(runtime.BoolShape)
	if g.foreseen != nil && len(g.foreseen.generators) > 0 {
		changed = starlark.True
	}
	return runtime.NewRecord("vars_generated",
		runtime.Field{Name: "changed", Value: changed},
		runtime.Field{Name: "generated", Value: g.unknown.As(runtime.StringsShape)},
		runtime.Field{Name: "files", Value: g.unknown.As(runtime.StringsShape)})
}

// detail lists the vars by generator.
func (p *pending) detail(answers map[string]runtime.Text) string {
	var lines []string
	for _, name := range p.generators {
		of := p.vars.Generators[name]
		var files []string
		for _, file := range slices.Sorted(maps.Keys(of.Files)) {
			if of.Files[file].Secret {
				file += " (secret)"
			}
			files = append(files, file)
		}
		how := "generate "
		if len(p.missing) == 0 || !slices.ContainsFunc(p.missing, func(m string) bool { return strings.HasPrefix(m, name+"/") }) {
			how = "generate again "
		}
		lines = append(lines, how+name+": "+strings.Join(files, ", "))
		for _, prompt := range slices.Sorted(maps.Keys(of.Prompts)) {
			if answer, ok := answers[name+"/"+prompt]; ok {
				lines = append(lines, "  answer "+prompt+" with "+answer.String())
			}
		}
	}
	return strings.Join(lines, "\n")
}

// about says what a commit is of: what was generated, or what is foreseen.
func (g *generating) about(result starlark.Value) func() (what, files []string) {
	return func() (what, files []string) {
		if !unsure(result) {
			return fieldStrings(result, "generated"), fieldStrings(result, "files")
		}
		if g.foreseen == nil {
			return nil, nil
		}
		for _, name := range g.foreseen.generators {
			files = append(files, g.foreseen.folder(name)+"/")
		}
		return nil, files
	}
}

// unsure says whether a result is that of a preview that does not know it.
func unsure(result starlark.Value) bool {
	_, found := runtime.FindUnknown(result)
	return found
}

// fieldStrings is the field of a record, which may come from the journal.
func fieldStrings(result starlark.Value, name string) []string {
	r, ok := result.(starlark.HasAttrs)
	if !ok {
		return nil
	}
	v, err := r.Attr(name)
	list, ok := v.(starlark.Iterable)
	if err != nil || !ok {
		return nil
	}
	var texts []string
	for e := range starlark.Elements(list) {
		if s, ok := starlark.AsString(e); ok {
			texts = append(texts, s)
		}
	}
	return texts
}

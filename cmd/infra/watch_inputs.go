package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/interp"
	filewatch "infra/runtime/watch"
)

// reader carries out what is read while the plan's files are.
func (re *reload) reader(reads *engine.Reads) runtime.Reader {
	return func(ctx context.Context, op runtime.Op) (runtime.Result, error) {
		re.looking.Lock()
		re.seen.Look(op)
		re.looking.Unlock()
		return reads.Read(ctx, op)
	}
}

// sourceInputs are the files that a plan was read from, and those that were looked for.
func sourceInputs(root, plan string, sources []interp.Input) []filewatch.Input {
	inputs := make([]filewatch.Input, 0, len(sources)+1)
	for _, s := range sources {
		in := filewatch.Input{Path: filepath.Join(root, filepath.FromSlash(s.Path)), Digest: s.SHA256}
		if s.Missing {
			in.Digest = filewatch.Absent
		}
		inputs = append(inputs, in)
	}
	if len(sources) == 0 {
		inputs = append(inputs, filewatch.Input{Path: plan})
	}
	return inputs
}

// lookedAt is what the operations of the preview looked at so far.
func (re *reload) lookedAt() []filewatch.Input {
	re.looking.Lock()
	defer re.looking.Unlock()
	var inputs []filewatch.Input
	for _, in := range re.seen.Inputs() {
		digest := in.Digest
		if in.Missing {
			digest = filewatch.Absent
		}
		inputs = append(inputs, filewatch.Input{Path: in.Path, Tree: in.Tree, Digest: digest})
	}
	return inputs
}

// lookedAt says whether a path is of what the plan was made of. In a folder, what the plan
// itself writes is not.
func (p *watchedPlan) lookedAt(path string) bool {
	within := func(folder string) bool { return strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/") }
	own := slices.ContainsFunc(p.writes, func(w string) bool { return w == path || within(w) })
	return slices.ContainsFunc(p.inputs, func(in filewatch.Input) bool {
		return in.Path == path || in.Tree && within(in.Path) && !own
	})
}

// watched are the inputs from now on. What could not be previewed to its end would have
// looked at more: what was looked at before counts on, as it is.
func (re *reload) watched(before []filewatch.Input) []filewatch.Input {
	if re.whole {
		return re.inputs
	}
	return withOthers(re.inputs, before)
}

// withOthers are inputs, and those others that are not among them.
func withOthers(inputs, others []filewatch.Input) []filewatch.Input {
	at := map[string]bool{}
	for _, in := range inputs {
		at[in.Path] = true
	}
	for _, in := range others {
		if !at[in.Path] {
			inputs = append(inputs, filewatch.Input{Path: in.Path, Tree: in.Tree})
		}
	}
	return inputs
}

// onceEach are inputs, each path once. A file that was seen with two contents was edited
// in between: by a digest that no content has, it is told as changed.
func onceEach(inputs []filewatch.Input) []filewatch.Input {
	type name struct {
		path string
		tree bool
	}
	at := map[name]int{}
	var all []filewatch.Input
	for _, in := range inputs {
		i, again := at[name{in.Path, in.Tree}]
		switch {
		case !again:
			at[name{in.Path, in.Tree}] = len(all)
			all = append(all, in)
		case all[i].Digest == "":
			all[i].Digest = in.Digest
		case in.Digest != "" && in.Digest != all[i].Digest:
			all[i].Digest = "seen twice"
		}
	}
	return all
}

package main

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/interp"
	saved "infra/runtime/preview"
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
	own := slices.ContainsFunc(p.writes, func(w string) bool { return saved.Within(path, w) })
	return slices.ContainsFunc(p.inputs, func(in filewatch.Input) bool {
		return in.Path == path || in.Tree && saved.Within(path, in.Path) && !own
	})
}

// watch has everything watched that any plan was made of.
func (r *reloader) watch() {
	var all [][]filewatch.Input
	for _, p := range r.plans {
		all = append(all, p.inputs)
	}
	if err := r.watcher.Set(onceEach(slices.Concat(all...))); err != nil {
		r.show.warned(err)
	}
}

// watchMore has watched what the first preview of a plan looks at, while it takes long.
// Of a folder nobody could tell afterwards that it changed meanwhile.
func (r *reloader) watchMore() {
	for _, p := range r.plans {
		if p.last == nil && p.running != nil {
			p.inputs = withOthers(p.inputs, p.running.lookedAt())
			r.watch()
		}
	}
}

// changed previews the plans again that looked at any of the paths.
func (r *reloader) changed(ctx context.Context, paths []string) {
	noticed := time.Now()
	r.reads.Changed(paths)
	for _, p := range r.plans {
		var of []string
		for _, path := range paths {
			if p.lookedAt(path) {
				of = append(of, fromRoot(r.root, path))
			}
		}
		if len(of) > 0 {
			p.edited = true
			r.begin(ctx, p, &reload{changed: of, noticed: noticed})
		}
	}
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

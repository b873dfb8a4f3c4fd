// Package interp reads plan files and runs their functions: where load looks,
// the two kinds of thread (declaring and acting), and errors with a position.
package interp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/builtins"
	"infra/runtime"
)

// Interp reads the files of one project.
type Interp struct {
	// Forms are what a preview looks at. None may be missing; a test that takes
	// one out must find that previews then lie.
	Forms Forms

	// Programs are where files are kept from one reading to the next; nil keeps none.
	Programs *Programs

	root        string
	predeclared starlark.StringDict
	specs       map[string]builtins.Spec
}

// New makes an interpreter for the project at root, whose plans see the
// builtins of specs. Their operations go through do.
func New(root string, specs []builtins.Spec, do runtime.Do) *Interp {
	byName := make(map[string]builtins.Spec, len(specs))
	for _, s := range specs {
		if s.Receiver == "" { // what a method is called on is not known before it runs
			byName[s.Name] = s
		}
	}
	return &Interp{Forms: DryRunForms(), root: root, predeclared: builtins.Predeclared(specs, do), specs: byName}
}

// A File is a plan file that has been read, with all it loads.
type File struct {
	Path    string // from the project's root
	Plan    *runtime.Plan
	Preview bool // it was read to be previewed, and cannot be run

	sources map[string]*source
	seen    map[string]string // digests of what was observed while the files were read
	steps   uint64            // that one call of its functions may take
}

// Read reads the plan file at path and finds everything that can be wrong with
// it before anything is run. The error is [runtime.Problems] where the files
// are at fault. Reading has no effect on the world.
func (in *Interp) Read(ctx context.Context, path string) (*File, error) {
	return in.readWith(ctx, path, in.Forms.inRun(), maxSteps)
}

// Preview is Read for a dry run: the files are compiled so that their code
// cannot decide on an [runtime.Unknown].
func (in *Interp) Preview(ctx context.Context, path string) (*File, error) {
	f, _, err := in.PreviewFrom(ctx, path)
	return f, err
}

// PreviewFrom is Preview for who waits for the files to change: it also returns
// every file that was asked for, whether or not they are at fault.
func (in *Interp) PreviewFrom(ctx context.Context, path string) (*File, []Input, error) {
	f, from, err := in.readFor(ctx, path, in.Forms, previewSteps, bindPlan)
	if f != nil {
		f.Preview = true
	}
	return f, from, err
}

// Resume is Read for going on with a run: of what an earlier process did, some
// answers may be lost, and its code cannot decide on these.
func (in *Interp) Resume(ctx context.Context, path string) (*File, error) {
	forms := maps.Clone(in.Forms)
	delete(forms, "time.now()")
	return in.readWith(ctx, path, forms, previewSteps)
}

func (in *Interp) readWith(ctx context.Context, path string, forms Forms, steps uint64) (*File, error) {
	f, _, err := in.readFor(ctx, path, forms, steps, bindPlan)
	return f, err
}

func bindPlan(f *File, main *source, globals starlark.StringDict, reading *runtime.Reading) {
	f.Plan = thePlan(main, globals, reading)
}

// readFor reads a file for what take makes of its globals, and says from what.
func (in *Interp) readFor(ctx context.Context, path string, forms Forms, steps uint64, take func(*File, *source, starlark.StringDict, *runtime.Reading)) (*File, []Input, error) {
	rel, err := in.fromRoot(path)
	if err != nil {
		return nil, nil, err
	}
	reading := new(runtime.Reading)
	src := &sources{root: in.root, byPath: map[string]*source{}, lacking: map[string]error{}, undefined: starlark.StringDict{}, reading: reading}
	bound := forms.bind(in.predeclared)
	src.kept, src.against = in.Programs, in.against(forms, bound.predeclared)
	main := src.add(rel, nil, syntax.MakePosition(&rel, 0, 0))
	file := &File{Path: rel, sources: src.byPath, steps: steps}
	runnable := in.compile(src, forms, bound)
	in.Programs.keep(rel, src.order)
	if runnable {
		if globals := in.execute(ctx, src, bound.predeclared, steps); globals != nil {
			take(file, main, globals, reading)
		}
	}
	file.seen = reading.Seen()
	if problems := reading.Problems(); len(problems) > 0 {
		return nil, src.inputs(), file.complete(problems)
	}
	return file, src.inputs(), nil
}

// fromRoot returns path, which is from the working directory, as a path from
// the root.
func (in *Interp) fromRoot(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(real, filepath.Base(abs))
	}
	rel, err := filepath.Rel(in.root, abs)
	if err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s is not in the project %s", path, in.root)
	}
	return filepath.ToSlash(rel), nil
}

// compile resolves, vets and instruments every file that is not kept. runnable is false
// where running them would act, or would only repeat what was found.
func (in *Interp) compile(src *sources, forms Forms, bound *bindings) (runnable bool) {
	v := &vet{predeclared: in.predeclared, specs: in.specs, reading: src.reading}
	runnable = len(src.reading.Problems()) == 0
	for _, s := range src.order {
		if s.file == nil || s.program != nil {
			continue
		}
		before := len(src.reading.Problems())
		prog, err := in.resolve(src, s)
		if err != nil {
			s.sound, runnable = false, false
			continue
		}
		v.file(s.file)
		s.program = in.guard(src, s, prog, forms, bound)
		s.sound = s.sound && len(src.reading.Problems()) == before
	}
	return runnable && !v.effects
}

// resolve binds the names of a file. Names that are not defined are reported
// and stand in src.undefined, so that reading can go on.
func (in *Interp) resolve(src *sources, s *source) (*starlark.Program, error) {
	prog, err := starlark.FileProgram(s.file, in.predeclared.Has)
	var errs resolve.ErrorList
	if !errors.As(err, &errs) {
		return prog, err
	}
	fatal := false
	for _, e := range errs {
		msg, hint := in.explainResolve(e, s.file)
		src.reading.Report(e.Pos, hint, "%s", msg)
		name, undefined := undefinedName(e)
		fatal = fatal || !undefined
		src.undefined[name] = runtime.Undefined(name)
	}
	// Resolving marks the syntax tree, so the second try takes a fresh one.
	s.file, _ = dialect.Parse(s.path, strings.Join(s.lines, "\n"), 0)
	prog, err = starlark.FileProgram(s.file, func(name string) bool { return in.predeclared.Has(name) || src.undefined.Has(name) })
	if fatal {
		return nil, errs
	}
	return prog, err
}

// guard returns the program of s with forms, or plain where s has none of
// them. What is shown of a file, and what vet sees, is the tree as it was
// written: a second one is rewritten.
func (in *Interp) guard(src *sources, s *source, plain *starlark.Program, forms Forms, bound *bindings) *starlark.Program {
	tree, err := dialect.Parse(s.path, strings.Join(s.lines, "\n"), 0)
	if err != nil || !instrument(tree, forms) {
		return plain
	}
	prog, err := starlark.FileProgram(tree, func(name string) bool { return bound.predeclared.Has(name) || src.undefined.Has(name) })
	if err != nil { // what has been written here resolves, or the plain tree would not have
		src.reading.Report(syntax.MakePosition(&s.path, 1, 1), "this is a mistake in infra", "the file cannot be compiled for this: %s", err)
		return plain
	}
	return prog
}

func undefinedName(e resolve.Error) (string, bool) {
	name, ok := strings.CutPrefix(e.Msg, "undefined: ")
	name, _, _ = strings.Cut(name, " ")
	return name, ok
}

// explainResolve adds a hint to a name that is not defined.
func (in *Interp) explainResolve(e resolve.Error, f *syntax.File) (msg, hint string) {
	name, undefined := undefinedName(e)
	if !undefined {
		if strings.HasPrefix(e.Msg, "cannot reassign") {
			return e.Msg, "a name of a file is bound once: use another one"
		}
		return e.Msg, resolveHints[e.Msg]
	}
	msg = name + " is not defined"
	if h, ok := foreign[name]; ok {
		return msg, h
	}
	known := slices.Concat(in.predeclared.Keys(), starlark.Universe.Keys())
	for _, g := range f.Module.(*resolve.Module).Globals {
		known = append(known, g.First.Name)
	}
	if n := builtins.Nearest(name, known); n != "" {
		return msg, "did you mean " + n + "?"
	}
	return msg, `define it, or load it: load("//plans/lib/x.star", "` + name + `")`
}

// resolveHints explains what the dialect leaves out.
var resolveHints = map[string]string{
	"if statement not within a function":                 "put it into a function, or write x = a if condition else b",
	"for loop not within a function":                     "put it into a function, or write [f(x) for x in xs]",
	"this Starlark dialect does not support while loops": "for i in range(n) is bounded; ssh.wait and retries wait for you",
}

// execute runs the files, each after what it loads, and returns the globals of
// the last one, or nil after an error.
func (in *Interp) execute(ctx context.Context, src *sources, bound starlark.StringDict, steps uint64) starlark.StringDict {
	predeclared := maps.Clone(bound)
	maps.Copy(predeclared, src.undefined)
	modules := map[string]starlark.StringDict{}
	for _, s := range src.order {
		targets := map[string]string{}
		for _, l := range s.loads {
			targets[l.stmt.ModuleName()] = l.path
		}
		thread, release := newThread(runtime.WithReading(ctx, src.reading), nil, s.path, steps)
		thread.Load = func(_ *starlark.Thread, module string) (starlark.StringDict, error) {
			return modules[targets[module]], nil
		}
		globals, err := s.program.Init(thread, predeclared)
		release()
		if err != nil && len(src.undefined) > 0 {
			return nil // most likely because of a name that is reported already
		}
		if err != nil {
			f := failure(err, src.byPath)
			src.reading.Add(runtime.Problem{Pos: f.Pos, Msg: f.Msg, Hint: f.Hint, Trace: f.Trace})
			return nil
		}
		nameThem(globals)
		globals.Freeze()
		modules[s.path] = globals
	}
	return modules[src.order[len(src.order)-1].path]
}

// thePlan returns the one plan that the file binds to a name.
func thePlan(src *source, globals starlark.StringDict, reading *runtime.Reading) *runtime.Plan {
	var names []string
	for _, name := range globals.Keys() {
		if _, ok := globals[name].(*runtime.Plan); ok {
			names = append(names, name)
		}
	}
	if len(names) != 1 {
		hint := "bind one: " + strings.TrimSuffix(filepath.Base(src.path), ".star") + " = plan(steps = [...])"
		pos := syntax.MakePosition(&src.path, 1, 1)
		if len(names) == 0 {
			reading.Report(pos, hint, "%s binds no plan to a name", src.path)
			return nil
		}
		for _, name := range names[1:] {
			reading.Report(globals[name].(*runtime.Plan).Pos, "give each plan a file of its own",
				"%s binds %d plans: %s", src.path, len(names), strings.Join(names, ", "))
		}
		return nil
	}
	plan := globals[names[0]].(*runtime.Plan)
	plan.Doc = docstring(src.file)
	return plan
}

// nameThem gives each plan the name of the global that it is bound to, so that a file
// which loads it can name it in a gate.
func nameThem(globals starlark.StringDict) {
	for _, name := range globals.Keys() {
		if p, ok := globals[name].(*runtime.Plan); ok && p.Name == "" {
			p.Name = name
		}
	}
}

func docstring(f *syntax.File) string {
	if len(f.Stmts) == 0 {
		return ""
	}
	if e, ok := f.Stmts[0].(*syntax.ExprStmt); ok {
		if lit, ok := e.X.(*syntax.Literal); ok && lit.Token == syntax.STRING {
			return strings.TrimSpace(lit.Value.(string))
		}
	}
	return ""
}

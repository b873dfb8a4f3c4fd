package interp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.starlark.net/lib/json"
	"go.starlark.net/lib/math"
	"go.starlark.net/lib/time"
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/starlarktest"
	"go.starlark.net/syntax"

	"infra/runtime"
)

// notComparable are the test files of go.starlark.net that are left out.
var notComparable = map[string]string{
	"proto.star": "its module needs protocol buffers, which infra does not link",
}

// TestInstrumentedIsPlain runs the test files of go.starlark.net as they are
// and instrumented, and compares all that can be seen of it.
func TestInstrumentedIsPlain(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "go.starlark.net").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "starlark/testdata/*.star"))
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	ours, err := filepath.Glob("testdata/plain/*.star")
	if err != nil || len(ours) == 0 {
		t.Fatalf("no files of our own: %v", err)
	}
	files = append(files, ours...)
	left := len(notComparable)
	for _, file := range files {
		if notComparable[filepath.Base(file)] != "" {
			left--
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) { compareFile(t, file) })
	}
	if left != 0 {
		t.Error("notComparable names files that are not there")
	}
}

func compareFile(t *testing.T, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line := 0
	for i, chunk := range strings.Split(string(data), "\n---\n") {
		text := strings.Repeat("\n", line) + chunk
		line += strings.Count(chunk, "\n") + 2
		plain := behave(file, text, nil)
		if !expected(t, chunk, plain.Error) || len(plain.Reported) > 0 {
			t.Errorf("chunk %d: this test runs the file otherwise than its own test: %s %s", i, plain.Error, plain.Reported)
		}
		for name, forms := range map[string]Forms{"a run": DryRunForms().inRun(), "a preview": DryRunForms()} {
			if d := cmp.Diff(plain, behave(file, text, forms)); d != "" {
				t.Errorf("chunk %d in %s (- plain, + instrumented):\n%s", i, name, d)
			}
		}
	}
}

// expected says whether a chunk's error is the one that a comment of it wants.
func expected(t *testing.T, chunk, err string) bool {
	_, want, fails := strings.Cut(chunk, "###")
	if !fails {
		return err == ""
	}
	want, _, _ = strings.Cut(want, "\n")
	pattern, bad := strconv.Unquote(strings.TrimSpace(want))
	if bad != nil {
		t.Fatalf("%s: %v", want, bad)
	}
	return err != "" && regexp.MustCompile(pattern).MatchString(err)
}

// A behaviour is all that can be seen of running a file.
type behaviour struct {
	Globals  map[string]string
	Printed  []string
	Reported []string // by assert
	Error    string
	Stack    []string
}

// reporter collects what assert reports.
type reporter struct{ to *behaviour }

func (r reporter) Error(args ...any) { r.to.Reported = append(r.to.Reported, fmt.Sprint(args...)) }

// behave runs a file; nil forms leave it plain. Functions named bench_ are
// called, as a benchmark with two rounds.
func behave(file, text string, forms Forms) *behaviour {
	b := &behaviour{Globals: map[string]string{}}
	bound := forms.bind(starlark.StringDict{
		"hasfields": starlark.NewBuiltin("hasfields", newHasFields),
		"fibonacci": fib{},
		"struct":    starlark.NewBuiltin("struct", starlarkstruct.Make),
		"json":      json.Module, "math": math.Module, "time": time.Module,
	})
	thread := &starlark.Thread{
		Print: func(t *starlark.Thread, msg string) {
			b.Printed = append(b.Printed, t.CallFrame(1).Pos.String()+": "+msg)
		},
		Load: func(_ *starlark.Thread, module string) (starlark.StringDict, error) {
			name := strings.TrimSuffix(module, ".star")
			if module == "assert.star" {
				return starlarktest.LoadAssertModule()
			}
			if m, ok := bound.predeclared[name].(*starlarkstruct.Module); ok {
				return starlark.StringDict{name: m}, nil
			}
			return nil, fmt.Errorf("no module %s", module)
		},
	}
	starlarktest.SetReporter(thread, reporter{b})
	runtime.SetContext(thread, runtime.WithReading(context.Background(), new(runtime.Reading))) // in a step, time.now is not known
	globals, err := run(thread, file, text, forms, bound)
	b.note(err, forms)
	for name, v := range globals {
		if !strings.HasPrefix(name, "=") {
			b.Globals[name] = v.String()
		}
	}
	rounds := starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{"n": starlark.MakeInt(2),
		"restart": nothing, "start": nothing, "stop": nothing})
	for _, name := range globals.Keys() {
		if strings.HasPrefix(name, "bench_") {
			_, err := starlark.Call(thread, globals[name], starlark.Tuple{rounds}, nil)
			b.note(err, forms)
		}
	}
	return b
}

var nothing = starlark.NewBuiltin("nothing", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
	return starlark.None, nil
})

func run(thread *starlark.Thread, file, text string, forms Forms, bound *bindings) (starlark.StringDict, error) {
	has := func(option string) bool { return strings.Contains(text, "option:"+option) }
	options := &syntax.FileOptions{Set: has("set"), While: has("while"), TopLevelControl: has("toplevelcontrol"),
		GlobalReassign: has("globalreassign"), LoadBindsGlobally: has("loadbindsglobally"), Recursion: has("recursion")}
	tree, err := options.Parse(file, text, 0)
	if err != nil {
		return nil, err
	}
	instrument(tree, forms)
	program, err := starlark.FileProgram(tree, bound.predeclared.Has)
	if err != nil {
		return nil, err
	}
	globals, err := program.Init(thread, bound.predeclared)
	globals.Freeze()
	return globals, err
}

// note keeps an error with its stack, but for the frames of hidden builtins.
func (b *behaviour) note(err error, forms Forms) {
	if err == nil {
		return
	}
	b.Error = err.Error()
	var eval *starlark.EvalError
	if !errors.As(err, &eval) {
		return
	}
	for _, frame := range eval.CallStack {
		_, hidden := forms[frame.Name]
		if !hidden && !strings.HasPrefix(frame.Name, keyOf) {
			b.Stack = append(b.Stack, fmt.Sprintf("%s in %s", frame.Pos, frame.Name))
		}
	}
	if n := len(b.Stack); n > 50 {
		b.Stack = append(b.Stack[:50], fmt.Sprint(n))
	}
}

// TestPlansReadTheSame reads every plan file of this repository both ways.
func TestPlansReadTheSame(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, dir := range []string{"plans", "examples"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ os.DirEntry, err error) error {
			if filepath.Ext(path) == ".star" {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(files) < 3 {
		t.Fatalf("found only %q", files)
	}
	in := newInterp(t, nil)
	in.root = root
	for _, file := range files {
		run, runErr := in.Read(t.Context(), file)
		preview, previewErr := in.Preview(t.Context(), file)
		if d := cmp.Diff(fmt.Sprint(runErr), fmt.Sprint(previewErr)); d != "" {
			t.Errorf("%s: %s", file, d)
		}
		if runErr == nil && fmt.Sprint(stepsOf(run)) != fmt.Sprint(stepsOf(preview)) {
			t.Errorf("%s: %s and %s", file, stepsOf(run), stepsOf(preview))
		}
	}
}

func stepsOf(f *File) []string {
	steps := []string{f.Plan.Name, f.Plan.Title, f.Plan.Doc}
	for _, s := range f.Plan.Steps {
		steps = append(steps, fmt.Sprintf("%s %q %v %d", s.Name, s.Doc, s.Pos, len(s.Needs)))
	}
	return steps
}

// arguments is a mistake in the arguments of a function. The interpreter finds
// it at the function's first instruction, which for a literal, a universal
// builtin or a comprehension stands at the def, and instrumented in the body.
var arguments = regexp.MustCompile(`[^ ]+: (function .* (missing|accepts|got) )`)

func unplaced(err error) string { return arguments.ReplaceAllString(fmt.Sprint(err), "$1") }

// FuzzPreview: what reads well reads as well instrumented, and what does not
// has the same problems.
func FuzzPreview(f *testing.F) {
	for _, cases := range formCases {
		for _, tt := range cases {
			f.Add("us = 1\n" + statement(tt[0]) + "\np = plan(steps = [])")
			f.Add("def f(u, us, ul):\n  " + strings.ReplaceAll(statement(tt[0]), "\n", "\n  ") + "\np = plan(steps = [step(lambda: f(1, 2, 3), name = 'x')])\ny = f(1, 'a', [2])")
		}
	}
	in := newInterp(f, nil)
	plain := *in
	plain.Forms = Forms{}
	path := filepath.Join(in.root, "a.star")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, want := plain.Read(t.Context(), path)
		for name, read := range map[string]func() (*File, error){
			"run":     func() (*File, error) { return in.Read(t.Context(), path) },
			"preview": func() (*File, error) { return in.Preview(t.Context(), path) },
		} {
			if _, err := read(); unplaced(err) != unplaced(want) && !strings.Contains(fmt.Sprint(want), "steps of computation") {
				t.Errorf("%s: %v, plain %v", name, err, want)
			}
		}
	})
}

// BenchmarkInterp runs a million comparisons and formats.
func BenchmarkInterp(b *testing.B) {
	for _, body := range []string{"i == 3", "'%d' % i", "'a'.join([])", "i + 1"} {
		text := "def f():\n  for i in range(1000000):\n    " + body + "\n"
		for name, forms := range map[string]Forms{"plain": nil, "run": DryRunForms().inRun(), "preview": DryRunForms()} {
			b.Run(strings.ReplaceAll(body, " ", "")+"/"+name, func(b *testing.B) {
				thread, bound := new(starlark.Thread), forms.bind(starlark.StringDict{})
				globals, err := run(thread, "a.star", text, forms, bound)
				if err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					if _, err := starlark.Call(thread, globals["f"], nil, nil); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// What follows are the values that go.starlark.net's own test gives its files.

// A fib is the infinite sequence of Fibonacci's numbers.
type fib struct{}

func (fib) Freeze()                    {}
func (fib) String() string             { return "fib" }
func (fib) Type() string               { return "fib" }
func (fib) Truth() starlark.Bool       { return true }
func (fib) Hash() (uint32, error)      { return 0, fmt.Errorf("fib is unhashable") }
func (fib) Iterate() starlark.Iterator { return &fibIterator{0, 1} }

type fibIterator struct{ x, y int }

func (it *fibIterator) Next(p *starlark.Value) bool {
	*p = starlark.MakeInt(it.x)
	it.x, it.y = it.y, it.x+it.y
	return true
}
func (it *fibIterator) Done() {}

func newHasFields(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if len(args)+len(kwargs) > 0 {
		return nil, fmt.Errorf("%s: unexpected arguments", b.Name())
	}
	return &hasfields{attrs: starlark.StringDict{}}, nil
}

// hasfields lets any field be set.
type hasfields struct {
	attrs  starlark.StringDict
	frozen bool
}

var _ starlark.HasSetField = (*hasfields)(nil)

func (hf *hasfields) String() string        { return "hasfields" }
func (hf *hasfields) Type() string          { return "hasfields" }
func (hf *hasfields) Truth() starlark.Bool  { return true }
func (hf *hasfields) Hash() (uint32, error) { return 42, nil }

func (hf *hasfields) Freeze() {
	if !hf.frozen {
		hf.frozen = true
		for _, v := range hf.attrs {
			v.Freeze()
		}
	}
}

func (hf *hasfields) Attr(name string) (starlark.Value, error) { return hf.attrs[name], nil }

func (hf *hasfields) SetField(name string, val starlark.Value) error {
	if hf.frozen {
		return fmt.Errorf("cannot set field on a frozen hasfields")
	}
	if strings.HasPrefix(name, "no") {
		return starlark.NoSuchAttrError(fmt.Sprintf("no .%s field", name))
	}
	hf.attrs[name] = val
	return nil
}

func (hf *hasfields) AttrNames() []string {
	names := slices.Collect(func(yield func(string) bool) {
		for name := range hf.attrs {
			if !yield(name) {
				return
			}
		}
	})
	sort.Strings(names)
	return names
}

func (hf *hasfields) Binary(op syntax.Token, y starlark.Value, _ starlark.Side) (starlark.Value, error) {
	if _, ok := y.(*starlark.List); ok && op == syntax.PLUS {
		return starlark.MakeInt(42), nil
	}
	return nil, nil
}

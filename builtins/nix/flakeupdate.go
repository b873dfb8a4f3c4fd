package nix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/command"
	"infra/builtins/internal/file"
	"infra/runtime"
	"infra/runtime/remote"
)

var flakeUpdateSpec = call.Spec{
	Name:   "nix.flake.update",
	Effect: runtime.Change,
	Doc: "Pins the inputs of a flake of the project to what they are now, in its flake.lock, which is replaced whole or not at all. It is not committed. " +
		"A dry run asks where the inputs come from, and shows what would be pinned now.",
	Returns: "lock_updated",
	Fields: []call.Field{
		{Name: "changed", Type: "bool", Doc: "False where all was pinned to that already"},
		{Name: "file", Type: "string", Doc: "the lock file, from the project's root"},
		{Name: "updated", Type: "list of structs", Doc: "what is pinned to something else, each with input, old and new; \"\" is nothing"},
	},
	Example: `for pin in nix.flake.update().updated:
    log("%s is %s now" % (pin.input, pin.new))
`,
}

type flakeUpdateArgs struct {
	Flake  string   `arg:"flake" default:"." doc:"the flake, in a folder here; the project's by default"`
	Inputs []string `arg:"inputs,keyword" default:"" doc:"only these, such as \"nixpkgs\" or \"clan-core/nixpkgs\"; all if not given"`
}

func (m module) flakeUpdate(c *call.Call, a flakeUpdateArgs) (starlark.Value, error) {
	u, err := m.updating(a)
	if err != nil {
		return nil, fmt.Errorf("nix.flake.update: %w", err)
	}
	op := runtime.Op{
		Show: strings.Join(append([]string{"nix flake update", a.Flake}, a.Inputs...), " "), Repeatable: true, Beyond: true,
		Predict: u.predict, Run: u.run,
	}
	op.Looks, _ = m.looks(u.flake)
	op.Flake = true
	op.Alters = append(file.Names(u.file), filepath.Join(u.repository, ".git", "index"))
	if u.repository == "" {
		op.Alters = file.Names(u.file)
	}
	return c.Value(op)
}

// updating is one update of a lock file.
type updating struct {
	module
	flake      string
	inputs     []string
	file       string
	repository string // the folder of git's that the file is in, or ""
}

var inputPath = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.+-]*(/[a-zA-Z0-9_][a-zA-Z0-9_.+-]*)*$`)

func (m module) updating(a flakeUpdateArgs) (updating, error) {
	ref, err := m.flakeRef(a.Flake)
	if err != nil {
		return updating{}, err
	}
	dir, err := m.folderOf(ref)
	if err != nil {
		return updating{}, err
	}
	for _, input := range a.Inputs {
		if !inputPath.MatchString(input) && !strings.HasPrefix(input, "(known after ") {
			return updating{}, fmt.Errorf("inputs: %q is no name of an input", input)
		}
	}
	u := updating{module: m, flake: ref, inputs: a.Inputs, file: filepath.Join(dir, "flake.lock")}
	if top := flakeFolder(dir); exists(filepath.Join(top, ".git")) {
		u.repository = top
	}
	return u, nil
}

// folderOf is where the flake.nix of a flake is, in whose folder its lock file is.
func (m module) folderOf(ref string) (string, error) {
	path, query, _ := strings.Cut(ref, "?")
	if s := scheme.FindStringSubmatch(path); s != nil {
		if !localSchemes[s[1]] {
			return "", runtime.WithHint(fmt.Errorf("flake: %s is not in a folder here, and only there is a lock file to update", ref), "update it where it is from")
		}
		path = urlPath(path[len(s[0]):])
	} else if !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, ".") {
		return "", runtime.WithHint(fmt.Errorf("flake: %s names no folder", ref), "write ./%s", ref)
	}
	dir := m.inRoot(path)
	if words, err := url.ParseQuery(query); err == nil && words.Get("dir") != "" {
		return filepath.Join(dir, words.Get("dir")), nil
	}
	for d := dir; ; d = filepath.Dir(d) {
		if exists(filepath.Join(d, "flake.nix")) {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return dir, nil // nix says what is wrong
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (u updating) predict(ctx context.Context) (runtime.Prediction, error) {
	old, next, err := u.locks(ctx, io.Discard)
	if err != nil {
		return runtime.Prediction{}, err
	}
	if next.same(old) {
		return runtime.Prediction{Verdict: runtime.NoChange, Value: u.result(false, nil)}, nil
	}
	pins := next.since(old)
	return runtime.Prediction{Verdict: runtime.WillChange, Value: u.result(true, pins), Detail: described(pins)}, nil
}

func (u updating) run(ctx context.Context, log io.Writer) (runtime.Result, error) {
	old, next, err := u.locks(ctx, log)
	if err != nil || next.same(old) {
		return runtime.Result{Value: u.result(false, nil)}, err
	}
	if err := u.replace(old.text, next.text); err != nil {
		return runtime.Result{}, fmt.Errorf("write %s: %w", u.file, err)
	}
	if len(old.text) == 0 && u.repository != "" {
		if err := u.tellGit(ctx, log); err != nil {
			return runtime.Result{}, err
		}
	}
	pins := next.since(old)
	fmt.Fprintln(log, described(pins))
	return runtime.Result{Value: u.result(true, pins), Changed: true}, nil
}

func described(pins []repinned) string {
	if len(pins) == 0 {
		return "no input is pinned to anything else; what they follow, or how the file is written, changes"
	}
	lines := make([]string, len(pins))
	for i, p := range pins {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// locks returns the lock file that is there and the one that is to be.
func (u updating) locks(ctx context.Context, log io.Writer) (old, next *lock, err error) {
	text, err := os.ReadFile(u.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	if old, err = parseLock(text); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", u.file, err)
	}
	made, err := u.make(ctx, log)
	if err != nil {
		return nil, nil, err
	}
	if len(made) == 0 {
		made = text
	}
	if next, err = parseLock(made); err != nil {
		return nil, nil, fmt.Errorf("what nix made of %s: %w", u.file, err)
	}
	for _, input := range u.inputs { // nix only warns of one that is not there
		if !next.has(strings.Split(input, "/")) {
			return nil, nil, runtime.WithHint(fmt.Errorf("the flake has no input %q", input), "it has %s", strings.Join(next.inputs(), ", "))
		}
	}
	return old, next, nil
}

// replace leaves the file alone where it is not what was looked at any more.
func (u updating) replace(was, text []byte) error {
	return file.Replace(u.file, text, 0o644, func() error {
		now, err := os.ReadFile(u.file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) || !bytes.Equal(now, was) {
			return runtime.WithHint(errors.New("it was changed by somebody else meanwhile, and is left as it is"), "run the plan again")
		}
		return nil
	})
}

// tellGit makes git know of a new file, as nix does: what git does not know
// nix does not see.
func (u updating) tellGit(ctx context.Context, log io.Writer) error {
	cmd := remote.Command{Argv: []string{"git", "add", "--intent-to-add", "--force", "--", u.file}, Dir: u.repository}
	out, err := command.Query(ctx, remote.Run, cmd, log)
	if err == nil {
		err = out.Err("git add")
	}
	if err != nil {
		return runtime.WithHint(fmt.Errorf("%s is written, but git does not know it: %w", u.file, err), "git add %s", u.file)
	}
	return nil
}

// name is the lock file's as a plan writes it.
func (u updating) name() string {
	if rel, err := filepath.Rel(u.root, u.file); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return u.file
}

func (u updating) result(changed bool, pins []repinned) *runtime.Record {
	list := make([]starlark.Value, len(pins))
	for i, p := range pins {
		list[i] = runtime.NewRecord("pin", runtime.Field{Name: "input", Value: starlark.String(p.input)},
			runtime.Field{Name: "old", Value: starlark.String(p.old)}, runtime.Field{Name: "new", Value: starlark.String(p.new)})
	}
	return runtime.NewRecord("lock_updated", runtime.Field{Name: "changed", Value: starlark.Bool(changed)},
		runtime.Field{Name: "file", Value: starlark.String(u.name())}, runtime.Field{Name: "updated", Value: starlark.NewList(list)})
}

package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/file"
	"infra/runtime"
)

var globSpec = call.Spec{
	Name:    "fs.glob",
	Effect:  runtime.Read,
	Doc:     "Lists the files and folders of the project that match a pattern, sorted. * and ? match within one folder.",
	Returns: "list of strings",
	Example: `for file in fs.glob("docs/*.md"):
    log(file)
`,
}

type globArgs struct {
	Pattern string `arg:"pattern" doc:"such as \"machines/*/*.nix\", from the project's root"`
}

func (m module) glob(c *call.Call, a globArgs) (starlark.Value, error) {
	if strings.Contains(a.Pattern, "**") {
		return nil, runtime.WithHint(errors.New("fs.glob: ** is not supported"), "write one * for each level of folders")
	}
	pattern := path.Clean(a.Pattern)
	if !fs.ValidPath(pattern) {
		return nil, fmt.Errorf("fs.glob: %q leaves the project's root", a.Pattern)
	}
	return c.Value(runtime.Op{Show: a.Pattern, Looks: m.listed(pattern), Alters: runtime.Nothing, Run: func(context.Context, io.Writer) (runtime.Result, error) {
		found, err := fs.Glob(os.DirFS(m.root), pattern)
		if err != nil {
			return runtime.Result{}, fmt.Errorf("%q: %w", a.Pattern, err)
		}
		slices.Sort(found)
		list := make([]starlark.Value, len(found))
		for i, f := range found {
			list[i] = starlark.String(f)
		}
		return runtime.Result{Value: starlark.NewList(list)}, nil
	}})
}

// listed are the folders that a pattern makes fs.Glob list: all below the one
// before the first wildcard, and where a wildcard finds a link to a folder that
// lies elsewhere, all below that.
func (m module) listed(pattern string) []string {
	elems := strings.Split(pattern, "/")
	wild := slices.IndexFunc(elems, func(e string) bool { return strings.ContainsAny(e, `*?[\`) })
	if wild < 0 {
		return file.Names(m.at(pattern))
	}
	names := file.Names(m.at(path.Join(elems[:wild]...)))
	for i := wild + 1; i < len(elems) && names != nil; i++ {
		folders, _ := fs.Glob(os.DirFS(m.root), path.Join(elems[:i]...)) // a bad pattern is Run's to report
		for _, folder := range folders {
			more := file.Names(m.at(folder))
			if more == nil {
				return nil
			}
			names = append(names, slices.DeleteFunc(more, func(p string) bool { return file.Below(p, names) })...)
		}
	}
	return names
}

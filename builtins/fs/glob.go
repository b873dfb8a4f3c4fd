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
	return c.Value(runtime.Op{Show: a.Pattern, Run: func(context.Context, io.Writer) (runtime.Result, error) {
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

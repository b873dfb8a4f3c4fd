package fs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/file"
	"infra/runtime"
)

var existsSpec = call.Spec{
	Name:    "fs.exists",
	Effect:  runtime.Read,
	Doc:     "Says whether a file or a folder is there. A link that leads nowhere is not.",
	Returns: "bool",
	Example: `if not fs.exists("docs/patterns.md"):
    log("the patterns are not documented yet")
`,
}

type existsArgs struct {
	Path string `arg:"path" doc:"the file or folder, from the project's root"`
}

func (m module) exists(c *call.Call, a existsArgs) (starlark.Value, error) {
	return c.Value(runtime.Op{Show: a.Path, Looks: file.Names(m.at(a.Path)), Alters: runtime.Nothing, Run: func(context.Context, io.Writer) (runtime.Result, error) {
		_, err := os.Stat(m.at(a.Path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return runtime.Result{}, err
		}
		return runtime.Result{Value: starlark.Bool(err == nil)}, nil
	}})
}

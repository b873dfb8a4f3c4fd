package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/file"
	"infra/runtime"
)

// readLimit is the largest file that a plan may hold in memory.
const readLimit = 8 << 20

var readSpec = call.Spec{
	Name:    "fs.read",
	Effect:  runtime.Read,
	Doc:     "Reads a file, up to 8 MiB.",
	Returns: "string",
	Example: `if fs.exists("motd.txt"):
    log(fs.read("motd.txt"))
`,
}

type readArgs struct {
	Path string `arg:"path" doc:"the file, from the project's root"`
}

func (m module) read(c *call.Call, a readArgs) (starlark.Value, error) {
	return c.Value(runtime.Op{Show: a.Path, Looks: file.Names(m.at(a.Path)), Alters: runtime.Nothing, Run: func(context.Context, io.Writer) (runtime.Result, error) {
		content, err := readFile(m.at(a.Path))
		if errors.Is(err, fs.ErrNotExist) {
			err = runtime.WithHint(err, "paths are from the project's root, %s; fs.exists tells whether a file is there", m.root)
		}
		return runtime.Result{Value: starlark.String(content)}, err
	}})
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, readLimit+1))
	if err != nil {
		return nil, err
	}
	if len(content) > readLimit {
		return nil, fmt.Errorf("%s has more than the %d MiB that a plan may hold", path, readLimit>>20)
	}
	return content, nil
}

package fs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/file"
	"infra/runtime"
)

var writeSpec = call.Spec{
	Name:    "fs.write",
	Effect:  runtime.Change,
	Doc:     "Writes a file, whole or not at all, and makes the folders it lies in. Nothing is written when content and mode are right already.",
	Returns: "write_result",
	Fields: []call.Field{
		{Name: "changed", Type: "bool", Doc: "whether the file was written"},
		{Name: "path", Type: "string", Doc: "the file, as it was named"},
	},
	Example: `done = fs.write("out/inventory.json", json.encode({"hosts": [mac.name, vps.name]}))
if done.changed:
    log(done.path + " is new")
`,
}

type writeArgs struct {
	Path    string       `arg:"path" doc:"the file, from the project's root"`
	Content runtime.Text `arg:"content" doc:"what it shall hold"`
	Mode    string       `arg:"mode,keyword" default:"0644" doc:"its permissions, octal"`
}

func (m module) write(c *call.Call, a writeArgs) (starlark.Value, error) {
	mode, err := file.ParseMode(a.Mode)
	if err != nil {
		return nil, fmt.Errorf("fs.write: %w", err)
	}
	w := writing{file.Wanted{Path: a.Path, Content: a.Content, Mode: mode}, m.at(a.Path)}
	r := file.Replacement{Kind: "write_result", Path: a.Path, Compare: w.compare, Foresee: w.foresee, Write: w.replace}
	names := file.Names(w.at)
	return c.Value(runtime.Op{Show: a.Path, Looks: names, Alters: names, Repeatable: true, Predict: r.Predict, Run: r.Run, Settle: r.Settle})
}

// writing is one file that is to be written.
type writing struct {
	file.Wanted
	at string
}

// digestLimit is the longest file that is read only to compare it; one of
// another length than the wanted differs in any case.
const digestLimit = 64 << 20

// compare has an entry for everything in which the file is different.
func (w writing) compare(context.Context) ([]string, error) {
	info, err := os.Stat(w.at)
	if errors.Is(err, fs.ErrNotExist) {
		return w.Creation(), nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is there and is no file", w.at)
	}
	have := file.Actual{Size: info.Size(), Mode: info.Mode(), Read: func() ([]byte, error) { return os.ReadFile(w.at) }}
	if info.Size() <= digestLimit || info.Size() == int64(len(w.Content.Reveal())) {
		content, err := os.ReadFile(w.at)
		if err != nil {
			return nil, err
		}
		have.Digest = file.Digest(content)
		have.Read = func() ([]byte, error) { return content, nil }
	}
	return w.Differences(have), nil
}

// replace writes the file, in a folder that it makes where there is none.
func (w writing) replace(context.Context) error {
	if err := os.MkdirAll(filepath.Dir(file.Target(w.at)), 0o755); err != nil {
		return err
	}
	return file.Replace(w.at, []byte(w.Content.Reveal()), w.Mode, nil)
}

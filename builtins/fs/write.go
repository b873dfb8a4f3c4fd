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

// replace writes a file beside the old one and renames it, so that a reader
// and a crash see either of the two. A link stays one: its target is replaced.
func (w writing) replace(context.Context) error {
	target := w.target()
	dir := filepath.Dir(target)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := beside(target)
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if err := fill(tmp, w.Content.Reveal(), w.Mode); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), target); err != nil {
		return err
	}
	return syncDir(dir)
}

// target is the file that is written: where a link leads, if it leads anywhere.
func (w writing) target() string {
	if resolved, err := filepath.EvalSymlinks(w.at); err == nil {
		return resolved
	}
	return w.at
}

// beside makes the file that will replace target. Its name is always the same,
// so that what a killed process left is not left for ever.
func beside(target string) (*os.File, error) {
	path := filepath.Join(filepath.Dir(target), ".infra-"+filepath.Base(target))
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func fill(f *os.File, content string, mode fs.FileMode) error {
	_, err := f.WriteString(content)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}

// syncDir makes a rename outlast a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

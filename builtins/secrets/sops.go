package secrets

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/getsops/sops/v3/cmd/sops/formats"
	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

// largestFile bounds what is read as a sops file.
const largestFile = 16 << 20

type sopsArgs struct {
	File string `arg:"file" doc:"the encrypted file, from the project's root; its name says the format, as for sops: yaml, yml, json, env, ini, else binary"`
}

func (r *reader) sops(c *call.Call, a sopsArgs) (starlark.Value, error) {
	return read(c, runtime.Op{Show: "decrypt " + a.File, Looks: r.looks(a.File)}, func(ctx context.Context, log io.Writer) (starlark.Value, error) {
		doc, err := r.open(ctx, a.File, log)
		if err != nil {
			return nil, err
		}
		return &sopsFile{a.File, doc}, nil
	})
}

// A reader decrypts files, each once per content. It decrypts one at a time: a
// person can touch one key at a time, and holding the turn is also what guards
// everything below.
type reader struct {
	root string
	turn chan struct{} // holds a token while someone has the turn
	docs map[[sha256.Size]byte]*document
	keys *keyring
}

func newReader(root string) *reader {
	return &reader{root: root, turn: make(chan struct{}, 1),
		docs: map[[sha256.Size]byte]*document{}, keys: newKeyring()}
}

// open returns the decrypted file. Messages of plugins and key commands go to log.
//
// The work has a goroutine of its own, since neither an age plugin nor a cloud's
// client can be told to stop: when ctx ends, open returns and the turn stays
// with the one that hangs.
func (r *reader) open(ctx context.Context, name string, log io.Writer) (*document, error) {
	data, err := r.read(name)
	if err != nil {
		return nil, err
	}
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("decrypt %s: %w", name, context.Cause(ctx))
	}
	type answer struct {
		doc *document
		err error
	}
	answered := make(chan answer, 1)
	heard := &opLog{w: log}
	go func() {
		defer func() { <-r.turn }()
		doc, err := guarded(func() (*document, error) { return r.document(ctx, name, data, heard) })
		if errors.Is(err, errPanicked) {
			err = fmt.Errorf("decrypt %s: %w", name, err)
		}
		answered <- answer{doc, err}
	}()
	defer heard.close()
	select {
	case a := <-answered:
		return a.doc, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("decrypt %s: %w", name, context.Cause(ctx))
	}
}

// document needs the turn.
func (r *reader) document(ctx context.Context, name string, data []byte, log *opLog) (*document, error) {
	format := formats.FormatForPath(name)
	sum := sha256.Sum256(append([]byte{byte(format)}, data...))
	if doc, ok := r.docs[sum]; ok {
		return doc, nil
	}
	doc, err := decrypt(ctx, name, format, data, r.keys, log)
	if err != nil {
		return nil, err
	}
	r.docs[sum] = doc
	return doc, nil
}

// at is the file that a plan names.
func (r *reader) at(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(r.root, name)
}

func (r *reader) read(name string) ([]byte, error) {
	path := r.at(name)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, r.noSuchFile(name, path)
	case err != nil:
		return nil, fmt.Errorf("read the sops file %s: %w", name, errors.Unwrap(err))
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read the sops file %s: it is not a file", name)
	case info.Size() > largestFile:
		return nil, fmt.Errorf("read the sops file %s: it has %d bytes, more than the %d that are read", name, info.Size(), largestFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the sops file %s: %w", name, errors.Unwrap(err))
	}
	return data, nil
}

func (r *reader) noSuchFile(name, path string) error {
	err := fmt.Errorf("there is no sops file %s", name)
	entries, _ := os.ReadDir(filepath.Dir(path))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if near := call.Nearest(filepath.Base(path), names); near != "" {
		return runtime.WithHint(err, "did you mean %s?", filepath.Join(filepath.Dir(name), near))
	}
	return runtime.WithHint(err, "plain names are relative to the project's root, %s", r.root)
}

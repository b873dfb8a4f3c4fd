package sops

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/logging"
	"go.yaml.in/yaml/v3"

	"infra/runtime"
)

// A Document is a decrypted file. It does not change.
type Document struct {
	name string // as errors call the file
	*plain
}

// plain is what was decrypted. Files of the same content share it.
type plain struct {
	format  Format
	root    sops.TreeBranch // the items of all of a file's YAML documents; nil for a binary file
	content func() (string, error)
}

// Content is the whole plain file.
func (d *Document) Content() (string, error) {
	text, err := d.content()
	if err != nil {
		return "", fmt.Errorf("%s: %w", d.name, err)
	}
	return text, nil
}

// decrypt makes a document of an encrypted file.
//
// No text of the library's errors gets out of this file: some hold the values
// of the file, the one about the MAC hashes of them.
func decrypt(ctx context.Context, f File, data []byte, keys *keyring, log *opLog) (*plain, error) {
	store := common.StoreForFormat(f.Format, config.NewStoresConfig())
	tree, err := f.load(store, data)
	if err != nil {
		return nil, err
	}
	key, err := keys.dataKey(ctx, f.Name, &tree.Metadata, log)
	if err != nil {
		return nil, err
	}
	if err := openTree(&tree, key, aes.NewCipher()); err != nil {
		return nil, changed(f.Name, err)
	}
	return newPlain(store, f.Format, tree.Branches), nil
}

// silence keeps the library's log off stderr: one of its warnings prints what
// a comment says.
func silence() {
	for _, l := range logging.Loggers {
		l.SetOutput(io.Discard)
	}
}

// errPanicked stands for a panic in the library. What it said may hold values.
var errPanicked = errors.New("the sops library failed")

// guarded calls the library, which panics on some damaged files.
func guarded[T any](f func() (T, error)) (v T, err error) {
	defer func() {
		if recover() != nil {
			err = errPanicked
		}
	}()
	return f()
}

var errMalformed = errors.New("malformed")

func (f File) load(store common.Store, data []byte) (sops.Tree, error) {
	silence()
	tree, err := guarded(func() (sops.Tree, error) {
		if !wellFormed(f.Format, data) {
			return sops.Tree{}, errMalformed
		}
		return store.LoadEncryptedFile(data)
	})
	if err != nil {
		return sops.Tree{}, notLoaded(f.Name, f.Format, data, err)
	}
	return tree, nil
}

// deepest bounds the nesting of flattened metadata, as the parsers of YAML and
// JSON bound theirs.
const deepest = 10_000

// wellFormed keeps from the library what would overflow its stack, which ends
// the process: endless YAML aliases and nesting without a bound.
func wellFormed(format Format, data []byte) bool {
	switch format {
	case YAML:
		d := yaml.NewDecoder(bytes.NewReader(data))
		for {
			var doc any
			if err := d.Decode(&doc); err != nil {
				return errors.Is(err, io.EOF)
			}
		}
	case JSON, Binary:
		return json.Valid(data)
	}
	return bytes.Count(data, []byte("__map_"))+bytes.Count(data, []byte("__list_")) <= deepest
}

func formatName(f Format) string {
	switch f {
	case YAML:
		return "YAML"
	case JSON:
		return "JSON"
	case Dotenv:
		return "dotenv"
	case INI:
		return "INI"
	}
	return "binary"
}

func notLoaded(name string, format Format, data []byte, err error) error {
	plain := errors.Is(err, sops.MetadataNotFound) ||
		format == Binary && errors.Is(err, errMalformed)
	switch {
	case bytes.Contains(data, []byte("\n<<<<<<< ")):
		return runtime.WithHint(fmt.Errorf("%s cannot be read: it has the marks of a merge conflict", name),
			"take one side of it whole: git checkout --ours %s, or --theirs", name)
	case plain:
		return runtime.WithHint(fmt.Errorf("%s is not encrypted by sops", name),
			"encrypt it: sops encrypt --in-place %s", name)
	}
	return runtime.WithHint(fmt.Errorf("%s is damaged: it is no whole %s file as sops writes it", name, formatName(format)),
		"see what happened to it: git log -p -- %[1]s; take back an earlier one: git checkout COMMIT -- %[1]s", name)
}

// What openTree finds.
var (
	errMAC   = errors.New("its MAC does not match")
	errValue = errors.New("a value in it does not decrypt")
	errPlain = errors.New("a value in it that should be encrypted is not")
)

// openTree decrypts the tree in place, and checks that it is what was encrypted.
func openTree(tree *sops.Tree, key []byte, cipher sops.Cipher) error {
	sum, err := guarded(func() (string, error) { return tree.Decrypt(key, cipher) })
	switch {
	case err == nil:
	case strings.Contains(err.Error(), "does not match sops' data format"),
		strings.Contains(err.Error(), "Expected encrypted value"):
		return errPlain
	default:
		return errValue
	}
	mac, err := guarded(func() (any, error) {
		return cipher.Decrypt(tree.Metadata.MessageAuthenticationCode, key, tree.Metadata.LastModified.Format(time.RFC3339))
	})
	if err != nil || mac != any(sum) {
		return errMAC
	}
	return nil
}

// Tampered says whether a file was refused because it was changed after it was
// encrypted.
func Tampered(err error) bool {
	return errors.Is(err, errMAC) || errors.Is(err, errValue) || errors.Is(err, errPlain)
}

func changed(name string, why error) error {
	return runtime.WithHint(fmt.Errorf("%s was changed after it was encrypted: %w", name, why),
		"see by whom: git log -p -- %[1]s; take back the good one: git checkout COMMIT -- %[1]s; or make the change again with sops edit", name)
}

func newPlain(store common.Store, format Format, branches sops.TreeBranches) *plain {
	doc := &plain{format: format}
	if format != Binary {
		for _, b := range branches {
			doc.root = append(doc.root, b...)
		}
	}
	doc.content = sync.OnceValues(func() (string, error) {
		plain, err := guarded(func() ([]byte, error) { return store.EmitPlainFile(branches) })
		if err != nil {
			return "", fmt.Errorf("the sops library cannot write it as a %s file", formatName(format))
		}
		return string(plain), nil
	})
	return doc
}

package secrets

import (
	"fmt"

	"go.starlark.net/starlark"

	"infra/builtins/internal/sops"
	"infra/runtime"
)

// A sopsFile is what secrets.sops returns. It hands out secrets and names,
// never a plain value, and cannot be journaled: [runtime.Encode] refuses it.
type sopsFile struct {
	name string
	doc  *sops.Document
}

var (
	_ starlark.Mapping  = (*sopsFile)(nil)
	_ starlark.HasAttrs = (*sopsFile)(nil)
)

// Get returns the secret at a dotted path.
func (f *sopsFile) Get(k starlark.Value) (starlark.Value, bool, error) {
	path, ok := starlark.AsString(k)
	if !ok {
		return nil, false, fmt.Errorf("a sops file is indexed by a path such as %q, not by a value of type %s", "db.password", k.Type())
	}
	text, err := f.doc.Value(path)
	if err != nil {
		return nil, false, err
	}
	return runtime.NewSecret(f.name+"["+path+"]", text), true, nil
}

// Attr returns content and keys.
func (f *sopsFile) Attr(name string) (starlark.Value, error) {
	switch name {
	case "content":
		text, err := f.doc.Content()
		if err != nil {
			return nil, err
		}
		return runtime.NewSecret(f.name, text), nil
	case "keys":
		return starlark.NewBuiltin("keys", f.keys), nil
	}
	return nil, nil
}

// AttrNames lists the attributes, for spelling hints.
func (f *sopsFile) AttrNames() []string { return []string{"content", "keys"} }

func (f *sopsFile) keys(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if err := starlark.UnpackArgs(b.Name(), args, kwargs); err != nil {
		return nil, err
	}
	var keys []starlark.Value
	for _, name := range f.doc.Keys() {
		keys = append(keys, starlark.String(name))
	}
	return starlark.NewList(keys), nil
}

// String shows the file's name.
func (f *sopsFile) String() string { return "sops_file(" + f.name + ")" }

// Format shows the file's name for every verb: %#v would print what is in it.
func (f *sopsFile) Format(s fmt.State, _ rune) { fmt.Fprint(s, f.String()) }

// Type is "sops_file".
func (f *sopsFile) Type() string { return "sops_file" }

// Freeze does nothing: a sopsFile is immutable.
func (f *sopsFile) Freeze() {}

// Truth is always true.
func (f *sopsFile) Truth() starlark.Bool { return true }

// Hash refuses: a file of secrets is no key.
func (f *sopsFile) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: sops_file") }

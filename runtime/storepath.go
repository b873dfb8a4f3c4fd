package runtime

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// A StorePath is something nix built, or will build: a path whose name is
// known from evaluation alone.
type StorePath struct {
	Path string // "/nix/store/<hash>-<name>"
	Drv  string // the derivation it comes from; "" where that is not known
}

var _ starlark.HasAttrs = (*StorePath)(nil)

// Name is the path without the store and the hash: "nixos-system-cinnabar-25.11".
func (p *StorePath) Name() string {
	base := p.Path[strings.LastIndexByte(p.Path, '/')+1:]
	if _, name, ok := strings.Cut(base, "-"); ok {
		return name
	}
	return base
}

// String is the path itself, so that "%s" and str() give what a command wants.
func (p *StorePath) String() string { return p.Path }

// Type is "store_path".
func (p *StorePath) Type() string { return "store_path" }

// Freeze does nothing: a store path is immutable.
func (p *StorePath) Freeze() {}

// Truth is true.
func (p *StorePath) Truth() starlark.Bool { return true }

// Hash is the path's.
func (p *StorePath) Hash() (uint32, error) { return starlark.String(p.Path).Hash() }

// AttrNames lists what a plan may ask of a store path.
func (p *StorePath) AttrNames() []string { return []string{"drv", "name", "path"} }

// Attr returns one of AttrNames.
func (p *StorePath) Attr(name string) (starlark.Value, error) {
	switch name {
	case "path":
		return starlark.String(p.Path), nil
	case "name":
		return starlark.String(p.Name()), nil
	case "drv":
		return starlark.String(p.Drv), nil
	}
	return nil, nil
}

// CompareSameType compares paths; the derivation does not matter.
func (p *StorePath) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	same := p.Path == y.(*StorePath).Path
	switch op {
	case syntax.EQL:
		return same, nil
	case syntax.NEQ:
		return !same, nil
	}
	return false, fmt.Errorf("store paths have no order")
}

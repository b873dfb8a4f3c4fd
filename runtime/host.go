package runtime

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// A Host is one machine of the fleet. Two hosts are the same host when their
// names are equal.
type Host struct {
	Name   string
	System string   // "aarch64-darwin", "x86_64-linux"
	SSH    string   // what ssh is asked to reach: "user@name", an alias, "ssh://user@name:port"
	Tags   []string //

	// Place is where it is reached where ssh's configuration does not say;
	// nil where it does.
	Place *Place `json:",omitempty"`
}

var (
	_ starlark.HasAttrs   = (*Host)(nil)
	_ starlark.Comparable = (*Host)(nil)
)

// The kinds of host, which decide how a system is switched to.
const (
	NixOS  = "nixos"
	Darwin = "darwin"
)

// Kind is [Darwin] for a Mac and [NixOS] otherwise.
func (h *Host) Kind() string {
	if strings.HasSuffix(h.System, "-darwin") {
		return Darwin
	}
	return NixOS
}

// String prints the host as host("name").
func (h *Host) String() string { return fmt.Sprintf("host(%q)", h.Name) }

// Type is "host".
func (h *Host) Type() string { return "host" }

// Freeze does nothing: a host is immutable.
func (h *Host) Freeze() {}

// Truth is true.
func (h *Host) Truth() starlark.Bool { return true }

// Hash is the name's, so that hosts may be keys.
func (h *Host) Hash() (uint32, error) { return starlark.String(h.Name).Hash() }

// AttrNames lists what a plan may ask of a host.
func (h *Host) AttrNames() []string {
	return []string{"address", "kind", "name", "ssh", "system", "tags"}
}

// Attr returns one of AttrNames.
func (h *Host) Attr(name string) (starlark.Value, error) {
	switch name {
	case "name":
		return starlark.String(h.Name), nil
	case "system":
		return starlark.String(h.System), nil
	case "kind":
		return starlark.String(h.Kind()), nil
	case "ssh":
		return starlark.String(h.SSH), nil
	case "address":
		return h.address(), nil
	case "tags":
		tags := make(starlark.Tuple, len(h.Tags))
		for i, t := range h.Tags {
			tags[i] = starlark.String(t)
		}
		return tags, nil
	}
	return nil, nil
}

// address is where it is reached; None where ssh's configuration says it.
func (h *Host) address() starlark.Value {
	switch {
	case h.Place == nil:
		return starlark.None
	case h.Place.unknownAddress():
		return h.Place.Pending.As(StringShape)
	}
	return starlark.String(h.Place.Address)
}

// CompareSameType compares by name; hosts have no order.
func (h *Host) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	same := h.Name == y.(*Host).Name
	switch op {
	case syntax.EQL:
		return same, nil
	case syntax.NEQ:
		return !same, nil
	}
	return false, fmt.Errorf("hosts have no order; sort their names")
}

package call

import (
	"reflect"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// Late is a parameter that takes a string which may not be known yet: the
// builtin itself says what follows from that.
type Late struct {
	Text    string           // its name where it is not known
	Unknown *runtime.Unknown // nil where it is
	Given   bool             // the plan gave one
}

func toLate(v starlark.Value) (any, error) {
	if u, ok := v.(runtime.Unknown); ok && representations[reflect.TypeFor[string]()].fits(u) {
		return Late{u.String(), &u, true}, nil
	}
	s, err := toString(v)
	if err != nil {
		return nil, err
	}
	return Late{Text: s.(string), Given: true}, nil
}

// placedIn are the hosts of an argument that are reached at an address of
// their own.
func placedIn(arg any) []*runtime.Host {
	var all, placed []*runtime.Host
	switch arg := arg.(type) {
	case *runtime.Host:
		all = []*runtime.Host{arg}
	case []*runtime.Host:
		all = arg
	case Hosts:
		all = arg
	case Target:
		if arg.Host != nil {
			all = []*runtime.Host{arg.Host}
		}
	}
	for _, h := range all {
		if h.Place != nil {
			placed = append(placed, h)
		}
	}
	return placed
}

// place tells an operation how its host is reached, where that is among the
// call's arguments and the builtin does not say.
func (c *Call) place(op *runtime.Op) {
	for _, h := range c.placed {
		if h.Name != op.Host {
			continue
		}
		if op.At == nil {
			op.At = h
		}
		if op.Needs == nil {
			op.Needs = h.Pending()
		}
	}
}

// Target is a parameter that takes another way to reach a host: the host at an
// address, or the text of a destination.
type Target struct {
	Host *runtime.Host // nil where it is a text
	Text string
}

func toTarget(v starlark.Value) (any, error) {
	if h, ok := v.(*runtime.Host); ok {
		return Target{Host: h}, nil
	}
	s, err := toString(v)
	if err != nil {
		return nil, err
	}
	return Target{Text: s.(string)}, nil
}

// keepHost is a host as an operation's Args hold it.
func keepHost(h *runtime.Host) any {
	if h.Place == nil {
		return h.Name
	}
	kept := h.Place.Args()
	kept["name"] = h.Name
	return map[string]any(kept)
}

// keepHosts are names, but for those that are reached at an address.
func keepHosts(hosts []*runtime.Host) any {
	names, kept, placed := make([]string, len(hosts)), make([]any, len(hosts)), false
	for i, h := range hosts {
		names[i], kept[i] = h.Name, keepHost(h)
		placed = placed || h.Place != nil
	}
	if placed {
		return kept
	}
	return names
}

package call

import (
	"go.starlark.net/starlark"

	"infra/runtime"
)

// Hosts is a parameter that takes one host or a list of them.
type Hosts []*runtime.Host

// StorePaths is a parameter that takes one store path or a list of them.
type StorePaths []*runtime.StorePath

func toHosts(v starlark.Value) (any, error) {
	if h, ok := v.(*runtime.Host); ok {
		return Hosts{h}, nil
	}
	hosts, err := toList[*runtime.Host]("host")(v)
	if err != nil {
		return nil, err
	}
	return Hosts(hosts.([]*runtime.Host)), nil
}

func toStorePaths(v starlark.Value) (any, error) {
	if _, several := v.(starlark.Iterable); !several {
		p, err := toStorePath(v)
		if err != nil {
			return nil, err
		}
		return StorePaths{p.(*runtime.StorePath)}, nil
	}
	paths, err := collect(v, "store paths", func(e starlark.Value) (*runtime.StorePath, error) {
		p, err := toStorePath(e)
		if err != nil {
			return nil, err
		}
		return p.(*runtime.StorePath), nil
	})
	return StorePaths(paths), err
}

// toOptionalText tells an empty text from none.
func toOptionalText(v starlark.Value) (any, error) {
	t, err := runtime.TextOf(v)
	return &t, err
}

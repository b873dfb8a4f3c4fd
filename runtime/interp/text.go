package interp

import (
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/runtime"
)

// percent is x % y: text, or a number.
func percent(x, y starlark.Value) (starlark.Value, error) {
	if isUnknown(x) || isUnknown(y) {
		return runtime.Operate(syntax.PERCENT, x, y)
	}
	if _, ok := x.(starlark.String); !ok || !runtime.AnyWithin(y, hidden) {
		return starlark.Binary(syntax.PERCENT, x, y)
	}
	return made([]starlark.Value{y}, func(v []starlark.Value) (starlark.Value, error) {
		return starlark.Binary(syntax.PERCENT, x, v[0])
	})
}

// text is a builtin that makes text of its arguments.
func text(c *calling) (starlark.Value, error) {
	if !c.holdsHidden() {
		return c.plainly()
	}
	return made(c.values(), func(v []starlark.Value) (starlark.Value, error) {
		call := *c
		call.args = v[:len(c.args):len(c.args)]
		call.kwargs = make([]starlark.Tuple, len(c.kwargs))
		for i, kv := range c.kwargs {
			call.kwargs[i] = starlark.Tuple{kv[0], v[len(c.args)+i]}
		}
		return call.plainly()
	})
}

// holdsHidden says whether an argument holds what must not become text.
func (c *calling) holdsHidden() bool {
	for _, v := range c.args {
		if runtime.AnyWithin(v, hidden) {
			return true
		}
	}
	for _, kv := range c.kwargs {
		if runtime.AnyWithin(kv[1], hidden) {
			return true
		}
	}
	return false
}

// hidden is what prints as something else than its text.
func hidden(v starlark.Value) bool {
	switch v.(type) {
	case runtime.Unknown, *runtime.Secret:
		return true
	}
	return false
}

// made is text that is made of values. Where one of them holds what is not
// known, the text is not known; where one holds a secret, the text is a secret:
// it is made with the secret's real text, where the interpreter would have
// written its name.
func made(values []starlark.Value, write func([]starlark.Value) (starlark.Value, error)) (starlark.Value, error) {
	var names []string
	var unknown *runtime.Unknown
	for _, v := range values {
		runtime.AnyWithin(v, func(v starlark.Value) bool {
			switch v := v.(type) {
			case runtime.Unknown:
				unknown = &v
			case *runtime.Secret:
				if !slices.Contains(names, v.Name()) {
					names = append(names, v.Name())
				}
			}
			return unknown != nil
		})
	}
	if unknown != nil {
		return unknown.As(runtime.TextShape(values...)), nil
	}
	v, err := write(runtime.Revealed(values))
	if s, ok := v.(starlark.String); ok && err == nil {
		return runtime.DerivedSecret(strings.Join(names, " + "), string(s)), nil
	}
	return v, err
}

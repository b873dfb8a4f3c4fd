package terraform

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// given collects what terraform is given: what of it is secret, and what of it
// is not known yet, which then stands as its name.
type given struct {
	needs   *runtime.Unknown
	secrets []string
}

// missing says that a parameter was not given.
func missing(v starlark.Value) bool { return v == nil || v == starlark.None }

// each goes through a dict whose keys are strings.
func (g *given) each(param string, v starlark.Value, take func(name string, v starlark.Value) error) error {
	if missing(v) {
		return nil
	}
	if u, unknown := v.(runtime.Unknown); unknown {
		g.need(u)
		return nil
	}
	d, ok := v.(starlark.IterableMapping)
	if !ok {
		return fmt.Errorf("%s: want a dict, got %s", param, v.Type())
	}
	for _, item := range d.Items() {
		name, ok := starlark.AsString(item[0])
		if !ok {
			return fmt.Errorf("%s: want strings as keys, got %s", param, item[0].Type())
		}
		if err := take(name, item[1]); err != nil {
			return fmt.Errorf("%s: %s: %w", param, name, err)
		}
	}
	return nil
}

func (g *given) need(u runtime.Unknown) {
	if g.needs == nil {
		g.needs = &u
	}
}

// vars are variables by name, their values as JSON.
func (g *given) vars(v starlark.Value) (map[string]runtime.Text, error) {
	out := map[string]runtime.Text{}
	return out, g.each("vars", v, func(name string, v starlark.Value) error {
		if s, ok := v.(*runtime.Secret); ok {
			g.secrets = append(g.secrets, s.Reveal())
			text, err := runtime.TextOf(runtime.DerivedSecret(s.Name(), quote(s.Reveal())))
			out[name] = text
			return err
		}
		data, err := g.json(v)
		out[name] = runtime.PlainText(string(data))
		return err
	})
}

// texts are strings and secrets by name.
func (g *given) texts(param string, v starlark.Value) (map[string]runtime.Text, error) {
	out := map[string]runtime.Text{}
	return out, g.each(param, v, func(name string, v starlark.Value) error {
		if u, unknown := v.(runtime.Unknown); unknown {
			g.need(u)
			v = starlark.String(u.String())
		}
		text, err := runtime.TextOf(v)
		if text.Secret() {
			g.secrets = append(g.secrets, text.Reveal())
		}
		out[name] = text
		return err
	})
}

// backend are strings by name. They stand in clear in the folder that
// terraform keeps.
func (g *given) backend(v starlark.Value) (map[string]string, error) {
	out := map[string]string{}
	texts, err := g.texts("backend", v)
	for name, t := range texts {
		if t.Secret() {
			return nil, runtime.WithHint(fmt.Errorf("backend: %s is a secret, and terraform writes the backend's settings into a file in clear", name),
				"every backend takes its credentials from the environment: env = {...}")
		}
		out[name] = t.Reveal()
	}
	return out, err
}

// A configuration is what is given in the place of the folder's own: content,
// or the path of a file in the store.
type configuration struct {
	content []byte
	path    string
}

func (g *given) config(v starlark.Value) (configuration, error) {
	switch v := v.(type) {
	case nil, starlark.NoneType:
		return configuration{}, nil
	case runtime.Unknown:
		g.need(v)
		return configuration{content: []byte(quote(v.String()))}, nil
	case *runtime.StorePath:
		return configuration{path: v.Path}, nil
	case starlark.String:
		if strings.HasPrefix(string(v), "/nix/store/") {
			return configuration{path: filepath.Clean(string(v))}, nil
		}
		return configuration{}, runtime.WithHint(fmt.Errorf("config: want a dict or a store path, got the string %q", string(v)),
			"a configuration that lies in the project is that of its folder: terraform.dir(%q)", filepath.Dir(string(v)))
	case starlark.IterableMapping:
		data, err := g.json(v)
		if err != nil {
			return configuration{}, fmt.Errorf("config: %w", err)
		}
		return configuration{content: data}, nil
	}
	return configuration{}, fmt.Errorf("config: want a dict or a store path, got %s", v.Type())
}

// shown is the configuration in an operation's arguments.
func (c configuration) shown() any {
	switch {
	case c.path != "":
		return c.path
	case c.content == nil:
		return nil
	case len(c.content) > 256:
		return fmt.Sprintf("sha256:%x (%d bytes)", sha256.Sum256(c.content), len(c.content))
	}
	return string(c.content)
}

// read returns the configuration, or nil where it is the folder's.
func (c configuration) read() ([]byte, error) {
	if c.path == "" {
		return c.content, nil
	}
	path := c.path
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "config.tf.json")
	}
	content, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && path == c.path:
		return nil, runtime.WithHint(fmt.Errorf("config: %s is not built", path), "nix.build builds it, in this step or one before")
	case err != nil:
		return nil, fmt.Errorf("config: %w", err)
	case !json.Valid(content):
		return nil, runtime.WithHint(fmt.Errorf("config: %s is no JSON", path), "terranix builds JSON; HCL belongs into the folder itself")
	}
	return content, nil
}

// deepest is how far plain data may go down: what holds itself has no end.
const deepest = 200

func (g *given) json(v starlark.Value) ([]byte, error) {
	plain, err := g.plain(v, 0)
	if err != nil {
		return nil, err
	}
	return []byte(quote(plain)), nil
}

// plain is plain data as Go has it. What is not known is its name.
func (g *given) plain(v starlark.Value, depth int) (any, error) {
	if depth > deepest {
		return nil, fmt.Errorf("it is nested more than %d deep, or holds itself", deepest)
	}
	switch v := v.(type) {
	case starlark.NoneType:
		return nil, nil
	case starlark.Bool:
		return bool(v), nil
	case starlark.Int:
		return json.Number(v.String()), nil
	case starlark.Float:
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("%s is no number that terraform knows", v)
		}
		return float64(v), nil
	case starlark.String:
		text, err := runtime.TextOf(v)
		return text.Reveal(), err
	case *runtime.StorePath:
		return v.Path, nil
	case runtime.Unknown:
		g.need(v)
		return v.String(), nil
	case *runtime.Secret:
		return nil, runtime.WithHint(fmt.Errorf("%s is within other data", v), "a secret is the value of a variable of its own: vars = {\"name\": secret}")
	}
	return g.plainContainer(v, depth)
}

func (g *given) plainContainer(v starlark.Value, depth int) (any, error) {
	switch v := v.(type) {
	case starlark.IterableMapping:
		out := map[string]any{}
		for _, item := range v.Items() {
			name, ok := starlark.AsString(item[0])
			if !ok {
				return nil, fmt.Errorf("want strings as keys, got %s", item[0].Type())
			}
			e, err := g.plain(item[1], depth+1)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			out[name] = e
		}
		return out, nil
	case starlark.Indexable:
		out := make([]any, v.Len())
		for i := range out {
			e, err := g.plain(v.Index(i), depth+1)
			if err != nil {
				return nil, fmt.Errorf("element %d: %w", i, err)
			}
			out[i] = e
		}
		return out, nil
	}
	return nil, fmt.Errorf("want plain data, got %s", v.Type())
}

// shownTexts are texts as an operation's arguments hold them: without secrets,
// and a digest in place of a long one.
func shownTexts(texts map[string]runtime.Text) map[string]any {
	out := map[string]any{}
	for name, t := range texts {
		s := t.String()
		if len(s) > 256 {
			s = fmt.Sprintf("sha256:%x (%d bytes)", sha256.Sum256([]byte(s)), len(s))
		}
		out[name] = s
	}
	return out
}

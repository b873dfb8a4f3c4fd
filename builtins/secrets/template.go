package secrets

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

type templateArgs struct {
	Text   string                  `arg:"text" doc:"the text, with a {name} for each value"`
	Values map[string]runtime.Text `arg:"values" default:"" doc:"what stands for each name: strings and secrets"`
}

func template(_ *call.Call, a templateArgs) (starlark.Value, error) {
	text, used, err := fill(a.Text, a.Values)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(a.Values)) {
		if !slices.Contains(used, name) {
			return nil, runtime.WithHint(fmt.Errorf("values has %q, which the text does not use", name),
				"the text uses %s", listed(used, "no name"))
		}
	}
	return runtime.DerivedSecret(templateName(used, a.Values), text), nil
}

// fill returns the text with its fields replaced, and the names it used in
// order of their first use.
func fill(text string, values map[string]runtime.Text) (string, []string, error) {
	var out strings.Builder
	var used []string
	for rest := text; ; {
		at := strings.IndexAny(rest, "{}")
		if at < 0 {
			out.WriteString(rest)
			return out.String(), used, nil
		}
		out.WriteString(rest[:at])
		rest = rest[at:]
		if strings.HasPrefix(rest, "{{") || strings.HasPrefix(rest, "}}") {
			out.WriteByte(rest[0])
			rest = rest[2:]
			continue
		}
		name, after, ok := field(rest)
		if !ok {
			return "", nil, runtime.WithHint(
				fmt.Errorf("line %d of the text has a %q that is no part of a field such as {name}",
					1+strings.Count(text[:len(text)-len(rest)], "\n"), rest[:1]),
				"write {{ and }} for the braces themselves")
		}
		v, ok := values[name]
		if !ok {
			return "", nil, unknownField(name, values)
		}
		if !slices.Contains(used, name) {
			used = append(used, name)
		}
		out.WriteString(v.Reveal())
		rest = after
	}
}

// field splits "{name}after". A name has nothing in it that JSON, nix or a
// shell would have between braces.
func field(s string) (name, after string, ok bool) {
	end := strings.IndexByte(s, '}')
	if s[0] != '{' || end < 2 {
		return "", "", false
	}
	name = s[1:end]
	if strings.ContainsAny(name, "{ \t\r\n\"':,;=$") {
		return "", "", false
	}
	return name, s[end+1:], true
}

func unknownField(name string, values map[string]runtime.Text) error {
	err := fmt.Errorf("the text uses {%s}, which values does not have", name)
	names := slices.Sorted(maps.Keys(values))
	if near := call.Nearest(name, names); near != "" {
		return runtime.WithHint(err, "did you mean {%s}?", near)
	}
	return runtime.WithHint(err, "values has %s", listed(names, "nothing"))
}

// templateName names the result after the secrets in it.
func templateName(used []string, values map[string]runtime.Text) string {
	var names []string
	for _, u := range used {
		s, ok := values[u].Value().(*runtime.Secret)
		if ok && !slices.Contains(names, s.Name()) {
			names = append(names, s.Name())
		}
	}
	return listedBy(names, " + ", "template")
}

// listed joins names for a sentence; none is what to say where there are none.
func listed(names []string, none string) string { return listedBy(names, ", ", none) }

func listedBy(names []string, sep, none string) string {
	if len(names) == 0 {
		return none
	}
	return strings.Join(names, sep)
}

package call

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// An Argv is a command: a list of words, or one string for a shell.
type Argv struct {
	words []string
	shell bool
}

// Words is the argument list; a string given to a shell is ["sh", "-c", it].
func (a Argv) Words() []string {
	if a.shell {
		return []string{"sh", "-c", a.words[0]}
	}
	return a.words
}

// String is how a preview shows the command: quoted where a shell would need
// it, and with the word shell where one is used.
func (a Argv) String() string {
	if a.shell {
		return "shell: " + a.words[0]
	}
	quoted := make([]string, len(a.words))
	for i, w := range a.words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

const plainRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-"

func quote(w string) string {
	if w != "" && strings.Trim(w, plainRunes) == "" {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}

// A converter makes one parameter type of a Starlark value.
type converter struct {
	name string // as a plan author knows the type
	from func(starlark.Value) (any, error)
}

// converters is the whole set of parameter types.
var converters = map[reflect.Type]converter{
	reflect.TypeFor[string]():                  {"string", toString},
	reflect.TypeFor[Late]():                    {"string", toLate},
	reflect.TypeFor[Target]():                  {"string or host", toTarget},
	reflect.TypeFor[bool]():                    {"bool", toBool},
	reflect.TypeFor[int]():                     {"int", toInt},
	reflect.TypeFor[[]string]():                {"list of strings", toStrings},
	reflect.TypeFor[time.Duration]():           {"duration", toDuration},
	reflect.TypeFor[*runtime.Host]():           {"host", to[*runtime.Host]("host")},
	reflect.TypeFor[[]*runtime.Host]():         {"list of hosts", toList[*runtime.Host]("host")},
	reflect.TypeFor[*runtime.StorePath]():      {"store_path", toStorePath},
	reflect.TypeFor[runtime.Text]():            {"string or secret", func(v starlark.Value) (any, error) { return runtime.TextOf(v) }},
	reflect.TypeFor[*runtime.Text]():           {"string or secret", toOptionalText},
	reflect.TypeFor[map[string]runtime.Text](): {"dict of strings or secrets", toTexts},
	reflect.TypeFor[Hosts]():                   {"host or list of hosts", toHosts},
	reflect.TypeFor[StorePaths]():              {"store_path or list of store_paths", toStorePaths},
	reflect.TypeFor[Argv]():                    {"list of strings, or a string for a shell", toArgv},
	reflect.TypeFor[starlark.Callable]():       {"function", toCallable},
	reflect.TypeFor[[]starlark.Value]():        {"list", toValues},
	reflect.TypeFor[[]*runtime.Step]():         {"list of steps", toList[*runtime.Step]("step")},
	reflect.TypeFor[[]*runtime.Check]():        {"list of checks", toList[*runtime.Check]("check")},
	reflect.TypeFor[[]*runtime.Gate]():         {"list of gates", toList[*runtime.Gate]("gate")},
	reflect.TypeFor[[]PlanName]():              {"list of plans, or of their names", toPlanNames},
	reflect.TypeFor[PlanName]():                {"plan, or the name of one", toPlanName},
	reflect.TypeFor[*runtime.Rate]():           {"rate", toRate},
	reflect.TypeFor[starlark.Value]():          {"value", func(v starlark.Value) (any, error) { return v, nil }},
}

func typeName(t reflect.Type) string { return converters[t].name }

// convert stores v in f, and returns what f has then; or it says what was wanted
// and what came.
func convert(v starlark.Value, f reflect.Value) (any, error) {
	x, err := converters[f.Type()].from(v)
	if err != nil {
		return nil, err
	}
	f.Set(reflect.ValueOf(x))
	return x, nil
}

func want(what string, v starlark.Value) error {
	if s, ok := v.(*runtime.Secret); ok {
		return runtime.WithHint(fmt.Errorf("want %s, got %s", what, s),
			"a secret may be a command's stdin or environment, a file's content or a header; an argument would show in ps")
	}
	return fmt.Errorf("want %s, got %s", what, v.Type())
}

func toString(v starlark.Value) (any, error) {
	switch v := v.(type) {
	case starlark.String:
		t, err := runtime.TextOf(v)
		return t.Reveal(), err
	case *runtime.StorePath:
		return v.Path, nil
	}
	return nil, want("a string", v)
}

func toBool(v starlark.Value) (any, error) {
	if b, ok := v.(starlark.Bool); ok {
		return bool(b), nil
	}
	return nil, want("True or False", v)
}

func toInt(v starlark.Value) (any, error) {
	i, err := starlark.AsInt32(v)
	if err != nil {
		return nil, want("an int", v)
	}
	return i, nil
}

func toStrings(v starlark.Value) (any, error) {
	return collect(v, "strings", func(e starlark.Value) (string, error) {
		s, err := toString(e)
		if err != nil {
			return "", err
		}
		return s.(string), nil
	})
}

func toDuration(v starlark.Value) (any, error) {
	s, ok := starlark.AsString(v)
	if !ok {
		return nil, want(`a duration such as "2m"`, v)
	}
	return runtime.ParseDuration(s)
}

// A PlanName is the name of a plan.
type PlanName string

func toPlanName(v starlark.Value) (any, error) {
	if p, ok := v.(*runtime.Plan); ok && p.Name != "" {
		return PlanName(p.Name), nil
	}
	s, ok := starlark.AsString(v)
	if !ok || s == "" || strings.ContainsAny(s, " \t\r\n/:") {
		return PlanName(""), want(`the name of a plan, such as "cinnabar"`, v)
	}
	return PlanName(s), nil
}

func toPlanNames(v starlark.Value) (any, error) {
	return collect(v, "plans", func(e starlark.Value) (PlanName, error) {
		n, err := toPlanName(e)
		return n.(PlanName), err
	})
}

func toRate(v starlark.Value) (any, error) {
	if v == starlark.None {
		return (*runtime.Rate)(nil), nil
	}
	s, ok := starlark.AsString(v)
	if !ok {
		return nil, want(`a rate such as "1/day"`, v)
	}
	r, err := runtime.ParseRate(s)
	return &r, err
}

// to accepts values of one of our own types.
func to[T starlark.Value](name string) func(starlark.Value) (any, error) {
	return func(v starlark.Value) (any, error) {
		t, ok := v.(T)
		if !ok {
			return nil, want("a "+name, v)
		}
		return t, nil
	}
}

func toList[T starlark.Value](name string) func(starlark.Value) (any, error) {
	return func(v starlark.Value) (any, error) {
		return collect(v, name+"s", func(e starlark.Value) (T, error) {
			t, ok := e.(T)
			if !ok {
				return t, want("a "+name, e)
			}
			return t, nil
		})
	}
}

// collect converts a list's elements and says which one is wrong.
func collect[T any](v starlark.Value, what string, each func(starlark.Value) (T, error)) ([]T, error) {
	it, ok := v.(starlark.Iterable)
	if !ok {
		return nil, want("a list of "+what, v)
	}
	out := []T{}
	for e := range starlark.Elements(it) {
		t, err := each(e)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", len(out), err)
		}
		out = append(out, t)
	}
	return out, nil
}

func toValues(v starlark.Value) (any, error) {
	return collect(v, "values", func(e starlark.Value) (starlark.Value, error) { return e, nil })
}

func toStorePath(v starlark.Value) (any, error) {
	switch v := v.(type) {
	case *runtime.StorePath:
		return v, nil
	case starlark.String:
		if !strings.HasPrefix(string(v), "/nix/store/") {
			return nil, fmt.Errorf("want a store path, got %q", string(v))
		}
		return &runtime.StorePath{Path: string(v)}, nil
	}
	return nil, want("a store path, as nix.build returns", v)
}

func toTexts(v starlark.Value) (any, error) {
	d, ok := v.(starlark.IterableMapping)
	if !ok {
		return nil, want("a dict", v)
	}
	out := map[string]runtime.Text{}
	for _, item := range d.Items() {
		k, ok := starlark.AsString(item[0])
		if !ok {
			return nil, want("strings as keys", item[0])
		}
		t, err := runtime.TextOf(item[1])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		out[k] = t
	}
	return out, nil
}

func toArgv(v starlark.Value) (any, error) {
	if s, ok := v.(starlark.String); ok {
		text, err := runtime.TextOf(s)
		return Argv{words: []string{text.Reveal()}, shell: true}, err
	}
	words, err := toStrings(v)
	if err != nil {
		return nil, err
	}
	if len(words.([]string)) == 0 {
		return nil, fmt.Errorf("the command is empty")
	}
	return Argv{words: words.([]string)}, nil
}

func toCallable(v starlark.Value) (any, error) {
	fn, ok := v.(starlark.Callable)
	if !ok {
		return nil, want("a function", v)
	}
	return fn, nil
}

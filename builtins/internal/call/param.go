package call

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// A Param is one parameter of a builtin, read from a field of its argument
// struct:
//
//	Timeout time.Duration `arg:"timeout" default:"10s" doc:"how long one try may take"`
//
// A field with a default, even an empty one, is optional; None means the
// default. A parameter marked `arg:"name,keyword"` is only taken by name.
type Param struct {
	Name     string
	Type     string // as a plan author knows it: "host", "list of strings"
	Doc      string
	Default  string
	Optional bool
	Keyword  bool

	field int
}

func paramsOf[A any]() []Param {
	t := reflect.TypeFor[A]()
	params := make([]Param, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		name, flags, _ := strings.Cut(f.Tag.Get("arg"), ",")
		def, optional := f.Tag.Lookup("default")
		params = append(params, Param{
			Name: name, Type: typeName(f.Type), Doc: f.Tag.Get("doc"),
			Default: def, Optional: optional, Keyword: flags == "keyword", field: i,
		})
	}
	return params
}

// unpacked is what is kept of a call's arguments.
type unpacked struct {
	kept  runtime.Args     // as an operation has them
	needs *runtime.Unknown // the first that is not known yet

	placed []*runtime.Host // those that are reached at an address of their own
}

// unpack fills the struct that into points to. What is not known yet is
// represented by its name.
func unpack(params []Param, into any, args starlark.Tuple, kwargs []starlark.Tuple) (unpacked, error) {
	out := unpacked{kept: runtime.Args{}}
	given, err := match(params, args, kwargs)
	if err != nil {
		return out, err
	}
	st := reflect.ValueOf(into).Elem()
	for i, p := range params {
		v, field := given[i], st.Field(p.field)
		if v == nil || v == starlark.None && p.Optional {
			if !p.Optional {
				return out, p.missing()
			}
			if err := setDefault(field, p.Default); err != nil {
				return out, fmt.Errorf("default of %s: %w", p.Name, err)
			}
			continue
		}
		v, needs, err := represent(v, field.Type(), p.Name)
		var arg any
		if err == nil {
			arg, err = convert(v, field)
		}
		if err != nil {
			return out, fmt.Errorf("%s: %w", p.Name, err)
		}
		if out.needs == nil {
			out.needs = needs
		}
		out.kept[p.Name] = keep(arg)
		out.placed = append(out.placed, placedIn(arg)...)
	}
	return out, nil
}

func (p Param) missing() error {
	return fmt.Errorf("missing argument %s (%s): %s", p.Name, p.Type, p.Doc)
}

// match assigns arguments to parameters by position and name.
func match(params []Param, args starlark.Tuple, kwargs []starlark.Tuple) ([]starlark.Value, error) {
	given := make([]starlark.Value, len(params))
	positional := slices.IndexFunc(params, func(p Param) bool { return p.Keyword })
	if positional < 0 {
		positional = len(params)
	}
	if len(args) > positional {
		return nil, fmt.Errorf("got %d positional arguments, want at most %d", len(args), positional)
	}
	copy(given, args)
	for _, kv := range kwargs {
		name, _ := starlark.AsString(kv[0])
		i := slices.IndexFunc(params, func(p Param) bool { return p.Name == name })
		if i < 0 {
			return nil, unexpected(name, params)
		}
		if given[i] != nil {
			return nil, fmt.Errorf("argument %s is given twice", name)
		}
		given[i] = kv[1]
	}
	return given, nil
}

func unexpected(name string, params []Param) error {
	names := make([]string, len(params))
	for i, p := range params {
		names[i] = p.Name
	}
	err := fmt.Errorf("unexpected argument %s", name)
	if near := Nearest(name, names); near != "" {
		return runtime.WithHint(err, "did you mean %s?", near)
	}
	return runtime.WithHint(err, "it takes %s", strings.Join(names, ", "))
}

// Nearest returns the name closest to a misspelt one, or "" if none is close.
func Nearest(name string, names []string) string {
	best, dist := "", max(2, len(name)/3)+1
	for _, n := range slices.SortedFunc(slices.Values(names), cmp.Compare[string]) {
		if d := distance(name, n); d < dist {
			best, dist = n, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			sub := last
			if a[i] != b[j] {
				sub++
			}
			last = row[j+1]
			row[j+1] = min(sub, last+1, row[j]+1)
		}
	}
	return row[len(b)]
}

func setDefault(f reflect.Value, def string) error {
	if def == "" {
		return nil
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(def)
		return nil
	case reflect.Bool:
		f.SetBool(def == "True")
		return nil
	case reflect.Int:
		n, err := strconv.Atoi(def)
		f.SetInt(int64(n))
		return err
	}
	_, err := convert(starlark.String(def), f)
	return err
}

// keep is an argument as an operation's Args hold it: JSON's types, no secret,
// and a digest in place of a long text.
func keep(v any) any {
	switch v := v.(type) {
	case *runtime.Host:
		return keepHost(v)
	case []*runtime.Host:
		return keepHosts(v)
	case *runtime.StorePath:
		return v.Path
	case runtime.Text:
		if s := v.String(); len(s) > 256 {
			return fmt.Sprintf("sha256:%x (%d bytes)", sha256.Sum256([]byte(s)), len(s))
		}
		return v.String()
	case *runtime.Text:
		return keep(*v)
	case Hosts:
		return keepHosts(v)
	case Late:
		return v.Text
	case Target:
		if v.Host != nil {
			return keepHost(v.Host)
		}
		return v.Text
	case StorePaths:
		paths := make([]string, len(v))
		for i, p := range v {
			paths[i] = p.Path
		}
		return paths
	case map[string]runtime.Text:
		kept := map[string]any{}
		for name, t := range v {
			kept[name] = keep(t)
		}
		return kept
	case Argv:
		return v.words
	case fmt.Stringer:
		return v.String()
	}
	return v
}

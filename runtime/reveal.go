package runtime

import (
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// Revealed returns values with the text of each [Secret] in place of it, at any
// depth; what holds secrets is copied. Only what makes a secret of the result
// may call it.
func Revealed(values []starlark.Value) []starlark.Value {
	r := revealing{}
	out := make([]starlark.Value, len(values))
	for i, v := range values {
		out[i] = r.value(v)
	}
	return out
}

// revealing maps containers to their copies, so that a list within itself is
// one in the copy too.
type revealing map[starlark.Value]starlark.Value

func (r revealing) value(v starlark.Value) starlark.Value {
	switch v := v.(type) {
	case *Secret:
		return starlark.String(v.value)
	case starlark.Tuple:
		out := make(starlark.Tuple, len(v))
		for i, e := range v {
			out[i] = r.value(e)
		}
		return out
	case *starlark.List, *starlark.Dict, *starlarkstruct.Struct, *Record:
		if seen, ok := r[v]; ok {
			return seen
		}
		return r.container(v)
	}
	return v
}

func (r revealing) container(v starlark.Value) starlark.Value {
	switch v := v.(type) {
	case *starlark.List:
		out := starlark.NewList(nil)
		r[v] = out
		for e := range v.Elements() {
			_ = out.Append(r.value(e)) // it is new, and neither frozen nor iterated over
		}
		return out
	case *starlark.Dict:
		out := starlark.NewDict(v.Len())
		r[v] = out
		for k, e := range v.Entries() {
			_ = out.SetKey(k, r.value(e)) // k was a key before
		}
		return out
	case *starlarkstruct.Struct:
		fields := starlark.StringDict{}
		for name, e := range v.Entries() {
			fields[name] = r.value(e)
		}
		return starlarkstruct.FromStringDict(v.Constructor(), fields)
	case *Record:
		fields := make([]Field, len(v.fields))
		for i, f := range v.fields {
			fields[i] = Field{f.Name, r.value(f.Value)}
		}
		return NewRecord(v.kind, fields...)
	}
	return v
}

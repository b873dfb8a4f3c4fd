package engine

import (
	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"

	"infra/runtime"
)

// copied is a copy of a value that shares nothing with it that can be altered, with
// what is not known replaced by unknown, unless that is nil. There is none of what is
// more than data: its methods may belong to the preview that it was made for.
func copied(v starlark.Value, unknown func(runtime.Unknown) runtime.Unknown) (starlark.Value, bool) {
	c := copier{unknown, true}
	v = c.value(v)
	return v, c.ok
}

type copier struct {
	unknown func(runtime.Unknown) runtime.Unknown
	ok      bool
}

func (c *copier) value(v starlark.Value) starlark.Value {
	switch v := v.(type) {
	case nil, starlark.NoneType, starlark.Bool, starlark.Int, starlark.Float, starlark.String, starlark.Bytes,
		*runtime.Host, *runtime.StorePath, *runtime.Secret:
		return v
	case runtime.Unknown:
		if c.unknown != nil {
			v = c.unknown(v)
		}
		return v
	case *starlark.List:
		return starlark.NewList(c.values(v))
	case starlark.Tuple:
		return starlark.Tuple(c.values(v))
	case *starlark.Dict:
		return c.dict(v)
	case *starlark.Set:
		return c.set(v)
	case *starlarkstruct.Struct:
		fields := starlark.StringDict{}
		for name, f := range v.Entries() {
			fields[name] = c.value(f)
		}
		return starlarkstruct.FromStringDict(v.Constructor(), fields)
	case *runtime.Record:
		fields := make([]runtime.Field, len(v.Fields()))
		for i, f := range v.Fields() {
			fields[i] = runtime.Field{Name: f.Name, Value: c.value(f.Value)}
		}
		return runtime.NewRecord(v.Type(), fields...)
	}
	c.ok = false
	return v
}

func (c *copier) values(v starlark.Sequence) []starlark.Value {
	all := make([]starlark.Value, 0, v.Len())
	for e := range starlark.Elements(v) {
		all = append(all, c.value(e))
	}
	return all
}

func (c *copier) dict(v *starlark.Dict) starlark.Value {
	d := starlark.NewDict(v.Len())
	for k, e := range v.Entries() {
		if d.SetKey(c.value(k), c.value(e)) != nil {
			c.ok = false
		}
	}
	return d
}

func (c *copier) set(v *starlark.Set) starlark.Value {
	s := starlark.NewSet(v.Len())
	for e := range starlark.Elements(v) {
		if s.Insert(c.value(e)) != nil {
			c.ok = false
		}
	}
	return s
}

// samePosition compares what positions print.
func samePosition(a, b syntax.Position) bool {
	return a.Filename() == b.Filename() && a.Line == b.Line && a.Col == b.Col
}

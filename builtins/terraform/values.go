package terraform

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	tool "infra/builtins/internal/terraform"
	"infra/runtime"
)

// fromJSON is what a plan sees of a value that JSON can say.
func fromJSON(v any) starlark.Value {
	switch v := v.(type) {
	case bool:
		return starlark.Bool(v)
	case string:
		return starlark.String(v)
	case json.Number:
		return number(v)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return starlark.MakeInt64(int64(v))
		}
		return starlark.Float(v)
	case []any:
		elems := make([]starlark.Value, len(v))
		for i, e := range v {
			elems[i] = fromJSON(e)
		}
		return starlark.NewList(elems)
	case map[string]any:
		d := starlark.NewDict(len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			_ = d.SetKey(starlark.String(name), fromJSON(v[name])) // it is new, and a string is a key
		}
		return d
	}
	return starlark.None
}

// number is an int where JSON writes one, whatever its size.
func number(n json.Number) starlark.Value {
	if i, ok := new(big.Int).SetString(n.String(), 10); ok {
		return starlark.MakeBigInt(i)
	}
	f, err := n.Float64()
	if err != nil {
		return starlark.String(n.String())
	}
	if i, exact := big.NewFloat(f).Int(nil); exact == big.Exact && math.Abs(f) < 1<<53 {
		return starlark.MakeBigInt(i)
	}
	return starlark.Float(f)
}

// partly is a value of which some is not known: that is u.
func partly(v, unknown any, u runtime.Unknown) starlark.Value {
	if unknown == true {
		return u
	}
	if !anyTrue(unknown) {
		return fromJSON(v)
	}
	switch unknown := unknown.(type) {
	case []any:
		have, _ := v.([]any)
		elems := make([]starlark.Value, max(len(have), len(unknown)))
		for i := range elems {
			elems[i] = partly(at(have, i), at(unknown, i), u)
		}
		return starlark.NewList(elems)
	case map[string]any:
		have, _ := v.(map[string]any)
		names := map[string]bool{}
		for name := range have {
			names[name] = true
		}
		for name := range unknown {
			names[name] = names[name] || anyTrue(unknown[name])
		}
		d := starlark.NewDict(len(names))
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if names[name] {
				_ = d.SetKey(starlark.String(name), partly(have[name], unknown[name], u)) // as in fromJSON
			}
		}
		return d
	}
	return u
}

// secretOf is a sensitive value as a secret: a string as it is, all else as
// JSON. The strings within it are secret by themselves too.
func secretOf(name string, v any) starlark.Value {
	if s, ok := v.(string); ok {
		return runtime.NewSecret(name, s)
	}
	found := map[string]bool{}
	gather(found, v, true)
	for _, s := range slices.Sorted(maps.Keys(found)) {
		runtime.NewSecret(name, s)
	}
	return runtime.NewSecret(name, quote(v))
}

// secretName says where the secret of an output came from.
func (d *directory) secretName(output string) string {
	return d.name + " output " + output
}

// known are the outputs that are known before an apply; names are those of the
// secrets among them.
func (d *directory) known(p planned) (values *starlark.Dict, names []string) {
	values, names = starlark.NewDict(len(p.Outputs)), []string{}
	for _, o := range p.Outputs {
		if !o.known() {
			continue
		}
		_ = values.SetKey(starlark.String(o.Name), d.plannedValue(o)) // as in fromJSON
		if o.Sensitive {
			names = append(names, o.Name)
		}
	}
	return values, names
}

func (d *directory) plannedValue(o output) starlark.Value {
	if o.Sensitive {
		return secretOf(d.secretName(o.Name), o.value)
	}
	return fromJSON(o.value)
}

// foreseen are the outputs after an apply, as far as the plan knows them, in
// the order in which the apply will answer.
func (d *directory) foreseen(p planned, op string, pos syntax.Position) (values *starlark.Dict, names []string) {
	values, names = starlark.NewDict(len(p.Outputs)), []string{}
	for _, o := range p.Outputs {
		if o.Action == remove {
			continue
		}
		if o.Sensitive {
			names = append(names, o.Name)
		}
		u := runtime.Unknown{Op: op + " of " + cmp.Or(o.origin, "output "+o.Name), Pos: pos, Shape: runtime.PlainData}
		var v starlark.Value
		switch {
		case o.known():
			v = d.plannedValue(o)
		case o.Sensitive:
			v = u.As(runtime.SecretShape)
		default:
			v = partly(o.value, o.unknown, u)
		}
		_ = values.SetKey(starlark.String(o.Name), v) // as in fromJSON
	}
	return values, names
}

// had are the outputs that the state has.
func (d *directory) had(outputs map[string]tool.Output) (values *starlark.Dict, names []string, err error) {
	values, names = starlark.NewDict(len(outputs)), []string{}
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		v, err := d.value(name, outputs[name])
		if err != nil {
			return nil, nil, err
		}
		if outputs[name].Sensitive {
			names = append(names, name)
		}
		_ = values.SetKey(starlark.String(name), v) // as in fromJSON
	}
	return values, names, nil
}

// value is one output. An error shows nothing of it.
func (d *directory) value(name string, o tool.Output) (starlark.Value, error) {
	var v any
	dec := json.NewDecoder(bytes.NewReader(o.Value))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("the output %s is no JSON", name)
	}
	if o.Sensitive {
		return secretOf(d.secretName(name), v), nil
	}
	return fromJSON(v), nil
}

// plainOnly is a dict without its secrets: what the journal keeps.
func plainOnly(values *starlark.Dict) *starlark.Dict {
	out := starlark.NewDict(values.Len())
	for k, v := range values.Entries() {
		if _, secret := v.(*runtime.Secret); !secret {
			_ = out.SetKey(k, v) // k was a key before
		}
	}
	return out
}

func strs(list []string) *starlark.List {
	elems := make([]starlark.Value, len(list))
	for i, s := range list {
		elems[i] = starlark.String(s)
	}
	return starlark.NewList(elems)
}

package runtime

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// Decode makes the value that Encode wrote.
func Decode(data []byte) (starlark.Value, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var x any
	if err := d.Decode(&x); err != nil {
		return nil, fmt.Errorf("decode a kept value: %w", err)
	}
	return decode(x)
}

func decode(x any) (starlark.Value, error) {
	switch x := x.(type) {
	case nil:
		return starlark.None, nil
	case bool:
		return starlark.Bool(x), nil
	case string:
		if strings.Contains(x, secretMark) {
			return nil, fmt.Errorf("decode a kept value: it held a secret, which is not kept")
		}
		return starlark.String(x), nil
	case json.Number:
		i, err := x.Int64()
		if err != nil {
			return nil, fmt.Errorf("decode a kept value: %q is no integer", x)
		}
		return starlark.MakeInt64(i), nil
	case []any:
		elems, err := decodeAll(x)
		if err != nil {
			return nil, err
		}
		return starlark.NewList(elems), nil
	case map[string]any:
		return decodeTagged(x)
	}
	return nil, fmt.Errorf("decode a kept value: unexpected %T", x)
}

func decodeAll(x any) ([]starlark.Value, error) {
	list, ok := x.([]any)
	if !ok {
		return nil, fmt.Errorf("decode a kept value: want a list, got %T", x)
	}
	out := make([]starlark.Value, len(list))
	for i, e := range list {
		v, err := decode(e)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func decodeTagged(m map[string]any) (starlark.Value, error) {
	if kind, ok := m["$record"].(string); ok {
		return decodeRecord(kind, m["fields"])
	}
	for tag, x := range m {
		switch tag {
		case "$int", "$float", "$string", "$bytes":
			s, ok := x.(string)
			if !ok {
				return nil, fmt.Errorf("decode a kept value: want text in %s, got %T", tag, x)
			}
			return decodeScalar(tag, s)
		case "$tuple":
			elems, err := decodeAll(x)
			return starlark.Tuple(elems), err
		case "$set":
			return decodeSet(x)
		case "$dict":
			return decodeDict(x)
		case "$struct":
			return decodeStruct(x)
		case "$host":
			h := new(Host)
			if err := remarshal(x, h); err != nil {
				return nil, err
			}
			return h, notKept(h.Name, x)
		case "$store_path":
			p := new(StorePath)
			return p, remarshal(x, p)
		case "$secret", "$unknown":
			return nil, fmt.Errorf("decode a kept value: %v was not kept", x)
		}
	}
	return nil, fmt.Errorf("decode a kept value: unknown kind %v", m)
}

func decodeScalar(tag, s string) (starlark.Value, error) {
	switch tag {
	case "$int":
		i, ok := new(big.Int).SetString(s, 10)
		if !ok {
			return nil, fmt.Errorf("decode a kept value: %q is no integer", s)
		}
		return starlark.MakeBigInt(i), nil
	case "$float":
		f, err := strconv.ParseFloat(s, 64)
		return starlark.Float(f), err
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("decode a kept value: %w", err)
	}
	if tag == "$bytes" {
		return starlark.Bytes(b), nil
	}
	return starlark.String(b), nil
}

func decodeSet(x any) (starlark.Value, error) {
	elems, err := decodeAll(x)
	if err != nil {
		return nil, err
	}
	set := starlark.NewSet(len(elems))
	for _, e := range elems {
		if err := set.Insert(e); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// decodePairs decodes [[key, value], ...].
func decodePairs(x any, each func(k, v starlark.Value) error) error {
	pairs, ok := x.([]any)
	if !ok {
		return fmt.Errorf("decode a kept value: want pairs, got %T", x)
	}
	for _, p := range pairs {
		kv, err := decodeAll(p)
		if err != nil {
			return err
		}
		if len(kv) != 2 {
			return fmt.Errorf("decode a kept value: want a pair, got %d values", len(kv))
		}
		if err := each(kv[0], kv[1]); err != nil {
			return err
		}
	}
	return nil
}

func decodeDict(x any) (starlark.Value, error) {
	d := new(starlark.Dict)
	return d, decodePairs(x, d.SetKey)
}

func decodeRecord(kind string, x any) (starlark.Value, error) {
	r := NewRecord(kind)
	return r, decodePairs(x, func(k, v starlark.Value) error {
		name, ok := starlark.AsString(k)
		if !ok {
			return fmt.Errorf("decode a kept value: field name %s is no string", k)
		}
		r.fields = append(r.fields, Field{name, v})
		return nil
	})
}

func decodeStruct(x any) (starlark.Value, error) {
	m, ok := x.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("decode a kept value: want fields, got %T", x)
	}
	fields := starlark.StringDict{}
	for name, f := range m {
		v, err := decode(f)
		if err != nil {
			return nil, err
		}
		fields[name] = v
	}
	return starlarkstruct.FromStringDict(starlarkstruct.Default, fields), nil
}

// remarshal fills a Go struct from decoded JSON.
func remarshal(x, into any) error {
	data, err := json.Marshal(x)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

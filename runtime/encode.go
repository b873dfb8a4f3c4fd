package runtime

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// Encode writes a value as JSON from which [Decode] makes it again: plain
// data, structs, and what infra itself defines. Anything else, a function say,
// is an error, since another process could not go on from it. A secret is
// written by its name, an Unknown by its origin; neither can be decoded.
func Encode(v starlark.Value) ([]byte, error) {
	x, err := encode(v, "")
	if err != nil {
		return nil, err
	}
	return json.Marshal(x)
}

// tagged is how everything that JSON has no word for is written.
type tagged map[string]any

func encode(v starlark.Value, at string) (any, error) {
	switch v := v.(type) {
	case nil, starlark.NoneType:
		return nil, nil
	case starlark.Bool:
		return bool(v), nil
	case starlark.Int:
		if i, ok := v.Int64(); ok {
			return i, nil
		}
		return tagged{"$int": v.String()}, nil
	case starlark.Float:
		return tagged{"$float": strconv.FormatFloat(float64(v), 'g', -1, 64)}, nil
	case starlark.String:
		if utf8.ValidString(string(v)) {
			return string(v), nil
		}
		return tagged{"$string": base64.StdEncoding.EncodeToString([]byte(v))}, nil
	case starlark.Bytes:
		return tagged{"$bytes": base64.StdEncoding.EncodeToString([]byte(v))}, nil
	case *starlark.List:
		return encodeAll(v, at)
	case starlark.Tuple:
		return encodeTagged("$tuple", v, at)
	case *starlark.Set:
		return encodeTagged("$set", v, at)
	case *starlark.Dict:
		return encodeDict(v, at)
	case *starlarkstruct.Struct:
		return encodeStruct(v, at)
	}
	return encodeOurs(v, at)
}

// encodeOurs encodes the values that infra defines.
func encodeOurs(v starlark.Value, at string) (any, error) {
	switch v := v.(type) {
	case *Host:
		if u := v.Pending(); u != nil {
			return tagged{"$host": pendingHost{v, u.String()}}, nil
		}
		return tagged{"$host": v}, nil
	case *StorePath:
		return tagged{"$store_path": v}, nil
	case *Secret:
		return tagged{"$secret": v.name}, nil
	case Unknown:
		return tagged{"$unknown": v.String()}, nil
	case *Record:
		fields := make([]any, len(v.fields))
		for i, f := range v.fields {
			x, err := encode(f.Value, at+"."+f.Name)
			if err != nil {
				return nil, err
			}
			fields[i] = []any{f.Name, x}
		}
		return tagged{"$record": v.kind, "fields": fields}, nil
	}
	where := ""
	if at != "" {
		where = " at " + at
	}
	return nil, fmt.Errorf("a %s%s cannot be kept in the journal: return plain data, a host, a store path or a command's result", v.Type(), where)
}

func encodeAll(v starlark.Iterable, at string) ([]any, error) {
	out := []any{}
	i := 0
	for e := range starlark.Elements(v) {
		x, err := encode(e, fmt.Sprintf("%s[%d]", at, i))
		if err != nil {
			return nil, err
		}
		out = append(out, x)
		i++
	}
	return out, nil
}

func encodeTagged(tag string, v starlark.Iterable, at string) (any, error) {
	elems, err := encodeAll(v, at)
	if err != nil {
		return nil, err
	}
	return tagged{tag: elems}, nil
}

// encodeDict keeps the order of insertion, which JSON's objects would lose.
func encodeDict(v *starlark.Dict, at string) (any, error) {
	pairs := []any{}
	for _, item := range v.Items() {
		where := fmt.Sprintf("%s[%s]", at, item[0])
		k, err := encode(item[0], where)
		if err != nil {
			return nil, err
		}
		x, err := encode(item[1], where)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, []any{k, x})
	}
	return tagged{"$dict": pairs}, nil
}

func encodeStruct(v *starlarkstruct.Struct, at string) (any, error) {
	fields := map[string]any{}
	for _, name := range v.AttrNames() {
		f, err := v.Attr(name)
		if err != nil {
			return nil, err
		}
		if fields[name], err = encode(f, at+"."+name); err != nil {
			return nil, err
		}
	}
	return tagged{"$struct": fields}, nil
}

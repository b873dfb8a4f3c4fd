package runtime

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
)

// Encode writes a value as JSON from which [Decode] makes it again: plain
// data, structs, and what infra itself defines. Anything else, a function say,
// is an error, since another process could not go on from it. A secret is
// written by its name, an Unknown by its origin; neither can be decoded.
func Encode(v starlark.Value) ([]byte, error) {
	b, err := appendValue(make([]byte, 0, 64), v)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// appendValue appends a value. What JSON has no word for is an object with the
// key that says what it is.
func appendValue(b []byte, v starlark.Value) ([]byte, error) {
	switch v := v.(type) {
	case nil, starlark.NoneType:
		return append(b, "null"...), nil
	case starlark.Bool:
		return strconv.AppendBool(b, bool(v)), nil
	case starlark.Int:
		if i, ok := v.Int64(); ok {
			return strconv.AppendInt(b, i, 10), nil
		}
		return appendTagged(b, "$int", v.String()), nil
	case starlark.Float:
		return appendTagged(b, "$float", strconv.FormatFloat(float64(v), 'g', -1, 64)), nil
	case starlark.String:
		if utf8.ValidString(string(v)) {
			return appendString(b, string(v)), nil
		}
		return appendTagged(b, "$string", base64.StdEncoding.EncodeToString([]byte(v))), nil
	case starlark.Bytes:
		return appendTagged(b, "$bytes", base64.StdEncoding.EncodeToString([]byte(v))), nil
	case *starlark.List:
		return appendAll(b, v)
	case starlark.Tuple:
		b, err := appendAll(append(b, `{"$tuple":`...), v)
		return append(b, '}'), err
	case *starlark.Set:
		b, err := appendAll(append(b, `{"$set":`...), v)
		return append(b, '}'), err
	case *starlark.Dict:
		return appendDict(b, v)
	case *starlarkstruct.Struct:
		return appendStruct(b, v)
	}
	return appendOurs(b, v)
}

// appendOurs appends the values that infra defines.
func appendOurs(b []byte, v starlark.Value) ([]byte, error) {
	switch v := v.(type) {
	case *Host:
		if u := v.Pending(); u != nil {
			return appendMarshaled(b, "$host", pendingHost{v, u.String()})
		}
		return appendMarshaled(b, "$host", v)
	case *StorePath:
		return appendMarshaled(b, "$store_path", v)
	case *Secret:
		return appendTagged(b, "$secret", v.name), nil
	case Unknown:
		return appendTagged(b, "$unknown", v.String()), nil
	case *Record:
		return appendRecord(b, v)
	}
	return nil, &notKeptError{kind: v.Type()}
}

// A notKeptError is that a value, or a part of one, has no form in the journal.
type notKeptError struct{ kind, at string }

func (e *notKeptError) Error() string {
	where := ""
	if e.at != "" {
		where = " at " + e.at
	}
	return fmt.Sprintf("a %s%s cannot be kept in the journal: return plain data, a host, a store path or a command's result", e.kind, where)
}

// inside adds to an error where in a value the part is that it is about.
func inside(err error, at string) error {
	var e *notKeptError
	if errors.As(err, &e) {
		e.at = at + e.at
	}
	return err
}

func appendAll(b []byte, v starlark.Iterable) ([]byte, error) {
	b = append(b, '[')
	i := 0
	for e := range starlark.Elements(v) {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendValue(b, e); err != nil {
			return nil, inside(err, fmt.Sprintf("[%d]", i))
		}
		i++
	}
	return append(b, ']'), nil
}

// appendDict keeps the order of insertion, which JSON's objects would lose.
func appendDict(b []byte, v *starlark.Dict) ([]byte, error) {
	b = append(b, `{"$dict":[`...)
	for i, item := range v.Items() {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendValue(append(b, '['), item[0]); err == nil {
			b, err = appendValue(append(b, ','), item[1])
		}
		if err != nil {
			return nil, inside(err, fmt.Sprintf("[%s]", item[0]))
		}
		b = append(b, ']')
	}
	return append(b, "]}"...), nil
}

func appendStruct(b []byte, v *starlarkstruct.Struct) ([]byte, error) {
	b = append(b, `{"$struct":{`...)
	for i, name := range v.AttrNames() {
		if i > 0 {
			b = append(b, ',')
		}
		f, err := v.Attr(name)
		if err != nil {
			return nil, err
		}
		if b, err = appendValue(append(appendString(b, name), ':'), f); err != nil {
			return nil, inside(err, "."+name)
		}
	}
	return append(b, "}}"...), nil
}

func appendRecord(b []byte, v *Record) ([]byte, error) {
	b = append(appendString(append(b, `{"$record":`...), v.kind), `,"fields":[`...)
	for i, f := range v.fields {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendValue(append(appendString(append(b, '['), f.Name), ','), f.Value); err != nil {
			return nil, inside(err, "."+f.Name)
		}
		b = append(b, ']')
	}
	return append(b, "]}"...), nil
}

// appendTagged appends an object of one string.
func appendTagged(b []byte, tag, text string) []byte {
	return append(appendString(append(appendString(append(b, '{'), tag), ':'), text), '}')
}

// appendMarshaled appends an object of one value of ours.
func appendMarshaled(b []byte, tag string, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(append(append(appendString(append(b, '{'), tag), ':'), data...), '}'), nil
}

// appendString appends a string as encoding/json writes it, which is asked only
// for what may need an escape.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || strings.IndexByte(`"\<>&`, c) >= 0 {
			data, _ := json.Marshal(s) // a string can be marshaled
			return append(b, data...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

package preview

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"infra/runtime"
)

// Args are arguments as JSON has them, numbers with all their digits.
type Args map[string]any

// UnmarshalJSON implements [json.Unmarshaler].
func (a *Args) UnmarshalJSON(data []byte) error {
	return decode(data, (*map[string]any)(a))
}

func decode(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(into)
}

// argsOf are an operation's arguments without secrets, as they are when they were
// written as JSON and read again.
func argsOf(op runtime.Op) (Args, error) {
	args := make(Args, len(op.Args))
	for name, v := range op.Args {
		clean, err := valueOf(v)
		if err != nil {
			return nil, fmt.Errorf("encode the arguments: %w", err)
		}
		args[textOf(name)] = clean
	}
	return args, nil
}

// valueOf takes the types of which there are many in a preview by itself: JSON
// would cost as much as all the rest of it.
func valueOf(v any) (any, error) {
	switch v := v.(type) {
	case nil, bool:
		return v, nil
	case string:
		return textOf(v), nil
	case int:
		return numberOf(strconv.Itoa(v)), nil
	case int64:
		return numberOf(strconv.FormatInt(v, 10)), nil
	case []string:
		return listOf(v)
	case []any:
		return listOf(v)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if data, err = runtime.ScrubJSON(data); err != nil {
		return nil, err
	}
	var clean any
	return clean, decode(data, &clean)
}

func listOf[T any](list []T) (any, error) {
	if list == nil {
		return nil, nil
	}
	out := make([]any, len(list))
	for i, v := range list {
		var err error
		if out[i], err = valueOf(v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// textOf is text as JSON can hold it.
func textOf(s string) string {
	if s = runtime.Scrub(s); utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}

// numberOf is a number, or the name of a secret that it is.
func numberOf(digits string) any {
	if s := runtime.Scrub(digits); s != digits {
		return s
	}
	return json.Number(digits)
}

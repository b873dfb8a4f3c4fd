package runtime

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// ScrubJSON scrubs the strings, numbers and keys of an encoded value, which
// stays valid JSON. Scrubbing the text itself would not do: a secret such as
// "null" would break it. Nothing stays nothing.
func ScrubJSON(data []byte) (json.RawMessage, error) {
	if text := string(data); Scrub(text) == text {
		return data, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var x any
	if err := d.Decode(&x); err != nil {
		return nil, fmt.Errorf("scrub a value: %w", err)
	}
	clean, err := json.Marshal(scrubValue(x))
	if err != nil {
		return nil, fmt.Errorf("scrub a value: %w", err)
	}
	return clean, nil
}

func scrubValue(x any) any {
	switch x := x.(type) {
	case string:
		return Scrub(x)
	case json.Number:
		if s := Scrub(x.String()); s != x.String() {
			return s
		}
	case []any:
		for i := range x {
			x[i] = scrubValue(x[i])
		}
	case map[string]any:
		clean := make(map[string]any, len(x))
		for k, v := range x {
			clean[Scrub(k)] = scrubValue(v)
		}
		return clean
	}
	return x
}

// ScrubArgs is args as JSON, without secrets. The same arguments are the same
// bytes; none are {}.
func ScrubArgs(args Args) (json.RawMessage, error) {
	if args == nil {
		return json.RawMessage("{}"), nil
	}
	data, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("encode the arguments: %w", err)
	}
	return ScrubJSON(data)
}

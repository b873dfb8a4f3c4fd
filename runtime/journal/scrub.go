package journal

import (
	"bytes"
	"encoding/json"
	"fmt"

	"infra/runtime"
)

// encodeArgs writes arguments so that the same arguments are the same bytes.
func encodeArgs(args runtime.Args) (string, error) {
	if args == nil {
		return "{}", nil
	}
	data, err := json.Marshal(args)
	if err != nil {
		return "", fmt.Errorf("encode its arguments: %w", err)
	}
	text, err := scrubJSON(data)
	if err != nil {
		return "", err
	}
	return text.(string), nil
}

// scrubJSON scrubs an encoded value, which stays valid JSON; nothing stays
// nothing.
func scrubJSON(data []byte) (any, error) {
	if data == nil {
		return nil, nil
	}
	if text := string(data); runtime.Scrub(text) == text {
		return text, nil
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
	return string(clean), nil
}

func scrubValue(x any) any {
	switch x := x.(type) {
	case string:
		return runtime.Scrub(x)
	case json.Number:
		if s := runtime.Scrub(x.String()); s != x.String() {
			return s
		}
	case []any:
		for i := range x {
			x[i] = scrubValue(x[i])
		}
	case map[string]any:
		clean := make(map[string]any, len(x))
		for k, v := range x {
			clean[runtime.Scrub(k)] = scrubValue(v)
		}
		return clean
	}
	return x
}

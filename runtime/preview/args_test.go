package preview

import (
	"encoding/json"
	"reflect"
	"testing"

	"infra/runtime"
)

// FuzzArgs: what argsOf does by itself is what JSON makes of the arguments, and
// what scrubs that.
func FuzzArgs(f *testing.F) {
	runtime.NewSecret("the fuzz's", "trout-of-fuzz")
	runtime.NewSecret("a number", "987654321")
	f.Add("path", "trout-of-fuzz\xff\xfe a < b", "", 987654321, 1.5, true)
	f.Add("trout-of-fuzz", "x", "trout-of-fuzz", -3, 1e300, false)
	f.Add("", "\xed\xa0\x80", "\u2028", 0, 98765432.1, false)
	f.Fuzz(func(t *testing.T, name, text, word string, n int, x float64, b bool) {
		args := runtime.Args{name: text, "n": n, "n64": int64(n), "x": x, "b": b, "nothing": nil, "none": []string(nil), "nobody": []any(nil),
			"words": []string{text, word}, "list": []any{n, text, []any{word}, nil}, "env": map[string]any{word: text}, "vars": map[string]string{word: text}}
		data, err := runtime.ScrubArgs(args)
		if err != nil {
			t.Skip(err)
		}
		want := Args{}
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		if got, err := argsOf(runtime.Op{Args: args}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got  %#v\nwant %#v: %v", got, want, err)
		}
	})
}

package runtime

import (
	"errors"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"
)

func anUnknown(shape *Shape) Unknown {
	file := "a.star"
	return Unknown{Op: "ssh.run", Pos: syntax.MakePosition(&file, 3, 1), Shape: shape}
}

func TestFindUnknown(t *testing.T) {
	u := anUnknown(nil)
	list := func(vs ...starlark.Value) *starlark.List { return starlark.NewList(vs) }
	dict := func(v starlark.Value) *starlark.Dict {
		d := new(starlark.Dict)
		_ = d.SetKey(starlark.String("k"), v)
		return d
	}
	ring := list(starlark.None)
	_ = ring.Append(ring)
	ringed := list(ring)
	_ = ring.Append(ringed)
	ringWith := list(starlark.None)
	_ = ringWith.Append(ringWith)
	_ = ringWith.Append(u)
	method, _ := u.As(StringShape).Attr("strip")
	for _, tt := range []struct {
		name string
		in   starlark.Value
		want bool
	}{
		{"nothing", nil, false}, {"a text", starlark.String("x"), false}, {"itself", u, true},
		{"in a list", list(starlark.None, u), true}, {"in a tuple", starlark.Tuple{starlark.Tuple{u}}, true}, {"in a dict", dict(list(u)), true},
		{"in a struct", starlarkstruct.FromStringDict(starlarkstruct.Default, starlark.StringDict{"a": list(u)}), true},
		{"in a record", list(CommandResult(u, starlark.None, starlark.None, starlark.None)), true},
		{"in none of them", list(starlark.Tuple{starlark.None}, dict(starlark.None), starlark.Tuple{}, starlark.NewSet(0)), false},
		{"in a list within itself", ringWith, true}, {"not in a list within itself", ring, false}, {"not in two within each other", ringed, false},
		{"in a method of it", method, true},
	} {
		if got, ok := FindUnknown(tt.in); ok != tt.want || ok && got.Op != "ssh.run" {
			t.Errorf("%s: %v", tt.name, ok)
		}
	}
}

// TestFindUnknownIsQuick: a value that holds one many times over is looked at once.
func TestFindUnknownIsQuick(t *testing.T) {
	var list, tuple starlark.Value = starlark.NewList([]starlark.Value{starlark.None}), starlark.Tuple{starlark.None}
	for range 60 {
		list, tuple = starlark.NewList([]starlark.Value{list, list}), starlark.Tuple{tuple, tuple}
	}
	if _, ok := FindUnknown(starlark.Tuple{list, tuple}); ok {
		t.Error("found one")
	}
}

// TestAnUnknownIsSafeUninstrumented: code that was not compiled for it gets an
// error where the interpreter can give one, and never a panic.
func TestAnUnknownIsSafeUninstrumented(t *testing.T) {
	env := starlark.StringDict{"u": anUnknown(StringShape), "n": anUnknown(IntShape), "any": anUnknown(nil), "l": anUnknown(ListShape)}
	for expr, ends := range map[string]bool{
		"'a' == u": false, "u == 'a'": false, "u < 'a'": false, "{u: 1}": true, "{1: 1}[u]": true, "any()": true, "[1][n]": false, "u in 'a'": false,
		"sorted(['a', u])": false, "u[0]": false, "'a' + u": false, "[] + l": true, "max(u, 'a')": false, "[x for x in l]": false, "u.strip()": false,
	} {
		_, err := starlark.EvalOptions(&syntax.FileOptions{}, new(starlark.Thread), "b.star", expr, env)
		var notKnown *NotKnownError
		if errors.As(err, &notKnown) != ends {
			t.Errorf("%s: %v", expr, err)
		}
	}
}

func TestShapesSayWhatTheyHave(t *testing.T) {
	for _, tt := range []struct {
		shape     *Shape
		name      string
		has, sure bool
	}{
		{nil, "x", false, false}, {StringShape, "strip", true, true}, {StringShape, "append", false, true}, {PlainData, "get", true, false}, {PlainData, "x", false, true},
		{StorePathShape, "drv", true, true}, {StorePathShape, "x", false, true}, {&Shape{Type: "host"}, "name", true, false}, {TimeShape, "unix", true, true},
		{SecretShape, "x", false, true},
	} {
		has, sure := tt.shape.Has(tt.name)
		if sure != tt.sure || sure && has != tt.has {
			t.Errorf("%v has %s: %v, sure %v", tt.shape, tt.name, has, sure)
		}
	}
}

// TestShapesHaveTheMethodsOfTheirTypes: none more and none fewer.
func TestShapesHaveTheMethodsOfTheirTypes(t *testing.T) {
	for _, v := range []starlark.HasAttrs{starlark.String(""), starlark.Bytes(""), starlark.NewList(nil), new(starlark.Dict), starlark.NewSet(0)} {
		want, got := strings.Join(v.AttrNames(), " "), strings.Join(anUnknown(&Shape{Type: v.Type()}).AttrNames(), " ")
		if got != want {
			t.Errorf("%s has %s, want %s", v.Type(), got, want)
		}
	}
}

func TestTextOfWhatMayBeASecret(t *testing.T) {
	for _, tt := range []struct {
		in   starlark.Value
		want *Shape
	}{
		{starlark.String("a"), StringShape}, {anUnknown(PlainData), StringShape}, {anUnknown(StringsShape), StringShape}, {anUnknown(StorePathShape), StringShape},
		{anUnknown(nil), nil}, {anUnknown(ListShape), nil}, {anUnknown(&Shape{Type: "host"}), nil}, {anUnknown(SecretShape), SecretShape},
		{starlark.Tuple{starlark.None, NewSecret("t", "a secret in shapes")}, SecretShape},
	} {
		if got := TextShape(tt.in); got != tt.want {
			t.Errorf("%v: %v", tt.in, got)
		}
	}
}

func TestRevealedCopiesWhatHoldsSecrets(t *testing.T) {
	secret := NewSecret("t", "revealed-in-test")
	list := starlark.NewList([]starlark.Value{secret, starlark.None})
	_ = list.Append(list)
	in := starlark.Tuple{list, CommandResult(secret, starlark.None, starlark.None, starlark.None)}
	got := Revealed([]starlark.Value{in})[0].String()
	want := `(["revealed-in-test", None, [...]], command_result(stdout = "revealed-in-test", stderr = None, code = None, changed = None))`
	if got != want {
		t.Errorf("got %s", got)
	}
	if strings.Contains(in.String(), "revealed-in-test") {
		t.Error("the original was changed")
	}
}

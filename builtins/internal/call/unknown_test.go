package call

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/runtime"
)

// preview evaluates a call in which u is not known, and returns its value and
// what it asked for.
func preview(t *testing.T, spec Spec, expr string, shape *runtime.Shape) (v starlark.Value, asked []runtime.Op, err error) {
	t.Helper()
	do := func(_ context.Context, op runtime.Op) (runtime.Result, error) {
		asked = append(asked, op)
		return runtime.Result{Value: op.NotKnown()}, nil
	}
	env := Modules(do, []Spec{spec})
	name := "a.star"
	env["h"] = &runtime.Host{Name: "h"}
	env["u"] = runtime.Unknown{Op: "ssh.run", Pos: syntax.MakePosition(&name, 3, 1), Shape: shape}
	v, err = starlark.EvalOptions(&syntax.FileOptions{}, new(starlark.Thread), name, expr, env)
	return v, asked, err
}

func trySpec() Spec {
	return New(Spec{Name: "m.try_", Effect: runtime.Change, Returns: "made", Fields: []Field{{Name: "path", Type: "string"}, {Name: "n", Type: "int"}}},
		func(c *Call, a everything) (starlark.Value, error) {
			if a.Text.String() == "refused" {
				return nil, errors.New("it is refused")
			}
			return c.Value(runtime.Op{Host: "h", Looks: []string{"/a"}, Alters: runtime.Nothing})
		})
}

func TestWhatIsNotKnownIsHandedOn(t *testing.T) {
	const mark = "(known after ssh.run, a.star:3)"
	for expr, want := range map[string]string{
		`m.try_(h, ["ls", u])`:                `{"command":["ls","` + mark + `"],"host":"h"}`,
		`m.try_(h, u)`:                        `{"command":["` + mark + `"],"host":"h"}`,
		`m.try_(h, ["x"], u)`:                 `{"command":["x"],"host":"h","text":"` + mark + `"}`,
		`m.try_(h, ["x"], env = {"A": u})`:    `{"command":["x"],"env":{"A":"` + mark + `"},"host":"h"}`,
		`m.try_(h, ["x"], names = ["a", u])`:  `{"command":["x"],"host":"h","names":["a","` + mark + `"]}`,
		`m.try_(h, ["x"], path = u)`:          `{"command":["x"],"host":"h","path":"` + mark + `"}`,
		`m.try_(h, ("x", u), names = ("y",))`: `{"command":["x","` + mark + `"],"host":"h","names":["y"]}`,
	} {
		v, asked, err := preview(t, trySpec(), expr, nil)
		if err != nil || len(asked) != 1 {
			t.Errorf("%s: asked for %d, %v", expr, len(asked), err)
			continue
		}
		op := asked[0]
		args, _ := json.Marshal(op.Args)
		if string(args) != want || op.Needs == nil || op.Needs.Op != "ssh.run" || op.Looks != nil || op.Alters != nil {
			t.Errorf("%s: asked for %s, needs %v, looks at %v, alters %v", expr, args, op.Needs, op.Looks, op.Alters)
		}
		if got := v.String(); got != "made(path = (known after m.try_, a.star:1), n = (known after m.try_, a.star:1))" {
			t.Errorf("%s: got %s", expr, got)
		}
	}
}

func TestWhatABuiltinWouldDecideOnEndsThePreview(t *testing.T) {
	for expr, want := range map[string]string{
		`m.try_(u, ["x"])`:                              "the argument host is not known",
		`m.try_(h, ["x"], check = u)`:                   "the argument check is not known",
		`m.try_(h, ["x"], count = u)`:                   "the argument count is not known",
		`m.try_(h, ["x"], timeout = u)`:                 "the argument timeout is not known",
		`m.try_(h, ["x"], env = u)`:                     "the argument env is not known",
		`m.try_(h, ["x"], "refused", path = u)`:         "what m.try_ does is not known",
		`m.try_(h, ["x"], {"a": u})`:                    "want a string or a secret, got dict",
		`m.try_(h, ["x", 1, u])`:                        "element 1: want a string, got int",
		`m.try_(h, ["x"], path = u, comand = "nearly")`: "unexpected argument comand",
	} {
		_, asked, err := preview(t, trySpec(), expr, nil)
		var ends *runtime.NotKnownError
		if err == nil || !strings.Contains(err.Error(), want) || errors.As(err, &ends) != strings.Contains(want, "not known") || asked != nil {
			t.Errorf("%s: got %v, want %s; asked for %v", expr, err, want, asked)
		}
	}
	if _, _, err := preview(t, trySpec(), `m.try_(h, ["x"], u)`, runtime.IntShape); err == nil {
		t.Error("a number was taken for text")
	}
}

func TestWhatIsComputedFromWhatIsNotKnown(t *testing.T) {
	type texts struct {
		Text runtime.Text     `arg:"text" doc:"a text"`
		Any  []starlark.Value `arg:"any,keyword" default:"" doc:"values"`
	}
	upper := New(Spec{Name: "m.upper", Level: Anywhere, Returns: "string"}, func(_ *Call, a texts) (starlark.Value, error) {
		if len(a.Any) > 0 {
			return a.Any[0], nil
		}
		return starlark.String(strings.ToUpper(a.Text.Reveal())), nil
	})
	v, _, err := preview(t, upper, `m.upper(u)`, runtime.StringShape)
	if u, ok := v.(runtime.Unknown); err != nil || !ok || u.Shape != runtime.StringShape || u.Op != "ssh.run" {
		t.Errorf("got %v, %v", v, err)
	}
	v, _, err = preview(t, upper, `m.upper("a", any = [u])`, runtime.StringShape)
	if _, ok := v.(runtime.Unknown); err != nil || !ok {
		t.Errorf("a value was not handed on as it is: %v, %v", v, err)
	}
}

func TestTheShapeOfAResult(t *testing.T) {
	fields := []Field{{Name: "number", Type: "int"}, {Name: "path", Type: "store_path"}}
	for _, tt := range []struct {
		spec Spec
		want string // type, and the type of an element or of a field
	}{
		{Spec{Returns: ""}, "NoneType"},
		{Spec{Returns: "string"}, "string"},
		{Spec{Returns: "list of strings"}, "list of string"},
		{Spec{Returns: "list of generations", Fields: fields}, "list of generation with int"},
		{Spec{Returns: "store_path", Fields: fields}, "store_path with string"},
		{Spec{Returns: "made", Fields: fields}, "made with int"},
		{Spec{Returns: "sops_file"}, "sops_file of secret"},
		{Spec{Returns: "string, or secret"}, "unknown"},
	} {
		v := tt.spec.notKnown(runtime.Unknown{})
		got := v.Type()
		if u, ok := v.(runtime.Unknown); ok && u.Shape != nil {
			shape := u.Shape
			got = shape.Type
			if shape.Elem != nil {
				shape = shape.Elem
				got += " of " + shape.Type
			}
			if len(shape.Fields) > 0 {
				got += " with " + shape.Fields[0].Shape.Type
			}
		}
		if r, ok := v.(*runtime.Record); ok {
			got += " with " + r.Fields()[0].Value.(runtime.Unknown).Shape.Type
		}
		if got != tt.want {
			t.Errorf("%s is %s, want %s", tt.spec.Returns, got, tt.want)
		}
	}
}

package call

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/runtime"
)

type everything struct {
	Host    *runtime.Host           `arg:"host" doc:"a host"`
	Command Argv                    `arg:"command" doc:"a command"`
	Text    runtime.Text            `arg:"text" default:"" doc:"a text"`
	Env     map[string]runtime.Text `arg:"env,keyword" default:"" doc:"an environment"`
	Timeout time.Duration           `arg:"timeout,keyword" default:"2m" doc:"a duration"`
	Check   bool                    `arg:"check,keyword" default:"True" doc:"a flag"`
	Count   int                     `arg:"count,keyword" default:"3" doc:"a number"`
	Names   []string                `arg:"names,keyword" default:"" doc:"names"`
	Path    *runtime.StorePath      `arg:"path,keyword" default:"" doc:"a path"`
}

// eval evaluates one call of try(...) and returns what it asked for.
func eval(t *testing.T, expr string) (got everything, op runtime.Op, err error) {
	t.Helper()
	spec := New(Spec{Name: "m.try_", Effect: runtime.Change}, func(c *Call, a everything) (starlark.Value, error) {
		got = a
		return c.Value(runtime.Op{Host: "h"})
	})
	do := func(_ context.Context, o runtime.Op) (runtime.Result, error) {
		op = o
		return runtime.Result{}, nil
	}
	env := Modules(do, []Spec{spec})
	env["h"] = &runtime.Host{Name: "h"}
	env["secret"] = runtime.NewSecret("tok", "s3cr3t-in-call")
	_, err = starlark.EvalOptions(&syntax.FileOptions{}, new(starlark.Thread), "a.star", expr, env)
	return got, op, err
}

func TestUnpackDefaults(t *testing.T) {
	a, op, err := eval(t, `m.try_(h, ["ls", "-l"])`)
	if err != nil {
		t.Fatal(err)
	}
	if a.Host.Name != "h" || a.Command.String() != "ls -l" || a.Timeout != 2*time.Minute || !a.Check || a.Count != 3 || a.Names != nil || a.Path != nil || a.Text.String() != "" {
		t.Errorf("got %+v", a)
	}
	args, _ := json.Marshal(op.Args)
	if string(args) != `{"command":["ls","-l"],"host":"h"}` || op.Name != "m.try_" || op.Effect != runtime.Change || op.Pos.String() != "a.star:1:7" {
		t.Errorf("asked for %s %s %s at %s", op.Name, op.Effect, args, op.Pos)
	}
}

func TestUnpackEverything(t *testing.T) {
	a, op, err := eval(t, `m.try_(host = h, command = "echo 'a' | cat", text = secret, env = {"A": "b", "T": secret}, timeout = "7d",
		check = False, count = 0, names = ("x", "y"), path = "/nix/store/abc-x")`)
	if err != nil {
		t.Fatal(err)
	}
	if a.Command.String() != "shell: echo 'a' | cat" || a.Text.Reveal() != "s3cr3t-in-call" || a.Timeout != 168*time.Hour || a.Check || a.Count != 0 || a.Path.Name() != "x" {
		t.Errorf("got %+v", a)
	}
	args, _ := json.Marshal(op.Args)
	want := `{"check":false,"command":["echo 'a' | cat"],"count":0,"env":{"A":"b","T":"‹secret tok›"},"host":"h","names":["x","y"],"path":"/nix/store/abc-x","text":"‹secret tok›","timeout":"168h0m0s"}`
	if string(args) != want {
		t.Errorf("keeps %s", args)
	}
}

func TestUnpackSaysWhatIsWrong(t *testing.T) {
	for expr, want := range map[string]string{
		`m.try_()`:                               "m.try_: missing argument host (host): a host",
		`m.try_(h)`:                              "missing argument command",
		`m.try_(None, ["x"])`:                    "host: want a host, got NoneType",
		`m.try_(h, ["x"], "", {})`:               "got 4 positional arguments, want at most 3",
		`m.try_(h, ["x"], comand = 1)`:           "unexpected argument comand",
		`m.try_(h, ["x"], host = h)`:             "argument host is given twice",
		`m.try_(h, [])`:                          "command: the command is empty",
		`m.try_(h, ["x", 1])`:                    "command: element 1: want a string, got int",
		`m.try_(h, ["login", secret])`:           "command: element 1: want a string, got ‹secret tok›",
		`m.try_(h, "login " + str(secret))`:      "holds the placeholder of secret tok",
		`m.try_(h, ["x"], timeout = 5)`:          `timeout: want a duration such as "2m", got int`,
		`m.try_(h, ["x"], env = {1: "a"})`:       "env: want strings as keys, got int",
		`m.try_(h, ["x"], env = {"a": 1})`:       "env: a: want a string or a secret, got int",
		`m.try_(h, ["x"], path = "/etc/passwd")`: `path: want a store path, got "/etc/passwd"`,
		`m.try_(h, ["x"], check = 1)`:            "check: want True or False, got int",
		`m.try_(h, ["x"], count = 1 << 40)`:      "count: want an int",
		`m.tri(h, ["x"])`:                        "module has no .tri field or method (did you mean .try_?)",
		`m.try_(h, ["x"], names = "abc")`:        "names: want a list of strings, got string",
	} {
		_, op, err := eval(t, expr)
		if err == nil || !strings.Contains(err.Error(), want) || op.Run != nil || op.Name != "" {
			t.Errorf("%s: got %v, want %s", expr, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cr3t-in-call") {
			t.Errorf("%s: the error shows the secret", expr)
		}
	}
	if _, _, err := eval(t, `m.try_(h, ["x"], comand = 1)`); runtime.HintOf(err) != "did you mean command?" {
		t.Errorf("hint %q", runtime.HintOf(err))
	}
}

func TestLevels(t *testing.T) {
	reading := runtime.WithReading(context.Background(), new(runtime.Reading))
	for _, tt := range []struct {
		level Level
		ctx   context.Context
		ok    bool
	}{
		{InStep, context.Background(), true}, {InStep, reading, false},
		{InFile, context.Background(), false}, {InFile, reading, true},
		{Anywhere, context.Background(), true}, {Anywhere, reading, true},
	} {
		called := false
		spec := New(Spec{Name: "f", Level: tt.level}, func(*Call, struct{}) (starlark.Value, error) {
			called = true
			return nil, nil
		})
		thread := new(starlark.Thread)
		runtime.SetContext(thread, tt.ctx)
		_, err := starlark.EvalOptions(&syntax.FileOptions{}, thread, "a.star", "f()", Modules(nil, []Spec{spec}))
		if called != tt.ok || (err == nil) != tt.ok || !tt.ok && runtime.HintOf(err) == "" {
			t.Errorf("level %d, reading %v: called %v, %v", tt.level, tt.ctx == reading, called, err)
		}
	}
}

func TestQuoteIsWhatAShellReads(t *testing.T) {
	for w, want := range map[string]string{"ls": "ls", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "a=b/c.d": "a=b/c.d", "-n": "-n", "\n": "'\n'"} {
		if got := quote(w); got != want {
			t.Errorf("%q is quoted as %s, want %s", w, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"build", "copy", "switch", "generations"}
	for name, want := range map[string]string{"biuld": "build", "swich": "switch", "generation": "generations", "delete": "", "": ""} {
		if got := Nearest(name, names); got != want {
			t.Errorf("nearest to %q is %q, want %q", name, got, want)
		}
	}
}

// TestInput: while a file is read, what observes does it at once, and its
// answer is a source; nothing else does.
func TestInput(t *testing.T) {
	type none struct{}
	spec := func(e runtime.Effect) Spec {
		return New(Spec{Name: "m.look", Level: Input, Effect: e}, func(c *Call, _ none) (starlark.Value, error) {
			return c.Value(runtime.Op{Run: func(context.Context, io.Writer) (runtime.Result, error) {
				return runtime.Result{Value: starlark.String("seen")}, nil
			}})
		})
	}
	do := func(context.Context, runtime.Op) (runtime.Result, error) {
		return runtime.Result{Value: starlark.String("through the door")}, nil
	}
	for _, tt := range []struct {
		effect  runtime.Effect
		reading *runtime.Reading
		want    string
	}{
		{runtime.Read, nil, `"through the door"`},
		{runtime.Read, new(runtime.Reading), `"seen"`},
		{runtime.Change, new(runtime.Reading), "acts on the world"},
	} {
		thread := new(starlark.Thread)
		if tt.reading != nil {
			runtime.SetContext(thread, runtime.WithReading(t.Context(), tt.reading))
		}
		v, err := starlark.EvalOptions(&syntax.FileOptions{}, thread, "a.star", "m.look()", Modules(do, []Spec{spec(tt.effect)}))
		if err != nil {
			v = starlark.String(err.Error())
		}
		if !strings.Contains(v.String(), tt.want) {
			t.Errorf("%s: got %s, want %s", tt.effect, v, tt.want)
		}
		if tt.reading == nil {
			continue
		}
		seen := tt.reading.Seen()
		if digest := seen["m.look {}"]; (len(digest) == 64) != (err == nil) {
			t.Errorf("%s: the sources are %v", tt.effect, seen)
		}
	}
}

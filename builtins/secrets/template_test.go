package secrets

import (
	"testing"

	"infra/runtime"
)

func TestTemplate(t *testing.T) {
	t.Setenv("A", "value-of-a")
	t.Setenv("B", "value-of-b")
	for _, c := range []struct{ args, want, name, err, hint string }{
		{args: `"user={u}", values = {"u": a}`, want: "user=value-of-a", name: "env[A]"},
		{args: `"{u}{u} {v}", values = {"v": b, "u": a}`, want: "value-of-avalue-of-a value-of-b", name: "env[A] + env[B]"},
		{args: `"{u}{v}", values = {"u": a, "v": a}`, want: "value-of-avalue-of-a", name: "env[A]"},
		{args: `"{p}:{u}", values = {"p": "plain", "u": a}`, want: "plain:value-of-a", name: "env[A]"},
		{args: `"{{\"k\": \"{u}\"}}", values = {"u": a}`, want: `{"k": "value-of-a"}`, name: "env[A]"},
		{args: `"{{{u}}}", values = {"u": a}`, want: "{value-of-a}", name: "env[A]"},
		{args: `"{u}", values = {"u": "{{v}}{x}"}`, want: "{{v}}{x}", name: "template"},
		{args: `"no field"`, want: "no field", name: "template"},
		{args: `"", values = {}`, want: "", name: "template"},
		{args: `"{a.b-c}", values = {"a.b-c": a}`, want: "value-of-a", name: "env[A]"},
		{args: `"{usr}", values = {"user": a}`, err: "{usr}, which values does not have", hint: "did you mean {user}?"},
		{args: `"{zzzzzz}", values = {"user": a, "host": b}`, err: "{zzzzzz}", hint: "values has host, user"},
		{args: `"{x}"`, err: "{x}", hint: "values has nothing"},
		{args: `"{u}", values = {"u": a, "w": b}`, err: `values has "w"`, hint: "the text uses u"},
		{args: `"", values = {"w": b}`, err: `values has "w"`, hint: "the text uses no name"},
		{args: `"a\nb {\"k\": 1}"`, err: `line 2 of the text has a "{"`, hint: "{{ and }}"},
		{args: `"a } b"`, err: `has a "}"`, hint: "{{ and }}"},
		{args: `"{}"`, err: `has a "{"`, hint: "{{ and }}"},
		{args: `"{u"`, err: `has a "{"`, hint: "{{ and }}"},
		{args: `"{a{b}}"`, err: `has a "{"`, hint: "{{ and }}"},
		{args: `a`, err: "text: want a string", hint: "secret"},
		{args: `"{u}", values = {"u": 1}`, err: "want a string or a secret"},
		{args: `"{u}", values = {"u": str(a)}`, err: "placeholder", hint: "secrets.template"},
	} {
		t.Run(c.args, func(t *testing.T) {
			globals, err := runStep(t, "", carryOut, "a = secrets.env(\"A\")\nb = secrets.env(\"B\")\nx = secrets.template("+c.args+")")
			if c.err != "" {
				checkError(t, err, c.err, c.hint)
				checkQuiet(t, err, "value-of-")
				return
			}
			must(t, err)
			s := globals["x"].(*runtime.Secret)
			if s.Reveal() != c.want || s.Name() != c.name {
				t.Errorf("got %q named %q, want %q named %q", s.Reveal(), s.Name(), c.want, c.name)
			}
		})
	}
}

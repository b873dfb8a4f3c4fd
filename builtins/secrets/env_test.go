package secrets

import (
	"fmt"
	"testing"

	"infra/runtime"
)

func TestEnv(t *testing.T) {
	t.Setenv("INFRATEST_TOKEN", "token-value")
	t.Setenv("INFRATEST_EMPTY", "")
	for _, c := range []struct{ name, want, err, hint string }{
		{name: "INFRATEST_TOKEN", want: "token-value"},
		{name: "INFRATEST_EMPTY", err: "INFRATEST_EMPTY is empty", hint: "INFRATEST_EMPTY=..."},
		{name: "INFRATEST_TOKNE", err: "INFRATEST_TOKNE is not set", hint: "did you mean INFRATEST_TOKEN?"},
		{name: "XQJZWV_QQQQQQQ_ZZZZ", err: "is not set", hint: "infra run"},
		{name: "", err: "no name"},
		{name: "A=B", err: "no name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			globals, err := runStep(t, "", carryOut, fmt.Sprintf("x = secrets.env(%q)", c.name))
			if c.err != "" {
				checkError(t, err, c.err, c.hint)
				return
			}
			must(t, err)
			s := globals["x"].(*runtime.Secret)
			if s.Reveal() != c.want || s.Name() != "env["+c.name+"]" {
				t.Errorf("got %s %q", s.Name(), s.Reveal())
			}
		})
	}
}

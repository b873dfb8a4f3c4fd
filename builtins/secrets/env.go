package secrets

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

type envArgs struct {
	Name string `arg:"name" doc:"the variable's name"`
}

func env(c *call.Call, a envArgs) (starlark.Value, error) {
	return c.ReadSecret(runtime.Op{Show: "read $" + a.Name, Looks: runtime.Nothing}, func(context.Context, io.Writer) (starlark.Value, error) {
		return fromEnv(a.Name)
	})
}

func fromEnv(name string) (starlark.Value, error) {
	v, ok := os.LookupEnv(name)
	switch {
	case name == "" || strings.ContainsAny(name, "=\x00"):
		return nil, fmt.Errorf("%q is no name of an environment variable", name)
	case !ok:
		err := fmt.Errorf("the environment variable %s is not set", name)
		if near := call.Nearest(name, variables()); near != "" {
			return nil, runtime.WithHint(err, "did you mean %s?", near)
		}
		return nil, runtime.WithHint(err, "set it for infra: %s=... infra run ...", name)
	case v == "":
		return nil, runtime.WithHint(fmt.Errorf("the environment variable %s is empty", name),
			"set it for infra: %s=... infra run ...", name)
	}
	return runtime.NewSecret("env["+name+"]", v), nil
}

func variables() []string {
	var names []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		names = append(names, name)
	}
	return names
}

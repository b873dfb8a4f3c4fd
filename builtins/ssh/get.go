package ssh

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

// getLimit is the largest file that a plan may hold in memory.
const getLimit = 8 << 20

var getSpec = call.Spec{
	Name:    "ssh.get",
	Effect:  runtime.Read,
	Doc:     "Reads a file of a host, up to 8 MiB. With secret = True the plan can carry the content but not look at it.",
	Returns: "string, or secret",
	Example: `release = ssh.get(vps, "/etc/os-release")
hashes = ssh.get(vps, "/etc/shadow", sudo = True, secret = True)
log(release)
`,
}

type getArgs struct {
	Host   *runtime.Host `arg:"host" doc:"where the file is"`
	Path   string        `arg:"path" doc:"the file"`
	Sudo   bool          `arg:"sudo,keyword" default:"False" doc:"read it as root"`
	Secret bool          `arg:"secret,keyword" default:"False" doc:"the content must not be shown"`
}

func (m module) get(c *call.Call, a getArgs) (starlark.Value, error) {
	shape := runtime.StringShape
	if a.Secret {
		shape = runtime.SecretShape
	}
	return c.Value(runtime.Op{NotKnown: func() starlark.Value { return c.Unknown().As(shape) },
		Host: a.Host.Name, Show: a.Path, Looks: names(a.Path), Alters: runtime.Nothing, Run: func(ctx context.Context, _ io.Writer) (runtime.Result, error) {
			content, _, err := m.pool.Get(ctx, a.Host, a.Path, a.Sudo, getLimit)
			if err != nil {
				return runtime.Result{}, getError(a, err)
			}
			if a.Secret {
				return runtime.Result{Value: runtime.NewSecret(a.Host.Name+":"+a.Path, string(content))}, nil
			}
			return runtime.Result{Value: starlark.String(content)}, nil
		}})
}

func getError(a getArgs, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return runtime.WithHint(err, "check the path; attempt(lambda: ssh.get(...)) goes on without the file")
	case !a.Sudo && strings.Contains(strings.ToLower(err.Error()), "permission denied"):
		return runtime.WithHint(err, "sudo = True reads it as root")
	}
	return err
}

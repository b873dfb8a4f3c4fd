package ssh

import (
	"errors"
	"fmt"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/file"
	"infra/runtime"
)

var putSpec = call.Spec{
	Name:   "ssh.put",
	Effect: runtime.Change,
	Doc: "Puts a file on a host, and makes the folders it lies in: the given content, or a local file. Content, mode and owner are compared first, " +
		"and nothing is sent when they are right already.",
	Returns: "put_result",
	Fields: []call.Field{
		{Name: "changed", Type: "bool", Doc: "whether the file was written"},
		{Name: "path", Type: "string", Doc: "the file on the host"},
	},
	Example: `done = ssh.put(mac, "/tmp/motd", content = "managed by infra\n")
if done.changed:
    log("the message of the day is new")
`,
}

type putArgs struct {
	Host    *runtime.Host `arg:"host" doc:"where to"`
	Path    string        `arg:"path" doc:"the file on the host"`
	Content *runtime.Text `arg:"content" default:"" doc:"what the file shall hold"`
	Source  string        `arg:"source,keyword" default:"" doc:"in place of content: a local file, from the project's root"`
	Mode    string        `arg:"mode,keyword" default:"0644" doc:"its permissions, octal"`
	Owner   string        `arg:"owner,keyword" default:"" doc:"its owner, \"user\" or \"user:group\"; the login, or root with sudo, if not given"`
	Sudo    bool          `arg:"sudo,keyword" default:"False" doc:"write it as root"`
}

func (m module) put(c *call.Call, a putArgs) (starlark.Value, error) {
	if (a.Content == nil) == (a.Source == "") {
		return nil, errors.New("ssh.put: give either content or source")
	}
	mode, err := file.ParseMode(a.Mode)
	if err != nil {
		return nil, fmt.Errorf("ssh.put: %w", err)
	}
	p := &putting{module: m, putArgs: a, mode: mode}
	if err := p.file().Check(); err != nil {
		return nil, fmt.Errorf("ssh.put: %w", err)
	}
	r := file.Replacement{Kind: "put_result", Path: a.Path, Compare: p.compare, Foresee: p.foresee, Write: p.write}
	// The folders that it makes need no names: whoever looks at one looks at
	// all below it, and besides this file there is nothing.
	files := names(a.Path)
	return c.Value(runtime.Op{Host: a.Host.Name, Show: p.show(), Looks: files, Alters: files, Repeatable: true,
		Here: p.here(), Predict: r.Predict, Run: r.Run, Settle: r.Settle})
}

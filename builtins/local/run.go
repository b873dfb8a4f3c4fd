package local

import (
	"context"
	"path/filepath"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

var runSpec = call.Spec{
	Name:   "local.run",
	Effect: runtime.Change,
	Doc: "Runs a command here, in the project's root. It is taken to change something unless reads = True says that it " +
		"only observes; a dry run carries out what only observes. What it would print is not known in a dry run otherwise, unless the plan says what to assume.",
	Returns: "command_result",
	Fields:  command.ResultFields,
	Example: `branch = local.run("git branch --show-current || echo none", reads = True, assume = "main\n").stdout.strip()
log("the project is on branch " + branch)
`,
}

type runArgs struct {
	Command    call.Argv               `arg:"command" doc:"the command; a string is run by sh"`
	Reads      bool                    `arg:"reads,keyword" default:"False" doc:"it only observes, and nothing but this machine"`
	Check      bool                    `arg:"check,keyword" default:"True" doc:"fail when its exit code is not 0"`
	Stdin      runtime.Text            `arg:"stdin,keyword" default:"" doc:"all of its input"`
	Env        map[string]runtime.Text `arg:"env,keyword" default:"" doc:"added to its environment"`
	Timeout    time.Duration           `arg:"timeout,keyword" default:"" doc:"end it after so long"`
	Cwd        string                  `arg:"cwd,keyword" default:"" doc:"its working directory, from the project's root"`
	Assume     *runtime.Text           `arg:"assume,keyword" default:"" doc:"what its stdout is taken to be where a dry run cannot have it; a run does not look at it"`
	Repeatable bool                    `arg:"repeatable,keyword" default:"False" doc:"carried out a second time it does no harm: retries and a resumed run may repeat it"`
}

func (m module) run(c *call.Call, a runArgs) (starlark.Value, error) {
	r := command.Request{Argv: a.Command, Stdin: a.Stdin, Env: a.Env, Dir: a.Cwd,
		Reads: a.Reads, Check: a.Check, Timeout: a.Timeout, Assume: a.Assume, Repeatable: a.Repeatable}
	return r.Ask(c, "", m.start)
}

// start runs a command in the project's root, or where its folder is from there.
func (m module) start(ctx context.Context, cmd remote.Command) (remote.Exit, error) {
	if !filepath.IsAbs(cmd.Dir) {
		cmd.Dir = filepath.Join(m.root, cmd.Dir)
	}
	return remote.Run(ctx, cmd)
}

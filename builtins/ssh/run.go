package ssh

import (
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/builtins/internal/command"
	"infra/runtime"
)

var runSpec = call.Spec{
	Name:   "ssh.run",
	Effect: runtime.Change,
	Doc: "Runs a command on a host. It is taken to change the host unless reads = True says that it only observes; " +
		"a dry run carries out what only observes. What it would print is not known in a dry run otherwise, unless the plan says what to assume. " +
		"Consecutive commands of a step that are statements of their own are sent without waiting for the answers; each is begun only where the one before it has succeeded. " +
		"Commands of one step may share a login: what one of them changes in the login's own files, such as ~/.zshenv, the next step sees. " +
		"As root on a host with systemd it goes on where infra is interrupted or loses the host, and infra resume waits for it.",
	Returns: "command_result",
	Fields:  command.ResultFields,
	Example: `kernel = ssh.run(mac, ["uname", "-s"], reads = True).stdout.strip()
if kernel == "Linux":
    said = ssh.run(mac, ["tee", "/tmp/greeting"], stdin = "hello\n", assume = "hello\n").stdout
    log("the greeting is " + said)
`,
}

type runArgs struct {
	Host       *runtime.Host           `arg:"host" doc:"where it runs"`
	Command    call.Argv               `arg:"command" doc:"the command; a string is run by sh"`
	Reads      bool                    `arg:"reads,keyword" default:"False" doc:"it only observes, and nothing but this host"`
	Check      bool                    `arg:"check,keyword" default:"True" doc:"fail when its exit code is not 0"`
	Stdin      runtime.Text            `arg:"stdin,keyword" default:"" doc:"all of its input"`
	Env        map[string]runtime.Text `arg:"env,keyword" default:"" doc:"added to its environment"`
	Sudo       bool                    `arg:"sudo,keyword" default:"False" doc:"run it as root"`
	Timeout    time.Duration           `arg:"timeout,keyword" default:"" doc:"end it after so long"`
	Cwd        string                  `arg:"cwd,keyword" default:"" doc:"its working directory; the home if not given"`
	Assume     *runtime.Text           `arg:"assume,keyword" default:"" doc:"what its stdout is taken to be where a dry run cannot have it; a run does not look at it"`
	Repeatable bool                    `arg:"repeatable,keyword" default:"False" doc:"carried out a second time it does no harm: retries and a resumed run may repeat it"`
}

func (m module) run(c *call.Call, a runArgs) (starlark.Value, error) {
	r := command.Request{Argv: a.Command, Stdin: a.Stdin, Env: a.Env, Dir: a.Cwd,
		Sudo: a.Sudo, Reads: a.Reads, Check: a.Check, Timeout: a.Timeout, Assume: a.Assume, Repeatable: a.Repeatable,
		Units: &command.Units{Pool: m.pool, Host: a.Host}}
	return r.Ask(c, a.Host.Name, command.On(m.pool, a.Host))
}

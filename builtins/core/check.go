package core

import (
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

type checkArgs struct {
	Fn       starlark.Callable `arg:"fn" doc:"what observes: it returns truth, or a struct(ok, detail); it receives the host if there is one"`
	Name     string            `arg:"name" default:"" doc:"the function's name by default"`
	Host     *runtime.Host     `arg:"host" default:"" doc:"the host that fn receives"`
	Required bool              `arg:"required" default:"True" doc:"whether the plan fails without it"`
	Timeout  time.Duration     `arg:"timeout" default:"1m" doc:"how long it may take; then it has failed"`
}

func checkSpec() call.Spec {
	return call.New(call.Spec{
		Name:    "check",
		Level:   call.InFile,
		Doc:     "A function of a plan that only observes. Checks run when every step has succeeded, and whenever infra verify looks; an operation that is not a read is refused in them.",
		Returns: "check",
		Example: `documented = check(lambda: fs.exists("docs/patterns.md"), name = "patterns documented", required = False)`,
	}, newCheck)
}

func newCheck(c *call.Call, a checkArgs) (starlark.Value, error) {
	ch := &runtime.Check{
		Name: named(c, "check", a.Name, a.Fn), Doc: firstLine(a.Fn),
		Fn: a.Fn, Host: a.Host, Required: a.Required, Timeout: a.Timeout, Pos: c.Pos,
	}
	if a.Timeout <= 0 {
		c.Report(`timeout = "1m"`, "check %s has no time to look", ch.Name)
	}
	var gets []string
	if a.Host != nil {
		gets = []string{"host"}
	}
	checkArity(c, "check", ch.Name, a.Fn, gets)
	return ch, nil
}

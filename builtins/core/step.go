package core

import (
	"cmp"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

type stepArgs struct {
	Fn        starlark.Callable `arg:"fn" default:"" doc:"what the step does; it receives the host first if the step fans out, then what its needs returned"`
	Needs     []starlark.Value  `arg:"needs" default:"" doc:"functions of other steps, whose results fn receives in this order"`
	Name      string            `arg:"name,keyword" default:"" doc:"the function's name by default"`
	Undo      starlark.Callable `arg:"undo,keyword" default:"" doc:"takes the step back; receives what fn returned, after the host if the step fans out"`
	Each      []*runtime.Host   `arg:"each,keyword" default:"" doc:"run once for each of these hosts, side by side; the machine that infra runs on goes last"`
	Parallel  int               `arg:"parallel,keyword" default:"0" doc:"of each, how many hosts at once; 0 sets no limit"`
	Canary    int               `arg:"canary,keyword" default:"0" doc:"of each, how many of the first hosts must succeed before the others start"`
	OnFailure string            `arg:"on_failure,keyword" default:"stop" doc:"\"stop\" starts no further host after one failed, \"continue\" does the others"`
	Confirm   string            `arg:"confirm,keyword" default:"" doc:"a question that a person answers with yes before the step starts"`
	Timeout   time.Duration     `arg:"timeout,keyword" default:"" doc:"how long one attempt may take"`
	Retries   int               `arg:"retries,keyword" default:"0" doc:"how often a failed step is run again, after 1s, 2s, 4s, ... up to 30s; what it did already is not repeated, and a failed command is a failure unless it is repeatable or only reads"`
	Human     string            `arg:"human,keyword" default:"" doc:"in place of fn: what a person does, in full. They are shown it and asked whether it is done, which --yes does not answer: --did STEP does. The step returns None, and wants a name. A dry run shows it, and foresees what follows as if it altered nothing."`
	Locks     []string          `arg:"locks,keyword" default:"" doc:"names; no two steps that share one run at once"`
	Reload    bool              `arg:"reload,keyword" default:"False" doc:"infra watch --apply may carry the step out by itself when it differs, on all its hosts; never where it would destroy anything"`
}

func stepSpec() call.Spec {
	return call.New(call.Spec{
		Name:    "step",
		Level:   call.InFile,
		Doc:     "A function of a plan that acts, or what a person does. Its name is the function's, its description the docstring's first line. Steps that do not need one another run side by side.",
		Returns: "step",
		Example: `deploy = step(lambda: log("done"), name = "deploy", timeout = "2m")`,
	}, newStep)
}

func newStep(c *call.Call, a stepArgs) (starlark.Value, error) {
	s := &runtime.Step{
		Name: cmp.Or(a.Name, c.Pos.String()), Doc: firstLine(a.Fn), Fn: a.Fn, Undo: a.Undo,
		Wants: a.Needs, Each: a.Each, Parallel: a.Parallel, Canary: a.Canary,
		OnFailure: runtime.OnFailure(a.OnFailure), Confirm: a.Confirm,
		Timeout: a.Timeout, Retries: a.Retries, Locks: a.Locks, Reload: a.Reload, Pos: c.Pos,
	}
	switch {
	case a.Human != "":
		checkHuman(c, a)
		s.Human = strings.TrimSpace(a.Human)
		s.Doc, _, _ = strings.Cut(s.Human, "\n")
		s.Fn = human(c, s.Human)
	case a.Fn == nil:
		c.Report(`step(fn), or step(human = "...", name = "...")`, "a step wants a function, or what a person does")
		return s, nil
	default:
		s.Name = named(c, "step", a.Name, a.Fn)
	}
	var gets []string
	if s.FansOut() {
		gets = append(gets, "host")
	}
	undoGets := append(gets[:len(gets):len(gets)], "result")
	for i, w := range a.Needs {
		name, ok := needName(w)
		if !ok {
			c.Report("needs = [build] names the function of another step", "need %d of step %s is of type %s", i+1, s.Name, w.Type())
		}
		gets = append(gets, name)
	}
	checkArity(c, "step", s.Name, s.Fn, gets)
	if a.Undo != nil {
		checkArity(c, "undo of step", s.Name, a.Undo, undoGets)
	}
	checkOptions(c, s)
	return s, nil
}

// needName is what a need is called, and whether it can be one.
func needName(v starlark.Value) (string, bool) {
	switch v := v.(type) {
	case *runtime.Step:
		return v.Name, true
	case *starlark.Function:
		return v.Name(), true
	case runtime.Undefined:
		return v.Name(), true // reported already
	}
	return "result", false
}

func checkOptions(c *call.Call, s *runtime.Step) {
	if s.OnFailure != runtime.StopOnFailure && s.OnFailure != runtime.ContinueOnFailure {
		c.Report(`"stop" or "continue"`, "step %s has on_failure = %q", s.Name, s.OnFailure)
	}
	if s.Parallel < 0 || s.Canary < 0 || s.Retries < 0 {
		c.Report("", "step %s: parallel, canary and retries cannot be negative", s.Name)
	}
	if s.Reload && s.Confirm != "" && s.Human == "" {
		c.Report("leave one of the two out: a step that infra watch --apply carries out by itself has nobody to ask", "step %s has both confirm and reload", s.Name)
	}
	if !s.FansOut() && (s.Parallel > 0 || s.Canary > 0) {
		c.Report("each = hosts fans it out", "step %s runs once: parallel and canary mean nothing to it", s.Name)
	}
}

package core

import (
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

type planGateArgs struct {
	Plan call.PlanName `arg:"plan" doc:"which plan"`
}

func doneSpec() call.Spec {
	return call.New(call.Spec{
		Name:    "done",
		Level:   call.InFile,
		Doc:     "A gate that opens when a whole run of a plan has ended well. It closes when a later run fails after a change, or when the run is taken back, as by infra undo or infra rollback.",
		Returns: "gate",
		Example: `once_done = [done("cinnabar")] # plan(after = once_done, ...)`,
	}, func(c *call.Call, a planGateArgs) (starlark.Value, error) {
		return &runtime.Gate{Kind: runtime.GateDone, Of: string(a.Plan), Pos: c.Pos}, nil
	})
}

type stableArgs struct {
	Plan    call.PlanName `arg:"plan" doc:"which plan"`
	For     time.Duration `arg:"time" doc:"for how long, such as \"7d\" or \"6w\""`
	AtMost  int           `arg:"at_most,keyword" default:"0" doc:"how many observations in that time may have failed"`
	AtLeast *runtime.Rate `arg:"at_least,keyword" default:"1/day" doc:"how often the plan has to have been observed in that time: \"4/hour\", \"1/day\", \"2/week\"; half as long again without an observation is a gap, after which the time begins anew. None wants no observations."`
}

func stableSpec() call.Spec {
	return call.New(call.Spec{
		Name:  "stable",
		Level: call.InFile,
		Doc: "A gate that opens when a plan has been done, and seen to be well, for some time. The time begins with the end of the last run that changed something. " +
			"It begins anew after an observation in which a required check failed, and after a gap in which nobody looked: infra verify does, and so does a run that changes nothing.",
		Returns: "gate",
		Example: `a_week_later = [stable("cinnabar", "7d", at_least = "1/day")] # plan(after = a_week_later, ...)`,
	}, newStable)
}

func newStable(c *call.Call, a stableArgs) (starlark.Value, error) {
	g := &runtime.Gate{Kind: runtime.GateStable, Of: string(a.Plan), For: a.For, AtMost: a.AtMost, Pos: c.Pos}
	if a.AtLeast != nil {
		g.AtLeast = *a.AtLeast
	}
	if a.For <= 0 {
		c.Report(`done(plan) waits for no time`, "stable wants a time, such as \"7d\"")
	}
	if a.AtMost < 0 {
		c.Report("", "stable: at_most cannot be negative")
	}
	return g, nil
}

type approvedArgs struct {
	Name call.PlanName `arg:"name" doc:"what a person approves of: any word, by which infra decide names it"`
}

func approvedSpec() call.Spec {
	return call.New(call.Spec{
		Name:    "approved",
		Level:   call.InFile,
		Doc:     "A gate that a person opens: infra decide NAME go. It closes when a person says no-go.",
		Returns: "gate",
		Example: `when_allowed = [approved("weekend-window")] # plan(after = when_allowed, ...)`,
	}, func(c *call.Call, a approvedArgs) (starlark.Value, error) {
		return &runtime.Gate{Kind: runtime.GateApproved, Of: string(a.Name), Pos: c.Pos}, nil
	})
}

func goSpec() call.Spec {
	return call.New(call.Spec{
		Name:  "go",
		Level: call.InFile,
		Doc: "A gate that opens when the checks of a plan say GO: all held when they were run last. Where only optional ones failed it is a CONDITIONAL GO, " +
			"and wants a person's word that knows of them: infra decide PLAN go. It is closed where a required check failed, and where a person said no-go.",
		Returns: "gate",
		Example: `on_go = [go("validation")] # plan(after = on_go, ...)`,
	}, func(c *call.Call, a planGateArgs) (starlark.Value, error) {
		return &runtime.Gate{Kind: runtime.GateGo, Of: string(a.Plan), Pos: c.Pos}, nil
	})
}

// checkGates reports gates that are there twice: --override could not tell them apart.
func checkGates(c *call.Call, p *runtime.Plan) {
	seen := map[string]bool{}
	for _, g := range p.After {
		if seen[g.Name()] {
			runtime.ReadingFrom(c.Context()).Report(g.Pos, "leave the weaker one out", "the plan has two gates %s", g.Name())
		}
		seen[g.Name()] = true
	}
}

func planNames(names []call.PlanName) []string {
	var list []string
	for _, n := range names {
		list = append(list, string(n))
	}
	return list
}

package core

import (
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
)

type planArgs struct {
	Steps  []*runtime.Step  `arg:"steps" default:"" doc:"what is done; the order is by needs"`
	Hosts  []*runtime.Host  `arg:"hosts,keyword" default:"" doc:"the hosts that the plan may change"`
	Checks []*runtime.Check `arg:"checks,keyword" default:"" doc:"what must hold when every step has succeeded"`
	Title  string           `arg:"title,keyword" default:"" doc:"a few words for people"`
	Phase  int              `arg:"phase,keyword" default:"-1" doc:"the phase of the migration"`
	After  []*runtime.Gate  `arg:"after,keyword" default:"" doc:"gates, all of which must be open before the first step begins"`
	Phases []call.PlanName  `arg:"phases,keyword" default:"" doc:"the names of other plans beside this file, in order, which this one is made of; it has no steps of its own"`

	OnFailure string `arg:"on_failure,keyword" default:"keep" doc:"\"keep\" keeps what was done when a step fails, and does what does not need it; \"undo\" starts nothing more and takes back what was done, as infra undo does. A failed check, a held step and Ctrl-C take nothing back."`
}

func planSpec() call.Spec {
	return call.New(call.Spec{
		Name:    "plan",
		Level:   call.InFile,
		Doc:     "One phase of changing a fleet. A plan file binds exactly one global to a plan, and that is the plan's name.",
		Returns: "plan",
		Example: `hello = plan(title = "Say hello", steps = [step(lambda: log("hello"), name = "greet")])`,
	}, newPlan)
}

func newPlan(c *call.Call, a planArgs) (starlark.Value, error) {
	p := &runtime.Plan{Title: a.Title, Phase: a.Phase, Hosts: a.Hosts, Checks: a.Checks, Pos: c.Pos, UndoOnFailure: a.OnFailure == "undo"}
	p.After, p.Phases = a.After, planNames(a.Phases)
	if len(p.Phases) > 0 {
		if len(a.Steps)+len(a.Checks)+len(a.After)+len(a.Hosts) > 0 {
			c.Report("each of the other plans has its own", "a plan of phases has no steps, checks, gates or hosts")
		}
		return p, nil
	}
	checkGates(c, p)
	if len(a.Steps) == 0 && len(a.Checks) == 0 {
		c.Report("steps = [step(fn)]", "the plan has neither steps nor checks")
	}
	checkHosts(c, p)
	// Steps are copied because a library may hand the same step to two plans.
	steps := make([]*runtime.Step, len(a.Steps))
	for i, s := range a.Steps {
		dup := *s
		steps[i] = &dup
	}
	resolveNeeds(c, a.Steps, steps)
	p.Steps = inOrder(c, steps)
	checkNames(c, p)
	for _, s := range steps {
		checkFanOut(c, p, s)
	}
	checkOnFailure(c, p, a.OnFailure)
	return p, nil
}

// checkOnFailure reports what can have no effect, or contradicts itself.
func checkOnFailure(c *call.Call, p *runtime.Plan, policy string) {
	if policy != "keep" && policy != "undo" {
		c.Report(`"keep" or "undo"`, "the plan has on_failure = %q", policy)
	}
	if !p.UndoOnFailure {
		return
	}
	if !slices.ContainsFunc(p.Steps, func(s *runtime.Step) bool { return s.Undo != nil }) {
		c.Report("step(fn, undo = ...) says how a step is taken back", `the plan has on_failure = "undo", and no step has an undo`)
	}
	for _, s := range p.Steps {
		if s.OnFailure == runtime.ContinueOnFailure {
			report(c, s, `leave on_failure = "continue" out, or the plan's on_failure`,
				`step %s goes on after a failure, and the plan's on_failure = "undo" does not`, s.Name)
		}
	}
}

// report notes a problem at a step or check rather than at plan().
func report(c *call.Call, s *runtime.Step, hint, format string, args ...any) {
	runtime.ReadingFrom(c.Context()).Report(s.Pos, hint, format, args...)
}

func checkHosts(c *call.Call, p *runtime.Plan) {
	seen := map[string]bool{}
	for _, h := range p.Hosts {
		if seen[h.Name] {
			c.Report("", "host %s is listed twice", h.Name)
		}
		seen[h.Name] = true
	}
}

func checkNames(c *call.Call, p *runtime.Plan) {
	steps := map[string]bool{}
	for _, s := range p.Steps {
		if steps[s.Name] {
			report(c, s, `step(fn, name = "...")`, "two steps are called %s", s.Name)
		}
		steps[s.Name] = true
	}
	type id struct{ name, host string }
	checks := map[id]bool{}
	for _, ch := range p.Checks {
		key := id{name: ch.Name}
		if ch.Host != nil {
			key.host = ch.Host.Name
		}
		if checks[key] {
			runtime.ReadingFrom(c.Context()).Report(ch.Pos, `check(fn, name = "...")`, "two checks are called %s", ch.Name)
		}
		checks[key] = true
	}
}

// resolveNeeds finds the steps that needs name, by the step itself or by its
// function. given are the steps as the file made them, steps their copies.
func resolveNeeds(c *call.Call, given, steps []*runtime.Step) {
	byFn := map[*starlark.Function][]*runtime.Step{}
	byStep := map[*runtime.Step]*runtime.Step{}
	for i, s := range given {
		byStep[s] = steps[i]
		if fn, ok := s.Fn.(*starlark.Function); ok {
			byFn[fn] = append(byFn[fn], steps[i])
		}
	}
	for _, s := range steps {
		for _, w := range s.Wants {
			var found []*runtime.Step
			switch w := w.(type) {
			case *runtime.Step:
				if x := byStep[w]; x != nil {
					found = []*runtime.Step{x}
				}
			case *starlark.Function:
				found = byFn[w]
			default:
				continue // reported where the step was made
			}
			name, _ := needName(w)
			switch len(found) {
			case 1:
				s.Needs = append(s.Needs, found[0])
			case 0:
				report(c, s, "add step("+name+") to the plan's steps", "step %s needs %s, which is no step of this plan", s.Name, name)
			default:
				report(c, s, "bind the step to a name and need that: a = step(f, name = \"a\"), needs = [a]",
					"step %s needs %s, which is the function of %d steps", s.Name, name, len(found))
			}
		}
	}
}

// inOrder sorts steps so that each stands after what it needs, and otherwise
// as the file lists them. It reports steps that need each other in a ring.
func inOrder(c *call.Call, steps []*runtime.Step) []*runtime.Step {
	const visiting, done = 1, 2
	state := map[*runtime.Step]int{}
	var order, path []*runtime.Step
	var visit func(*runtime.Step)
	visit = func(s *runtime.Step) {
		switch state[s] {
		case done:
			return
		case visiting:
			ring := append(path[slices.Index(path, s):len(path):len(path)], s)
			names := make([]string, len(ring))
			for i, r := range ring {
				names[i] = r.Name
			}
			report(c, s, "take one need out", "steps need each other in a ring: %s", strings.Join(names, " -> "))
			return
		}
		state[s] = visiting
		path = append(path, s)
		for _, n := range s.Needs {
			visit(n)
		}
		path = path[:len(path)-1]
		state[s] = done
		order = append(order, s)
	}
	for _, s := range steps {
		visit(s)
	}
	return order
}

// checkFanOut reports hosts that the plan does not list, and needs that have
// no result for one of the step's hosts.
func checkFanOut(c *call.Call, p *runtime.Plan, s *runtime.Step) {
	if !s.FansOut() {
		return
	}
	listed := names(p.Hosts)
	for _, h := range s.Each {
		if !listed[h.Name] {
			report(c, s, fmt.Sprintf("add %s to the plan's hosts", h.Name), "step %s runs on %s, which the plan does not list", s.Name, h.Name)
		}
	}
	if len(names(s.Each)) < len(s.Each) {
		report(c, s, "", "step %s lists a host twice", s.Name)
	}
	for _, n := range s.Needs {
		if !n.FansOut() {
			continue
		}
		has := names(n.Each)
		for _, h := range s.Each {
			if !has[h.Name] {
				report(c, s, "fan both out over the same hosts", "step %s runs on %s, for which %s has no result", s.Name, h.Name, n.Name)
			}
		}
	}
}

func names(hosts []*runtime.Host) map[string]bool {
	set := make(map[string]bool, len(hosts))
	for _, h := range hosts {
		set[h.Name] = true
	}
	return set
}

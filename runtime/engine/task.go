package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"infra/runtime"
)

// A task is one call of a step's function: the step itself, or its share for
// one host. Or it is a check.
type task struct {
	run   *run
	group *group
	host  *runtime.Host // nil where the step does not fan out
	check *runtime.Check

	canary  bool // must succeed before the other hosts of the step start
	own     bool // its host is the machine that we run on: it waits for the other hosts
	needs   []need
	waiting int                   // needs that have not ended
	next    []*task               // tasks that wait for this one
	blocked *task                 // a need that did not succeed
	cause   *runtime.SkippedError // why it was not started; nil where it was, or something else kept it
	value   starlark.Value
	status  runtime.Status // "" until it has ended
	history *history       // of a preview, once it has begun
	replay  *replay        // of what was done of it before; nil: nothing
	feats   []feat         // what was done of it that must not be repeated
	redone  int            // how many of feats this attempt has come by

	reviewed int // operations of this attempt that were let through, of those that were reviewed
}

// A need is what a task gets from another step: the result of one task, or of
// all its hosts.
type need struct {
	tasks []*task
	all   bool // a dict by host name
}

// A group is the tasks of one step, and the rules for starting them.
type group struct {
	step     *runtime.Step // nil for a check
	tasks    []*task       // in the order of each
	queue    []*task       // ready to run
	active   int
	canaries int   // that have not succeeded yet
	failed   *task // why no further host starts
	others   int   // hosts that have not ended, but for the own machine
	unwell   *task // the first of them that did not succeed
	held     error // why none starts: the question was not answered with yes
	answer   answer
	listed   bool // in the scheduler's list of groups with something to start
	whole    whole
}

// answer is where a group's question stands.
type answer uint8

const (
	notAsked answer = iota
	asking
	answeredYes
)

// tasks is everything a run will do.
type tasks struct {
	groups []*group
	steps  []*runtime.Step
	checks []*runtime.Check
}

// build makes the tasks of the selected steps and hosts. It is linear in steps
// times hosts.
func build(p *runtime.Plan, only, hosts []string) (*tasks, error) {
	if err := known("host", hosts, p.Hosts, func(h *runtime.Host) string { return h.Name }); err != nil {
		return nil, err
	}
	if err := known("step", only, p.Steps, func(s *runtime.Step) string { return s.Name }); err != nil {
		return nil, err
	}
	chosen := set(hosts)
	b := builder{byStep: map[*runtime.Step]*group{}, byHost: map[*runtime.Step]map[string]*task{}}
	selected := selection(p.Steps, only)
	out := &tasks{}
	for _, s := range p.Steps {
		if selected[s] {
			g := b.add(s, chosen)
			out.groups = append(out.groups, g)
			out.show(g.shown())
		}
	}
	if len(only) == 0 {
		for _, c := range p.Checks {
			if len(hosts) == 0 || c.Host == nil || chosen[c.Host.Name] {
				out.checks = append(out.checks, c)
			}
		}
	}
	return out, nil
}

// show adds a step to those that readers are told of. Steps of one name, which
// take back a fan-out host by host, are one step to them.
func (t *tasks) show(s *runtime.Step) {
	n := len(t.steps)
	if n == 0 || t.steps[n-1].Name != s.Name {
		t.steps = append(t.steps, s)
		return
	}
	all := *t.steps[n-1]
	all.Each = append(slices.Clip(all.Each), s.Each...)
	t.steps[n-1] = &all
}

// known says which of the names is not there, and what is.
func known[T any](what string, names []string, all []T, name func(T) string) error {
	var there []string
	for _, x := range all {
		there = append(there, name(x))
	}
	for _, n := range names {
		if !slices.Contains(there, n) {
			return runtime.WithHint(fmt.Errorf("%w: the plan has no %s %q", ErrSelection, what, n), "there are: %s", strings.Join(there, ", "))
		}
	}
	return nil
}

// selection is the named steps and what they need; all where none is named.
func selection(steps []*runtime.Step, only []string) map[*runtime.Step]bool {
	want, named := map[*runtime.Step]bool{}, set(only)
	for _, s := range slices.Backward(steps) { // needs stand before what needs them
		if len(only) == 0 || named[s.Name] || want[s] {
			want[s] = true
			for _, n := range s.Needs {
				want[n] = true
			}
		}
	}
	return want
}

type builder struct {
	byStep map[*runtime.Step]*group
	byHost map[*runtime.Step]map[string]*task
}

// add makes the tasks of s, whose needs have been added before.
func (b *builder) add(s *runtime.Step, chosen map[string]bool) *group {
	g := &group{step: s}
	b.byStep[s] = g
	if !s.FansOut() {
		b.connect(g, &task{group: g})
		return g
	}
	b.byHost[s] = make(map[string]*task, len(s.Each))
	for _, h := range s.Each {
		if len(chosen) > 0 && !chosen[h.Name] {
			continue
		}
		t := &task{group: g, host: h, canary: len(g.tasks) < s.Canary}
		if t.canary {
			g.canaries++
		}
		b.byHost[s][h.Name] = t
		b.connect(g, t)
	}
	return g
}

func (b *builder) connect(g *group, t *task) {
	g.tasks = append(g.tasks, t)
	for _, s := range g.step.Needs {
		n := need{tasks: b.byStep[s].tasks}
		switch {
		case s.FansOut() && t.host != nil && b.byHost[s][t.host.Name] != nil:
			n.tasks = []*task{b.byHost[s][t.host.Name]}
		case s.FansOut():
			n.all = true
		}
		for _, x := range n.tasks {
			x.next = append(x.next, t)
			t.waiting++
		}
		t.needs = append(t.needs, n)
	}
}

// shown is the step with the hosts that were chosen, for readers of events.
func (g *group) shown() *runtime.Step {
	if len(g.tasks) == len(g.step.Each) || !g.step.FansOut() {
		return g.step
	}
	s := *g.step
	s.Each = make([]*runtime.Host, len(g.tasks))
	for i, t := range g.tasks {
		s.Each[i] = t.host
	}
	return &s
}

// checkGroups makes the tasks of the checks.
func checkGroups(checks []*runtime.Check) []*group {
	var groups []*group
	for _, c := range checks {
		g := &group{}
		g.tasks = []*task{{group: g, check: c, host: c.Host}}
		groups = append(groups, g)
	}
	return groups
}

// name is the step's or the check's.
func (t *task) name() string {
	if t.check != nil {
		return t.check.Name
	}
	return t.group.step.Name
}

// event starts an event about the task.
func (t *task) event(kind runtime.EventKind) runtime.Event {
	e := runtime.Event{Kind: kind, Step: t.name(), Check: t.check != nil}
	if t.host != nil {
		e.Host = t.host.Name
	}
	if t.check != nil {
		e.Pos = t.check.Pos
	} else {
		e.Pos = t.group.step.Pos
	}
	return e
}

// args are what the step's function receives.
func (t *task) args() starlark.Tuple {
	var args starlark.Tuple
	if t.host != nil {
		args = append(args, t.host)
	}
	for _, n := range t.needs {
		if !n.all {
			args = append(args, n.tasks[0].value)
			continue
		}
		d := starlark.NewDict(len(n.tasks))
		for _, x := range n.tasks {
			_ = d.SetKey(starlark.String(x.host.Name), x.value) // a string key in a new dict cannot fail
		}
		d.Freeze()
		args = append(args, d)
	}
	return args
}

type taskKey struct{}

func withTask(ctx context.Context, t *task) context.Context {
	return context.WithValue(ctx, taskKey{}, t)
}

func taskOf(ctx context.Context) *task {
	t, _ := ctx.Value(taskKey{}).(*task)
	return t
}

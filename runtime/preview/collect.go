package preview

import "infra/runtime"

// A Collector reads the events of a dry run, one at a time.
type Collector struct {
	order  []place
	steps  map[place]*collected
	first  map[string]*collected // of each step, of its hosts the first
	inputs *inputs
	ended  bool
}

// NewCollector makes a collector for the project at root.
func NewCollector(root string) *Collector {
	return &Collector{steps: map[place]*collected{}, first: map[string]*collected{}, inputs: newInputs(root)}
}

// NewWatching makes a collector that takes down all that the preview looks at
// as well, for who makes another one when that changes.
func NewWatching(root string) *Collector {
	c := NewCollector(root)
	c.inputs.every = true
	return c
}

// A place is where an operation belongs: a step, and the host of its fan-out.
type place struct{ step, host string }

type collected struct {
	end    *runtime.Event
	doubts []string
	ops    []runtime.Event // OpEnded, in order: a step asks for one after the other
}

// Read takes the next event.
func (c *Collector) Read(e runtime.Event) {
	switch e.Kind {
	case runtime.RunStarted:
		c.expect(e.Start.Steps)
		return
	case runtime.RunEnded:
		c.ended = e.Status != runtime.Interrupted
		return
	}
	s := c.steps[place{e.Step, e.Host}]
	if e.Kind == runtime.Doubted { // told once for all hosts of a step
		s = c.first[e.Step]
	}
	if s == nil || e.Check {
		return
	}
	switch e.Kind {
	case runtime.StepRetried:
		s.ops = nil
	case runtime.OpAsked:
		c.inputs.look(e.Op.Op)
	case runtime.OpEnded:
		if e.Op.Op.Effect != runtime.Read {
			s.ops = append(s.ops, e)
		}
	case runtime.Doubted:
		s.doubts = append(s.doubts, e.Text)
	case runtime.StepEnded:
		end := e // every event would be put on the heap for a pointer to it
		s.end = &end
	}
}

func (c *Collector) expect(steps []*runtime.Step) {
	add := func(p place) {
		c.order = append(c.order, p)
		c.steps[p] = new(collected)
		if c.first[p.step] == nil {
			c.first[p.step] = c.steps[p]
		}
	}
	for _, s := range steps {
		if !s.FansOut() {
			add(place{step: s.Name})
		}
		for _, h := range s.Each {
			add(place{s.Name, h.Name})
		}
	}
}

// Look takes down an operation that is carried out while the plan's files are
// read, before it is.
func (c *Collector) Look(op runtime.Op) { c.inputs.look(op) }

// Inputs are what the preview, as far as it came, looked at on this machine,
// without what its plan writes there, sorted by path; for a collector that
// [NewWatching] made. Of what lies outside the project only local flakes count,
// with their inputs from here; .git and .infra never do.
func (c *Collector) Inputs() []Input { return c.inputs.list() }

// Writes are the paths that the plan's operations may alter in the project, each
// with all that lies below it, sorted: a change there was not made by a person.
func (c *Collector) Writes() []string { return c.inputs.written() }

// Complete says whether the dry run came to its end.
func (c *Collector) Complete() bool { return c.ended }

// Fill puts into the document what the dry run showed. Every secret that it
// met is known by now, whichever step met it first.
func (c *Collector) Fill(d *Document) error {
	d.Steps = []Step{}
	for _, p := range c.order {
		s, err := c.steps[p].step(p)
		if err != nil {
			return err
		}
		d.Steps = append(d.Steps, s)
	}
	d.Files = runtime.SourcesOf(c.inputs.read)
	return nil
}

func (c *collected) step(p place) (Step, error) {
	s := Step{Name: p.step, Host: p.host, Status: string(runtime.Interrupted), Operations: []Operation{}}
	for _, d := range c.doubts {
		s.Doubts = append(s.Doubts, runtime.Scrub(d))
	}
	if c.end != nil {
		s.Status = string(c.end.Status)
		if c.end.Err != nil {
			s.Why = runtime.Scrub(c.end.Err.Error())
		}
	}
	for _, e := range c.ops {
		o, err := operationOf(e)
		if err != nil {
			return s, err
		}
		s.Operations = append(s.Operations, o)
	}
	return s, nil
}

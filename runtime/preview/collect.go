package preview

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"

	"infra/runtime"
)

// A Collector reads the events of a dry run, one at a time.
type Collector struct {
	root  string
	order []place
	steps map[place]*collected
	files map[string]string // the digests of files that were read, by path from the root
	ended bool
}

// NewCollector makes a collector for a project.
func NewCollector(root string) *Collector {
	return &Collector{root: root, steps: map[place]*collected{}, files: map[string]string{}}
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
	if s == nil || e.Check {
		return
	}
	switch e.Kind {
	case runtime.StepRetried:
		s.ops = nil
	case runtime.OpAsked:
		c.look(e.Op.Op)
	case runtime.OpEnded:
		if e.Op.Op.Effect != runtime.Read {
			s.ops = append(s.ops, e)
		}
	case runtime.Doubted:
		s.doubts = append(s.doubts, e.Text)
	case runtime.StepEnded:
		s.end = &e
	}
}

func (c *Collector) expect(steps []*runtime.Step) {
	add := func(p place) {
		c.order = append(c.order, p)
		c.steps[p] = new(collected)
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

// look takes the digests of the files that an operation is about to read. What
// is made of a secret shows nowhere else: only its file tells that it changed.
func (c *Collector) look(op runtime.Op) {
	if op.Effect != runtime.Read || op.Host != "" {
		return
	}
	for _, name := range op.Looks {
		rel, err := filepath.Rel(c.root, name)
		if err != nil || !filepath.IsLocal(rel) || strings.HasPrefix(rel, ".infra"+string(filepath.Separator)) {
			continue
		}
		rel = filepath.ToSlash(rel)
		if _, again := c.files[rel]; again {
			continue
		}
		if digest, err := digestOf(name); err == nil { // else it is no file, which the step itself meets
			c.files[rel] = digest
		}
	}
}

func digestOf(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", os.ErrInvalid
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

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
	d.Files = runtime.SourcesOf(c.files)
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

package terraform

import (
	"slices"

	tfjson "github.com/hashicorp/terraform-json"
)

// What a change does to a resource. The first four are lists of a plan's own;
// the others alter the state and nothing that it stands for.
const (
	create  = "create"
	update  = "update"
	replace = "replace"
	remove  = "delete"
	forget  = "forget" // it lives on, and terraform knows nothing of it
	adopt   = "import"
	move    = "move"
)

// A planned is what a plan of terraform's says, free of secrets: all that is
// shown of it, and all that its digest is made of, so that what a person reads
// and what a run is held to are one.
type planned struct {
	Changes []change
	Outputs []output
	Drift   []string `json:"-"` // what was changed, or deleted, by others than terraform
	Partial bool     // there is more to do than terraform could plan
}

// A change is what becomes of one resource.
type change struct {
	Address, Type, Name, Action string

	ID       string      `json:",omitempty"` // of what is replaced or deleted
	Was      string      `json:",omitempty"` // the address that it had before
	Deposed  string      `json:",omitempty"` // it is what an earlier replace left
	Reason   string      `json:",omitempty"` // why it is replaced, where no attribute is
	Installs bool        `json:",omitempty"` // its provisioners run
	Attrs    []attribute `json:",omitempty"` // that differ; of what is deleted, none
}

// An attribute is one value of a resource, before and after, as JSON.
type attribute struct {
	Path   string
	Before string `json:",omitempty"`
	After  string `json:",omitempty"`
	Forces bool   `json:",omitempty"` // a replace

	unknown bool
}

// An output is one of the configuration's outputs.
type output struct {
	Name      string
	Action    string // create, update, remove, or "" where it stays as it is
	Before    string `json:",omitempty"`
	After     string `json:",omitempty"`
	Sensitive bool   `json:",omitempty"`

	value   any    // as JSON has it; without the parts that are not known
	unknown any    // true, or what of the value is not known, as terraform writes it
	origin  string // the address whose attribute it is, or ""
}

// known says whether the whole value is known before the apply.
func (o output) known() bool { return o.Action != remove && !anyTrue(o.unknown) }

// read makes sense of a plan. What secrets hold is nowhere in the result, and
// neither is what terraform calls sensitive, wherever else in the plan it
// stands: a provider copies it into attributes that terraform does not mark.
func read(p *tfjson.Plan, secrets []string) planned {
	if p == nil {
		return planned{}
	}
	hide := hiding(p, secrets)
	install := installers(p.Config)
	out := planned{Partial: p.Complete != nil && !*p.Complete || len(p.DeferredChanges) > 0}
	for _, rc := range p.ResourceChanges {
		if c, ok := readChange(rc, hide); ok {
			c.Installs = installs(c, install)
			out.Changes = append(out.Changes, c)
		}
	}
	for _, rc := range p.ResourceDrift {
		if what := actionOf(rc); what == remove || what == update {
			out.Drift = append(out.Drift, rc.Address+" was "+map[string]string{remove: "deleted", update: "changed"}[what])
		}
	}
	from := origins{p.Config, out.Changes}
	for name, c := range p.OutputChanges {
		if c != nil {
			out.Outputs = append(out.Outputs, readOutput(name, c, p.Config, hide))
		}
	}
	slices.SortFunc(out.Outputs, func(a, b output) int { return compare(a.Name, b.Name) })
	for i := range out.Outputs {
		if o := &out.Outputs[i]; anyTrue(o.unknown) {
			o.origin = from.of(o.Name)
		}
	}
	slices.SortStableFunc(out.Changes, func(a, b change) int { return compare(a.Address, b.Address) })
	return out
}

func readChange(rc *tfjson.ResourceChange, hide mask) (change, bool) {
	action := actionOf(rc)
	if action == "" {
		return change{}, false
	}
	c := change{Address: rc.Address, Type: rc.Type, Name: rc.Name, Action: action, Deposed: rc.DeposedKey}
	if rc.PreviousAddress != rc.Address {
		c.Was = rc.PreviousAddress
	}
	if action == replace {
		c.Reason = reasons[rc.ActionReason]
	}
	d := differ{mask: hide, new: rc.Change.Before == nil}
	if action == replace || action == remove {
		c.ID = d.identity(rc.Change)
	}
	if action == remove || action == forget {
		return c, true
	}
	d.object("", sides{rc.Change.Before, rc.Change.After, rc.Change.BeforeSensitive, rc.Change.AfterSensitive, rc.Change.AfterUnknown})
	c.Attrs = d.found
	for i := range c.Attrs {
		c.Attrs[i].Forces = action == replace && forces(rc.Change.ReplacePaths, c.Attrs[i].Path)
	}
	return c, true
}

// reasons are terraform's for a replace that no attribute forces.
var reasons = map[tfjson.ActionReason]string{
	tfjson.ActionReasonReplaceBecauseTainted: "it is tainted: it was left half made",
	tfjson.ActionReasonReplaceByRequest:      "it was asked for",
	tfjson.ActionReasonReplaceByTriggers:     "replace_triggered_by",
}

// actionOf is the word for what is done to a resource; "" where nothing is. What
// a future terraform combines counts as the worst of it.
func actionOf(rc *tfjson.ResourceChange) string {
	if rc == nil || rc.Change == nil {
		return ""
	}
	has := func(a tfjson.Action) bool { return slices.Contains(rc.Change.Actions, a) }
	switch {
	case has(tfjson.ActionDelete) && has(tfjson.ActionCreate):
		return replace
	case has(tfjson.ActionDelete):
		return remove
	case has(tfjson.ActionCreate):
		return create
	case has(tfjson.ActionForget):
		return forget
	case has(tfjson.ActionUpdate):
		return update
	case rc.Change.Importing != nil:
		return adopt
	case rc.PreviousAddress != "" && rc.PreviousAddress != rc.Address:
		return move
	case has(tfjson.ActionNoop), has(tfjson.ActionRead), len(rc.Change.Actions) == 0:
		return ""
	}
	return update
}

func readOutput(name string, c *tfjson.Change, config *tfjson.Config, hide mask) output {
	o := output{Name: name, Action: actionOf(&tfjson.ResourceChange{Change: c}), value: c.After, unknown: c.AfterUnknown}
	o.Sensitive = anyTrue(c.AfterSensitive) || declaredSensitive(config, name)
	if o.Action == "" {
		return o
	}
	if o.Sensitive || anyTrue(c.BeforeSensitive) {
		c = &tfjson.Change{Before: c.Before, After: c.After, AfterUnknown: c.AfterUnknown, BeforeSensitive: true, AfterSensitive: true}
	}
	o.Before = hide.text(c.Before, c.BeforeSensitive, nil)
	if o.Action != remove {
		o.After = hide.text(c.After, c.AfterSensitive, c.AfterUnknown)
	}
	return o
}

func declaredSensitive(config *tfjson.Config, name string) bool {
	if config == nil || config.RootModule == nil {
		return false
	}
	o := config.RootModule.Outputs[name]
	return o != nil && o.Sensitive
}

// list returns the addresses of what is done in one way. What stood there
// before and is now only taken away is named with its key.
func (p planned) list(action string) []string {
	out := []string{}
	for _, c := range p.Changes {
		if c.Action == action {
			out = append(out, c.Address)
		}
	}
	return out
}

// changed says whether an apply would do anything at all.
func (p planned) changed() bool {
	return len(p.Changes) > 0 || slices.ContainsFunc(p.Outputs, func(o output) bool { return o.Action != "" })
}

// unknowns are the attributes and outputs that only an apply will know.
func (p planned) unknowns() []string {
	out := []string{}
	for _, c := range p.Changes {
		for _, a := range c.Attrs {
			if a.unknown {
				out = append(out, c.Address+"."+a.Path)
			}
		}
	}
	for _, o := range p.Outputs {
		if anyTrue(o.unknown) {
			out = append(out, "output."+o.Name)
		}
	}
	return out
}

// installing are the resources whose provisioners an apply would run.
func (p planned) installing() []string {
	out := []string{}
	for _, c := range p.Changes {
		if c.Installs {
			out = append(out, c.Address)
		}
	}
	return out
}

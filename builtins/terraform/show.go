package terraform

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// ranks is the order in which changes are shown: what cannot be taken back
// first.
var ranks = map[string]int{remove: 0, replace: 1, create: 3, update: 4, adopt: 5, move: 6, forget: 7}

var signs = map[string]string{remove: "-", replace: "-/+", create: "+", update: "~", adopt: "<=", move: "->", forget: "."}

func rank(c change) int {
	if c.Installs && c.Action == create {
		return 2
	}
	return ranks[c.Action]
}

// detail is the plan as a person reviews it.
func (d *directory) detail(p planned) string {
	var b strings.Builder
	changes := slices.Clone(p.Changes)
	slices.SortStableFunc(changes, func(a, b change) int { return rank(a) - rank(b) })
	for _, c := range changes {
		d.showChange(&b, c)
	}
	for _, o := range p.Outputs {
		if o.Action != "" {
			fmt.Fprintf(&b, "%-3s output %s%s\n", signs[o.Action], o.Name, arrow(o.Before, o.After, o.Action == create))
		}
	}
	for _, was := range p.Drift {
		fmt.Fprintf(&b, "outside of terraform: %s\n", was)
	}
	if p.Partial {
		b.WriteString("there is more to do than could be planned: plan again when this is applied\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

func (d *directory) showChange(b *strings.Builder, c change) {
	notes := []string{}
	note := func(when bool, format string, args ...any) {
		if when {
			notes = append(notes, fmt.Sprintf(format, args...))
		}
	}
	note(true, "%s", words[c.Action])
	note(c.Deposed != "", "what an earlier replace left, %s", c.Deposed)
	note(c.Was != "", "it was %s", c.Was)
	note(c.Reason != "", "%s", c.Reason)
	note(d.expensive(c), "costs money")
	note(c.Installs, "runs its provisioners")
	id := ""
	if c.ID != "" {
		id = " (id " + c.ID + ")"
	}
	fmt.Fprintf(b, "%-3s %s%s: %s\n", signs[c.Action], c.Address, id, strings.Join(notes, ", "))
	for _, a := range c.Attrs {
		forces := ""
		if a.Forces {
			forces = "  forces the replace"
		}
		fmt.Fprintf(b, "      %s%s%s\n", a.Path, arrow(a.Before, a.After, a.Before == ""), forces)
	}
}

var words = map[string]string{
	remove: "is deleted", replace: "is deleted and made anew", create: "is created", update: "is updated", adopt: "is imported", move: "is moved",
	forget: "is left alone from now on",
}

// arrow is what a value becomes.
func arrow(before, after string, isNew bool) string {
	switch {
	case isNew:
		return " = " + short(after)
	case after == "":
		return " = " + short(before) + " is gone"
	}
	return " = " + short(before) + " -> " + short(after)
}

// widest is how much of a value is shown.
const widest = 240

func short(s string) string {
	if r := []rune(s); len(r) > widest {
		return fmt.Sprintf("%s... (%d bytes, %s)", string(r[:widest]), len(s), digestOf([]byte(s))[:8])
	}
	return s
}

// summary is the plan in one line: what is lost by name, the rest by number.
func (p planRecord) summary() string {
	var parts []string
	named := func(what string, list []string) {
		if n := len(list); n > 4 {
			list = append(slices.Clone(list[:4]), fmt.Sprintf("%d more", n-4))
		}
		if len(list) > 0 {
			parts = append(parts, what+" "+strings.Join(list, ", "))
		}
	}
	counted := func(what string, n int) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", what, n))
		}
	}
	named("delete", p.deletes)
	named("replace", p.replaces)
	named("run the provisioners of", p.installs)
	counted("create", len(p.creates))
	counted("update", len(p.updates))
	switch {
	case len(parts) > 0:
		return strings.Join(parts, "; ")
	case p.changed:
		return "no resource, only the state"
	}
	return "nothing to do"
}

// digest is that of all that is shown of a plan, and of the folder it is for.
func (d *directory) digest(p planned, destroy bool) string {
	data, err := json.Marshal([]any{d.shown, d.given.Workspace, destroy, p})
	if err != nil {
		return "" // never: it is text and lists of text
	}
	return digestOf(data)
}

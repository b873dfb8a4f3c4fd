package terraform

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"
)

// What stands in the place of a value. Neither can be taken for one, which is
// JSON.
const (
	afterApply = "(known after apply)"
	sensitive  = "(sensitive)"
)

func compare(a, b string) int { return cmp.Compare(a, b) }

// sides are an attribute, or a whole resource, before and after, with what
// terraform says of their parts: true, or the same shape with true within.
type sides struct {
	before, after        any
	beforeHidden, hidden any
	unknown              any
}

// A differ finds the attributes in which a resource will be another.
type differ struct {
	mask  mask
	new   bool // there is nothing before
	found []attribute
}

// object goes into what has names on both sides; all else is one value.
func (d *differ) object(path string, s sides) {
	before, wasObject := s.before.(map[string]any)
	after, isObject := s.after.(map[string]any)
	unknown, partly := s.unknown.(map[string]any)
	whole := s.beforeHidden == true || s.hidden == true || s.unknown == true
	deeper := (wasObject || s.before == nil) && (isObject || s.after == nil && partly) && (path == "" || wasObject && isObject)
	if whole || !deeper {
		d.value(path, s)
		return
	}
	names := map[string]bool{}
	for _, of := range []map[string]any{before, after, unknown} {
		for name := range of {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		at := name
		if path != "" {
			at = path + "." + name
		}
		d.object(at, sides{before[name], after[name], part(s.beforeHidden, name), part(s.hidden, name), unknown[name]})
	}
}

func (d *differ) value(path string, s sides) {
	unknown := anyTrue(s.unknown)
	if !unknown && (d.new && s.after == nil || reflect.DeepEqual(s.before, s.after)) {
		return
	}
	a := attribute{Path: path, unknown: unknown, After: d.mask.text(s.after, s.hidden, s.unknown)}
	if !d.new {
		a.Before = d.mask.text(s.before, s.beforeHidden, nil)
	}
	d.found = append(d.found, a)
}

// identity is the id of what is replaced or deleted.
func (d *differ) identity(c *tfjson.Change) string {
	object, _ := c.Before.(map[string]any)
	switch object["id"].(type) {
	case string, json.Number, float64:
		return strings.Trim(d.mask.text(object["id"], part(c.BeforeSensitive, "id"), nil), `"`)
	}
	return ""
}

// part is what terraform says of one part of a value.
func part(of any, name string) any {
	if of == true {
		return true
	}
	m, _ := of.(map[string]any)
	return m[name]
}

// forces says whether one of the paths that force a replace is path, or lies
// above or below it.
func forces(paths []any, path string) bool {
	return slices.ContainsFunc(paths, func(p any) bool {
		steps, ok := p.([]any)
		if !ok || len(steps) == 0 {
			return false
		}
		var names []string
		for _, step := range steps {
			name, ok := step.(string)
			if !ok {
				break // an element of a list, which is shown as a whole
			}
			names = append(names, name)
		}
		forcing := strings.Join(names, ".")
		return forcing == path || strings.HasPrefix(forcing, path+".") || strings.HasPrefix(path, forcing+".")
	})
}

// anyTrue says whether there is a true in what terraform says of a value.
func anyTrue(of any) bool {
	switch of := of.(type) {
	case bool:
		return of
	case []any:
		return slices.ContainsFunc(of, anyTrue)
	case map[string]any:
		for _, e := range of {
			if anyTrue(e) {
				return true
			}
		}
	}
	return false
}

// A mask replaces in text what nobody may see.
type mask struct{ secrets *strings.Replacer }

// shortest is the length of the shortest text that is replaced within others:
// below it, the plan would be hidden and not the secret.
const shortest = 4

// hiding is the mask for a plan: the secrets that it was given, and every text
// that terraform itself calls sensitive.
func hiding(p *tfjson.Plan, secrets []string) mask {
	found := map[string]bool{}
	for _, s := range secrets {
		found[s] = true
	}
	if p.Config != nil && p.Config.RootModule != nil {
		for name, v := range p.Config.RootModule.Variables {
			if given := p.Variables[name]; v != nil && v.Sensitive && given != nil {
				gather(found, given.Value, true)
			}
		}
	}
	for _, rc := range p.ResourceChanges {
		if rc != nil {
			gatherChange(found, rc.Change)
		}
	}
	for _, c := range p.OutputChanges {
		gatherChange(found, c)
	}
	return newMask(found)
}

func gatherChange(into map[string]bool, c *tfjson.Change) {
	if c != nil {
		gather(into, c.Before, c.BeforeSensitive)
		gather(into, c.After, c.AfterSensitive)
	}
}

// gather collects the texts in what is hidden of a value.
func gather(into map[string]bool, v, hidden any) {
	switch v := v.(type) {
	case string:
		if hidden == true {
			into[v] = true
		}
	case []any:
		parts, _ := hidden.([]any)
		for i, e := range v {
			if hidden == true {
				gather(into, e, true)
			} else if i < len(parts) {
				gather(into, e, parts[i])
			}
		}
	case map[string]any:
		for name, e := range v {
			gather(into, e, part(hidden, name))
		}
	}
}

func newMask(secrets map[string]bool) mask {
	var pairs []string
	longest := slices.SortedFunc(maps.Keys(secrets), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	for _, s := range longest {
		if quoted := quote(s); len(s) >= shortest {
			pairs = append(pairs, quoted[1:len(quoted)-1], sensitive)
		}
	}
	return mask{strings.NewReplacer(pairs...)}
}

// text is a value as JSON, without what is hidden of it or not known.
func (m mask) text(v, hidden, unknown any) string {
	switch {
	case unknown == true:
		return afterApply
	case hidden == true:
		return sensitive
	}
	return m.secrets.Replace(quote(masked(v, hidden, unknown)))
}

// masked is v with names in the place of what is hidden or not known.
func masked(v, hidden, unknown any) any {
	switch {
	case unknown == true:
		return afterApply
	case hidden == true:
		return sensitive
	}
	names, partly := unknown.(map[string]any)
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		hiddens, _ := hidden.([]any)
		unknowns, _ := unknown.([]any)
		for i, e := range v {
			out[i] = masked(e, at(hiddens, i), at(unknowns, i))
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for name, e := range v {
			out[name] = masked(e, part(hidden, name), names[name])
		}
		for name, u := range names {
			if _, there := v[name]; !there && anyTrue(u) {
				out[name] = masked(nil, nil, u)
			}
		}
		return out
	case nil:
		if partly && anyTrue(unknown) {
			return masked(map[string]any{}, hidden, unknown)
		}
	}
	return v
}

func at(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nil
}

// quote is a value as JSON that people read.
func quote(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprintf("(%T)", v) // what came from JSON can be written as JSON
	}
	return strings.TrimSuffix(b.String(), "\n")
}

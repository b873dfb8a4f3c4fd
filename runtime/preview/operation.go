package preview

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"infra/runtime"
)

// An Operation is one that does more than look, as the preview showed it. It
// holds no secret.
type Operation struct {
	Name    string   `json:"name"`
	Host    string   `json:"host,omitempty"`
	Effect  string   `json:"effect"`
	Verdict string   `json:"verdict"` // runtime.Verdict's word; "built" where it was carried out
	Show    string   `json:"show"`
	Args    Args     `json:"args"`
	Needs   string   `json:"needs,omitempty"`  // some arguments are not known yet, and stand as their names
	Note    string   `json:"note,omitempty"`   // what the preview adds
	Detail  []string `json:"detail,omitempty"` // a diff, or a list, by lines
	Error   string   `json:"error,omitempty"`  // it failed, and the plan went on
	Pos     string   `json:"pos"`
}

// operationOf is the operation that an event tells the end of.
func operationOf(e runtime.Event) (Operation, error) {
	op := e.Op.Op
	args, err := argsOf(op)
	if err != nil {
		return Operation{}, fmt.Errorf("%s (%s): %w", op.Name, op.Pos, err)
	}
	o := Operation{
		Name: op.Name, Host: op.Host, Effect: op.Effect.String(), Verdict: built, Show: runtime.Scrub(op.Show),
		Args: args, Note: runtime.Scrub(e.Text), Pos: op.Pos.String(),
	}
	if op.Needs != nil {
		o.Needs = op.Needs.String()
	}
	if p := e.Op.Prediction; p != nil {
		o.Verdict = p.Verdict.String()
		if detail := strings.TrimRight(runtime.Scrub(p.Detail), "\n"); detail != "" {
			o.Detail = strings.Split(detail, "\n")
		}
	}
	if e.Err != nil {
		o.Verdict, o.Error = string(e.Status), runtime.Scrub(e.Err.Error())
	}
	return o, nil
}

// Allows says whether op is the operation that was reviewed: the same one, on
// the same host, with the same arguments as far as those were known. Where all
// were, it reads the same too: a list of one word is not that word for a shell.
func (o Operation) Allows(op runtime.Op) bool {
	if o.Name != op.Name || o.Host != op.Host || o.Effect != op.Effect.String() {
		return false
	}
	if o.Needs == "" && normal(o.Show) != normal(runtime.Scrub(op.Show)) {
		return false
	}
	args, err := argsOf(op)
	if err != nil || len(args) != len(o.Args) {
		return false
	}
	for name, want := range o.Args {
		got, there := args[name]
		if !there || !o.matches(want, got) {
			return false
		}
	}
	return true
}

// normal is text as JSON can hold it.
func normal(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// matches compares two values of JSON. What was not known may be anything.
func (o Operation) matches(want, got any) bool {
	if o.unknown(want) {
		return true
	}
	switch want := want.(type) {
	case []any:
		return o.matchesList(want, got)
	case map[string]any:
		other, ok := got.(map[string]any)
		if !ok || len(other) != len(want) {
			return false
		}
		for k, w := range want {
			if g, there := other[k]; !there || !o.matches(w, g) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(want, got)
}

// matchesList compares lists. One that is not known as a whole stands as a
// list of its name.
func (o Operation) matchesList(want []any, got any) bool {
	other, ok := got.([]any)
	if len(want) == 1 && o.unknown(want[0]) {
		return ok
	}
	if !ok || len(other) != len(want) {
		return false
	}
	for i := range want {
		if !o.matches(want[i], other[i]) {
			return false
		}
	}
	return true
}

// unknown says whether a value is the name of what is not known. Only where
// the preview said so: text of a plan may look like one.
func (o Operation) unknown(v any) bool {
	s, ok := v.(string)
	return ok && o.Needs != "" && strings.HasPrefix(s, "(known after ") && strings.HasSuffix(s, ")")
}

// String is the operation in one line.
func (o Operation) String() string {
	show := strings.Join(strings.Fields(o.Show), " ")
	if o.Host != "" && !strings.Contains(show, o.Host) {
		show += " on " + o.Host
	}
	return o.Name + " " + show
}

// arguments are the arguments in one line.
func (o Operation) arguments() string { return jsonOf(o.Args) }

// What is the operation with its arguments, for where its line says too little.
func (o Operation) What() string { return o.String() + " " + o.arguments() }

// What is an operation of a run as [Operation.What] prints one that was
// reviewed, without secrets.
func What(op runtime.Op) string {
	args, err := argsOf(op)
	if err != nil {
		args = nil
	}
	return Operation{Name: op.Name, Host: op.Host, Show: runtime.Scrub(op.Show), Args: args}.What()
}

// jsonOf is a value of JSON in one line.
func jsonOf(x any) string {
	data, err := encode(x)
	if err != nil {
		return "{}"
	}
	var b bytes.Buffer
	if json.Compact(&b, data) != nil {
		return "{}"
	}
	return b.String()
}

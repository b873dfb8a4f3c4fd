package runtime

import (
	"fmt"
	"slices"
	"strings"

	starlarkjson "go.starlark.net/lib/json"
	"go.starlark.net/starlark"
)

// A Record is what an operation hands to the plan: named fields in a fixed
// order, some of which may be [Unknown] in a dry run. A record with a stdout
// also answers .json() and .lines().
type Record struct {
	kind   string
	fields []Field
}

// A Field is one named value of a Record.
type Field struct {
	Name  string
	Value starlark.Value
}

var _ starlark.HasAttrs = (*Record)(nil)

// NewRecord makes a record; kind is what type() says, "command_result".
func NewRecord(kind string, fields ...Field) *Record {
	return &Record{kind, fields}
}

// CommandResult is the one shape of a command's result, whether it ran, was
// previewed, or was answered from the journal.
func CommandResult(stdout, stderr, code starlark.Value, changed starlark.Value) *Record {
	return NewRecord("command_result", Field{"stdout", stdout}, Field{"stderr", stderr},
		Field{"code", code}, Field{"changed", changed})
}

// Fields returns the fields in order, unknown ones included.
func (r *Record) Fields() []Field { return r.fields }

// String prints the fields as a plan author would write them.
func (r *Record) String() string {
	parts := make([]string, len(r.fields))
	for i, f := range r.fields {
		parts[i] = f.Name + " = " + f.Value.String()
	}
	return r.kind + "(" + strings.Join(parts, ", ") + ")"
}

// Type returns the record's kind.
func (r *Record) Type() string { return r.kind }

// Freeze freezes the fields.
func (r *Record) Freeze() {
	for _, f := range r.fields {
		f.Value.Freeze()
	}
}

// Truth is always true: a command that failed raises, it does not return false.
func (r *Record) Truth() starlark.Bool { return true }

// Hash refuses: records are results, not keys.
func (r *Record) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: %s", r.kind) }

// Attr returns a field, or json or lines where there is a stdout. A field that
// only a real run will know is [Unknown].
func (r *Record) Attr(name string) (starlark.Value, error) {
	if v := r.field(name); v != nil {
		return v, nil
	}
	if r.field("stdout") == nil {
		return nil, nil
	}
	switch name {
	case "json":
		return starlark.NewBuiltin("json", r.json), nil
	case "lines":
		return starlark.NewBuiltin("lines", r.lines), nil
	}
	return nil, nil
}

// AttrNames lists the fields and methods, for spelling hints.
func (r *Record) AttrNames() []string {
	var names []string
	for _, f := range r.fields {
		names = append(names, f.Name)
	}
	if r.field("stdout") != nil {
		names = append(names, "json", "lines")
	}
	slices.Sort(names)
	return names
}

func (r *Record) field(name string) starlark.Value {
	for _, f := range r.fields {
		if f.Name == name {
			return f.Value
		}
	}
	return nil
}

func (r *Record) json(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if err := starlark.UnpackArgs("json", args, kwargs); err != nil {
		return nil, err
	}
	out := r.field("stdout")
	if u, ok := out.(Unknown); ok {
		return u.As(PlainData), nil
	}
	text, _ := starlark.AsString(out)
	return starlark.Call(thread, starlarkjson.Module.Members["decode"], starlark.Tuple{starlark.String(text)}, nil)
}

func (r *Record) lines(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if err := starlark.UnpackArgs("lines", args, kwargs); err != nil {
		return nil, err
	}
	out := r.field("stdout")
	if u, ok := out.(Unknown); ok {
		return u.As(StringsShape), nil
	}
	text, _ := starlark.AsString(out)
	var lines []starlark.Value
	for l := range strings.Lines(text) {
		lines = append(lines, starlark.String(strings.TrimRight(l, "\r\n")))
	}
	return starlark.NewList(lines), nil
}

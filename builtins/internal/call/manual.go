package call

import (
	"fmt"
	"strings"
)

// Manual is the builtin's page of documentation, in plain text.
func (s Spec) Manual() string {
	var b strings.Builder
	var names []string
	keyword := false
	for _, p := range s.Params {
		if p.Keyword && !keyword {
			names, keyword = append(names, "*"), true
		}
		if p.Optional {
			names = append(names, p.Name+" = "+p.shownDefault())
		} else {
			names = append(names, p.Name)
		}
	}
	fmt.Fprintf(&b, "%s(%s)", s.called(), strings.Join(names, ", "))
	if s.Returns != "" {
		fmt.Fprintf(&b, " -> %s", s.Returns)
	}
	fmt.Fprintf(&b, "\n\n%s\n\n%s\n", s.Doc, s.where())
	if len(s.Params) > 0 {
		b.WriteString("\nParameters:\n")
	}
	for _, p := range s.Params {
		fmt.Fprintf(&b, "  %s: %s\n      %s\n", p.Name, p.Type, p.Doc)
	}
	if len(s.Fields) > 0 {
		b.WriteString("\nThe result has:\n")
	}
	for _, f := range s.Fields {
		fmt.Fprintf(&b, "  %s: %s", f.Name, f.Type)
		if f.Doc != "" {
			fmt.Fprintf(&b, ", %s", f.Doc)
		}
		b.WriteByte('\n')
	}
	if s.Example != "" {
		fmt.Fprintf(&b, "\nExample:\n  %s\n", strings.ReplaceAll(strings.TrimSpace(s.Example), "\n", "\n  "))
	}
	return b.String()
}

// called is the builtin's name as a plan writes it. A method's value has the
// name of what made it.
func (s Spec) called() string {
	if s.Receiver == "" {
		return s.Name
	}
	return last(s.Receiver) + "." + last(s.Name)
}

func last(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

func (s Spec) where() string {
	if s.Receiver != "" {
		return fmt.Sprintf("A method of what %s returns. Effect: %s. It is called inside a step.", s.Receiver, s.Effect)
	}
	switch s.Level {
	case InFile:
		return "Declares: it is called at the top level of a file."
	case Input:
		return "Effect: read. It is called inside a step, or at the top level of a file."
	case Anywhere:
		return "Computes: it may be called anywhere, and has no effect on the world."
	}
	return fmt.Sprintf("Effect: %s. It is called inside a step.", s.Effect)
}

// shownDefault is the default as a plan author would write it.
func (p Param) shownDefault() string {
	switch {
	case p.Type == "int" || p.Type == "bool":
		if p.Default == "" {
			return map[string]string{"int": "0", "bool": "False"}[p.Type]
		}
		return p.Default
	case p.Default == "" && p.Type != "string":
		return "None"
	}
	return fmt.Sprintf("%q", p.Default)
}

package main

import (
	"fmt"
	"strings"
)

// A drawing is a diagram of boxes and arrows.
type drawing struct {
	across bool // from left to right
	groups []drawnGroup
	arrows []arrow
}

// A drawnGroup is a frame round boxes; without a title there is none.
type drawnGroup struct {
	title []string
	boxes []box
}

type box struct {
	id    string   // letters and digits alone
	lines []string // foreign text
	kind  boxKind
}

type boxKind int

const (
	boxStep   boxKind = iota
	boxCheck          // it only looks
	boxPerson         // a person's word
)

type arrow struct {
	from, to, label string
}

// mermaid is the drawing as Mermaid reads it.
func (d *drawing) mermaid() string {
	var b strings.Builder
	direction := "TD"
	if d.across {
		direction = "LR"
	}
	fmt.Fprintf(&b, "flowchart %s\n", direction)
	for i, g := range d.groups {
		indent := "  "
		if g.title != nil {
			fmt.Fprintf(&b, "  subgraph group%d[%s]\n", i, mermaidText(g.title))
			indent = "    "
		}
		for _, x := range g.boxes {
			open, end := "[", "]"
			switch x.kind {
			case boxCheck:
				open, end = "([", "])"
			case boxPerson:
				open, end = "{{", "}}"
			}
			fmt.Fprintf(&b, "%s%s%s%s%s\n", indent, x.id, open, mermaidText(x.lines), end)
		}
		if g.title != nil {
			b.WriteString("  end\n")
		}
	}
	for _, a := range d.arrows {
		if a.label == "" {
			fmt.Fprintf(&b, "  %s --> %s\n", a.from, a.to)
			continue
		}
		fmt.Fprintf(&b, "  %s -->|%s| %s\n", a.from, mermaidText([]string{a.label}), a.to)
	}
	return b.String()
}

// mermaidText quotes lines. Inside of quotes Mermaid takes HTML, and entities such as
// "#35;"; a line that begins as a list does in Markdown it refuses to draw.
func mermaidText(lines []string) string {
	quoted := make([]string, len(lines))
	for i, line := range lines {
		var b strings.Builder
		digits := true // so far
		for j, r := range oneLine(line) {
			list := j == 0 && strings.ContainsRune("-*+", r) || j > 0 && digits && strings.ContainsRune(".)", r)
			digits = digits && r >= '0' && r <= '9'
			if list || strings.ContainsRune("\"#<>&`\\", r) {
				fmt.Fprintf(&b, "#%d;", r)
				continue
			}
			b.WriteRune(r)
		}
		quoted[i] = b.String()
	}
	return `"` + strings.Join(quoted, "<br/>") + `"`
}

// dot is the drawing as Graphviz reads it.
func (d *drawing) dot() string {
	var b strings.Builder
	b.WriteString("digraph infra {\n")
	if d.across {
		b.WriteString("  rankdir=LR;\n")
	}
	b.WriteString("  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=11];\n")
	for i, g := range d.groups {
		indent := "  "
		if g.title != nil {
			fmt.Fprintf(&b, "  subgraph cluster%d {\n    label=%s;\n    fontname=\"sans-serif\";\n", i, dotText(g.title))
			indent = "    "
		}
		for _, x := range g.boxes {
			shape := ""
			switch x.kind {
			case boxCheck:
				shape = ", shape=ellipse"
			case boxPerson:
				shape = ", shape=hexagon, style=solid"
			}
			fmt.Fprintf(&b, "%s%s [label=%s%s];\n", indent, x.id, dotText(x.lines), shape)
		}
		if g.title != nil {
			b.WriteString("  }\n")
		}
	}
	for _, a := range d.arrows {
		if a.label == "" {
			fmt.Fprintf(&b, "  %s -> %s;\n", a.from, a.to)
			continue
		}
		fmt.Fprintf(&b, "  %s -> %s [label=%s];\n", a.from, a.to, dotText([]string{a.label}))
	}
	b.WriteString("}\n")
	return b.String()
}

// dotText quotes lines. A backslash would begin an escape of labels.
func dotText(lines []string) string {
	quoted := make([]string, len(lines))
	for i, line := range lines {
		quoted[i] = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(oneLine(line))
	}
	return `"` + strings.Join(quoted, `\n`) + `"`
}

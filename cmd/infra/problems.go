package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"go.starlark.net/syntax"

	"infra/runtime"
	"infra/runtime/interp"
)

// printProblems shows why a plan does not load: every problem with its line, a
// caret and a hint, and how many there are.
func printProblems(w io.Writer, ps runtime.Problems, color bool) {
	p := palette(color)
	files := map[string]bool{}
	for _, problem := range ps {
		files[problem.Pos.Filename()] = true
		d := details{pos: problem.Pos, source: problem.Source, msg: problem.Msg, hint: problem.Hint, trace: problem.Trace}
		fmt.Fprintln(w, d.block("", nil, p))
	}
	fmt.Fprintf(w, "%s in %s\n", count(len(ps), "problem"), count(len(files), "file"))
}

// printFailure shows the error of what failed: its place in the plan, what the
// tool said, and what to do next. what may be empty, and said holds lines that
// the error may not quote.
func printFailure(w io.Writer, what string, err error, said []string, color bool) {
	d := detailsOf(err)
	if what != "" {
		d.msg = what + ": " + d.msg
	}
	io.WriteString(w, d.block("", said, palette(color)))
}

// details are the parts of which an error is shown.
type details struct {
	pos    syntax.Position
	source string // the line at pos; may be empty
	msg    string
	hint   string
	trace  []string // where that line was called from
}

// detailsOf takes an error apart.
func detailsOf(err error) details {
	d := details{msg: err.Error(), hint: runtime.HintOf(err)}
	var failure *interp.Failure
	var unknown *runtime.NotKnownError
	switch {
	case errors.As(err, &failure):
		d.pos, d.source, d.msg, d.trace = failure.Pos, failure.Source, failure.Msg, failure.Trace
		d.hint = cmp.Or(failure.Hint, d.hint)
	case errors.As(err, &unknown):
		d.pos = unknown.Origin.Pos
	}
	return d
}

// block lays an error out, every line indented.
func (d details) block(indent string, said []string, p palette) string {
	var b strings.Builder
	msg, quoted, _ := strings.Cut(strings.TrimSpace(printable(d.msg)), "\n")
	b.WriteString(p.bad("error:") + " " + p.bold(msg) + "\n")
	if d.pos.IsValid() {
		fmt.Fprintf(&b, "  %s\n%s", d.pos, snippet(d.pos, printable(d.source), p))
	}
	for _, caller := range d.trace {
		fmt.Fprintf(&b, "  %s\n", p.dim("called from "+printable(caller)))
	}
	if quoted == "" {
		quoted = strings.Join(unsaid(msg, said), "\n")
	}
	if quoted != "" {
		fmt.Fprintf(&b, "  %s %s\n", p.dim("|"), hang(quoted, "  "+p.dim("|")+" "))
	}
	if d.hint != "" {
		fmt.Fprintf(&b, "  %s %s\n", p.active("hint:"), hang(printable(d.hint), "        "))
	}
	return indentLines(b.String(), indent)
}

// snippet is a source line with a caret under the column, or nothing where the
// line is not known.
func snippet(pos syntax.Position, source string, p palette) string {
	source = strings.TrimRight(source, " \t\r\n")
	if source == "" || pos.Line == 0 {
		return ""
	}
	number := fmt.Sprintf("%5d", pos.Line)
	out := p.dim(number+" |") + " " + source + "\n"
	if pos.Col == 0 {
		return out
	}
	return out + p.dim(strings.Repeat(" ", len(number))+" |") + " " + blank(source, int(pos.Col)-1) + p.bad("^") + "\n"
}

// blank is as wide as the first n runes of source; tabs stay tabs, since how
// wide they are is the terminal's to say.
func blank(source string, n int) string {
	runes := []rune(source)
	parts := strings.Split(string(runes[:min(n, len(runes))]), "\t")
	for i, part := range parts {
		parts[i] = strings.Repeat(" ", ansi.StringWidth(part))
	}
	return strings.Join(parts, "\t")
}

// unsaid is what a tool said and the error's message does not already quote.
func unsaid(msg string, said []string) []string {
	if len(said) == 0 || strings.Contains(msg, strings.TrimSpace(said[len(said)-1])) {
		return nil
	}
	return said
}

// hang indents every line but the first.
func hang(s, indent string) string {
	return strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n"+indent)
}

// indentLines indents every line that is not empty.
func indentLines(s, indent string) string {
	if indent == "" {
		return s
	}
	var b strings.Builder
	for line := range strings.Lines(s) {
		if line != "\n" {
			b.WriteString(indent)
		}
		b.WriteString(line)
	}
	return b.String()
}

// count is "1 file" or "3 files".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

package main

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.starlark.net/syntax"
)

// An annotation is what GitHub shows beside a line of a plan. It is printed as
// a command of the runner that reads what a job prints.
type annotation struct {
	level      string // error, warning, notice
	pos        syntax.Position
	title, msg string
}

// maxAnnotations is how many of each level GitHub shows of a job's step.
const maxAnnotations = 10

// maxMessage keeps an annotation well below what GitHub takes (64 KiB).
const maxMessage = 4096

// String is the command, with what would end a part of it escaped.
func (a annotation) String() string {
	var props []string
	add := func(name, value string) {
		if value != "" {
			props = append(props, name+"="+escapeProperty(value))
		}
	}
	if a.pos.IsValid() {
		add("file", a.pos.Filename())
		if a.pos.Line > 0 {
			add("line", strconv.Itoa(int(a.pos.Line)))
		}
		if a.pos.Col > 0 {
			add("col", strconv.Itoa(int(a.pos.Col)))
		}
	}
	add("title", oneLine(a.title))
	command := a.level
	if len(props) > 0 {
		command += " " + strings.Join(props, ",")
	}
	return "::" + command + "::" + escapeData(shortened(strings.TrimSpace(printable(a.msg)), maxMessage))
}

// What the runner takes apart is written as a percent sign and a number; the
// percent sign itself too, and it is the runner's last to be put back.
var (
	dataEscapes     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	propertyEscapes = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func escapeData(s string) string     { return dataEscapes.Replace(s) }
func escapeProperty(s string) string { return propertyEscapes.Replace(s) }

// shortened is at most n bytes of s, with a mark where there is more.
func shortened(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// annotate prints a report's annotations: what is wrong as errors, what would
// be destroyed and what is not known as warnings, and the summary as a notice.
func annotate(w io.Writer, r *report) error {
	var b strings.Builder
	errs, warnings := r.annotations()
	for _, list := range [][]annotation{limited(errs), limited(warnings), {r.notice()}} {
		for _, a := range list {
			a.pos = r.located(a.pos)
			b.WriteString(a.String() + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// annotations are those of a report, the most important first. What makes the
// exit code 1 is an error.
func (r *report) annotations() (errs, warnings []annotation) {
	for _, d := range r.problems() {
		msg := strings.Join(append([]string{d.msg}, d.trace...), "\ncalled from ")
		errs = append(errs, annotation{level: "error", pos: d.pos, title: "the plan cannot be run", msg: hinting(msg, d.hint)})
	}
	for _, f := range merged(r.findings) {
		a := annotation{level: "warning", pos: f.pos, title: f.kind.String() + ": " + f.subject(), msg: hinting(f.msg, f.hint)}
		if f.op != "" {
			a.msg += "\n(" + f.place() + ")"
		}
		if f.kind == failure || f.kind == unknown && r.strict {
			a.level = "error"
			errs = append(errs, a)
		} else {
			warnings = append(warnings, a)
		}
	}
	return errs, warnings
}

// notice is the summary, beside the plan's first line.
func (r *report) notice() annotation {
	plan := r.plan()
	at := syntax.MakePosition(&plan, 1, 0)
	if r.start == nil {
		at = syntax.Position{} // the file may not be there
	}
	return annotation{level: "notice", pos: at, title: r.title(), msg: r.summary()}
}

// limited is as many annotations as are shown; the last says what is not.
func limited(list []annotation) []annotation {
	if len(list) <= maxAnnotations {
		return list
	}
	rest := list[maxAnnotations-1:]
	var titles []string
	for _, a := range rest {
		titles = append(titles, oneLine(a.title)+" "+lineIf(a.pos))
	}
	last := annotation{level: list[0].level, title: fmt.Sprintf("and %d more", len(rest)), msg: strings.Join(titles, "\n")}
	return append(list[:maxAnnotations-1:maxAnnotations-1], last)
}

func lineIf(pos syntax.Position) string {
	if !pos.IsValid() {
		return ""
	}
	return "(" + lineOf(pos) + ")"
}

func hinting(msg, hint string) string {
	if hint == "" {
		return msg
	}
	return msg + "\nhint: " + hint
}

// disarmed lets text through so that no line of it is a command to GitHub's
// runner: a tool's output must not set what the job goes on with. Each Write
// is of whole lines.
type disarmed struct{ out io.Writer }

// Write implements io.Writer.
func (d disarmed) Write(p []byte) (int, error) {
	if _, err := io.WriteString(d.out, disarm(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// The runner obeys a line that begins with two colons, and one that has ##[
// anywhere. It looks with the rules by which people compare words, for which
// controls, format characters and marks may not count.
const ignored = `(?:[^\P{C}\n]|\p{M})*`

var (
	commandLine = regexp.MustCompile(`(?m)^((?:[^\P{Z}\n]|[^\P{C}\n]|\p{M})*:` + ignored + `):`)
	oldCommand  = regexp.MustCompile(`(#` + ignored + `#` + ignored + `)\[`)
)

// disarm puts a space into what the runner would take for a command.
func disarm(s string) string {
	return oldCommand.ReplaceAllString(commandLine.ReplaceAllString(s, "$1 :"), "$1 [")
}

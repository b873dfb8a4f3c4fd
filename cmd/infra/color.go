package main

import (
	"os"
	"strings"
	"unicode"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"infra/runtime"
)

// wantsColor says whether out is to be coloured: a terminal that is not dumb,
// unless NO_COLOR is set; CLICOLOR_FORCE overrules both.
func wantsColor(out *os.File, getenv func(string) string) bool {
	if force := getenv("CLICOLOR_FORCE"); force != "" && force != "0" {
		return true
	}
	return getenv("NO_COLOR") == "" && canRedraw(out, getenv)
}

// canRedraw says whether out is a terminal on which lines can be overwritten.
func canRedraw(out *os.File, getenv func(string) string) bool {
	return getenv("TERM") != "dumb" && term.IsTerminal(int(out.Fd()))
}

// A palette colours words by what they mean, in the terminal's own sixteen
// colours, so that they fit every theme. The zero palette leaves them plain.
type palette bool

func (p palette) paint(sgr, s string) string {
	if !p || s == "" {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

func (p palette) bold(s string) string   { return p.paint("1", s) }
func (p palette) dim(s string) string    { return p.paint("2", s) }
func (p palette) bad(s string) string    { return p.paint("1;31", s) }
func (p palette) good(s string) string   { return p.paint("32", s) }
func (p palette) change(s string) string { return p.paint("33", s) }
func (p palette) doubt(s string) string  { return p.paint("35", s) }
func (p palette) active(s string) string { return p.paint("36", s) }

// status colours s as what ended with st.
func (p palette) status(st runtime.Status, s string) string {
	switch st {
	case runtime.OK:
		return p.good(s)
	case runtime.Failed:
		return p.bad(s)
	case runtime.Warned, runtime.Held, runtime.Interrupted:
		return p.change(s)
	case runtime.Stopped:
		return p.doubt(s)
	}
	return p.dim(s)
}

// printable makes foreign text safe to show: without secrets, and without the
// control sequences by which a tool's output could move the cursor or pose as
// infra's own words. Lines and tabs stay.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, ansi.Strip(s))
	return runtime.Scrub(s)
}

// oneLine is the first line of s, with a mark where there is more.
func oneLine(s string) string {
	first, rest, _ := strings.Cut(strings.TrimSpace(printable(s)), "\n")
	first = strings.ReplaceAll(strings.TrimRight(first, " \t"), "\t", " ")
	if rest != "" {
		return first + " …"
	}
	return first
}

// lastDrawn is what a terminal shows of a line that overwrites itself, as
// progress bars do.
func lastDrawn(line string) string {
	line = strings.TrimRight(line, "\r\n")
	return line[strings.LastIndexByte(line, '\r')+1:]
}

package main

import (
	"io"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// A screen keeps some lines at the bottom of a terminal up to date and lets
// everything above them scroll away as ordinary output. It neither reads from
// the terminal nor asks it anything, so that nothing is left behind in the
// shell's input, and it leaves the terminal's modes alone, so that even a
// killed process leaves a usable terminal.
type screen struct {
	out     io.Writer
	reflows bool     // whether the terminal wraps lines anew when it gets narrower
	frame   []string // the lines at the bottom
}

const (
	syncBegin = "\x1b[?2026h" // terminals that know it show what follows at once
	syncEnd   = "\x1b[?2026l"
	eraseLine = "\x1b[K"
	eraseDown = "\x1b[J"
)

// draw prints above, for good, and replaces the frame under it. width and
// height are the terminal's now.
func (s *screen) draw(above string, frame []string, width, height int) {
	var b strings.Builder
	b.WriteString(syncBegin)
	b.WriteString(s.home(width, height))
	wraps := s.rows(width) != len(s.frame)
	if above != "" || wraps {
		b.WriteString(eraseDown)
		b.WriteString(strings.ReplaceAll(above, "\n", "\r\n"))
	}
	for i, line := range frame {
		if above != "" || wraps || i >= len(s.frame) || s.frame[i] != line {
			b.WriteString(line + eraseLine)
		}
		b.WriteString("\r\n")
	}
	b.WriteString(eraseDown + syncEnd) // a shorter frame's rest, and what a person typed
	s.frame = frame
	io.WriteString(s.out, b.String())
}

// home moves the cursor to the frame's first line.
func (s *screen) home(width, height int) string {
	up := min(s.rows(width), height-1)
	if up <= 0 {
		return "\r"
	}
	return "\r" + ansi.CursorUp(up)
}

// rows is how many rows of the terminal the frame takes by now.
func (s *screen) rows(width int) int {
	n := len(s.frame)
	if !s.reflows {
		return n
	}
	for _, line := range s.frame {
		n += max(0, (ansi.StringWidth(line)-1)/max(width, 1))
	}
	return n
}

// wrapsAnew says whether a terminal is known to wrap its lines anew when it
// gets narrower. Nearly all do; those that do not cut them off.
func wrapsAnew(getenv func(string) string) bool {
	term := getenv("TERM")
	gnuScreen := strings.HasPrefix(term, "screen") && getenv("TMUX") == ""
	return getenv("XTERM_VERSION") == "" && term != "linux" && !gnuScreen
}

package main

import (
	"fmt"
	"strings"
)

// maxLines and maxBytes bound what one operation shows.
const (
	maxLines = 200
	maxBytes = 16 << 10
)

// bounded is the beginning of a long text, with a line that says how much
// there is.
func bounded(s string) string {
	lines := strings.Split(s, "\n")
	n := min(len(lines), maxLines)
	kept := shortened(strings.Join(lines[:n], "\n"), maxBytes)
	if more := len(lines) - 1 - strings.Count(kept, "\n"); more > 0 {
		kept += fmt.Sprintf("\n… %d more lines", more)
	}
	return kept
}

// fenced is text as a block of code, "" where there is none. The fence is
// longer than any in the text, which cannot end it.
func fenced(language, s string) string {
	if strings.TrimSpace(s) == "" {
		return ""
	}
	fence := strings.Repeat("`", max(3, longestRun(s, '`')+1))
	return fence + language + "\n" + strings.TrimRight(s, "\n") + "\n" + fence + "\n"
}

// mdCode is one line of foreign text as code. Nothing in it is Markdown.
func mdCode(s string) string {
	s = oneLine(s)
	if s == "" {
		return ""
	}
	ticks := strings.Repeat("`", longestRun(s, '`')+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return ticks + s + ticks
}

func longestRun(s string, of byte) int {
	longest, n := 0, 0
	for i := range len(s) {
		if s[i] != of {
			n = 0
			continue
		}
		n++
		longest = max(longest, n)
	}
	return longest
}

// mdText is one line of foreign text as prose: every mark that could mean
// something to Markdown or HTML is taken for itself.
func mdText(s string) string {
	var b strings.Builder
	for _, r := range oneLine(s) {
		if strings.ContainsRune("\\`*_[]<>#|~&@$", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// mdLines is foreign text of several lines as one paragraph.
func mdLines(s string) string {
	var lines []string
	for _, line := range strings.Split(strings.TrimSpace(printable(s)), "\n") {
		lines = append(lines, mdText(line))
	}
	return strings.Join(lines, "<br>")
}

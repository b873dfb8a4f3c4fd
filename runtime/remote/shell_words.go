package remote

import (
	"bytes"
	"strings"
)

// marked tells what a shell says itself from what its commands print.
type marked struct {
	mark []byte // the first byte is seldom printed
	text func([]byte)
	says func(word, rest string)

	held []byte // what may be the beginning of a mark, or of a line that it leads
}

// markedLine bounds a line of the shell's own; one of a lock may have its holder's words.
const markedLine = 8 << 10

func (m *marked) Write(p []byte) (int, error) {
	m.held = append(m.held, p...)
	for len(m.held) > 0 {
		at := bytes.IndexByte(m.held, m.mark[0])
		if at < 0 {
			at = len(m.held)
		}
		m.pass(at)
		if !m.take() {
			break
		}
	}
	return len(p), nil
}

func (m *marked) pass(n int) {
	if n > 0 {
		m.text(m.held[:n])
		m.held = append(m.held[:0], m.held[n:]...)
	}
}

// take takes one line of the shell from the beginning, or what is none. It says no
// where that cannot be told yet.
func (m *marked) take() bool {
	n := min(len(m.held), len(m.mark))
	if !bytes.Equal(m.held[:n], m.mark[:n]) {
		m.pass(1)
		return true
	}
	end := bytes.IndexByte(m.held, '\n')
	switch {
	case end < 0 && len(m.held) <= markedLine:
		return false
	case end < 0 || end > markedLine:
		m.pass(1)
		return true
	}
	word, rest, _ := strings.Cut(strings.TrimPrefix(string(m.held[n:end]), " "), " ")
	m.held = append(m.held[:0], m.held[end+1:]...)
	if word != "" {
		m.says(word, rest)
	}
	return true
}

package nix

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
)

// internalJSON makes nix say what it is at in a form for programs: lines of
// "@nix " and an object. What the programs that it starts print, as ssh and git
// do, comes in between as it is.
var internalJSON = []string{"--log-format", "internal-json"}

// A message is one of nix's lines, as far as it is of use here.
type message struct {
	Action string            `json:"action"` // start, stop, result or msg
	ID     uint64            `json:"id"`     // pid<<32 | n, which is more than a float64 holds
	Level  int               `json:"level"`
	Type   int               `json:"type"` // of a start, the activity; of a result, the result
	Text   string            `json:"text"`
	Msg    string            `json:"msg"`
	Fields []json.RawMessage `json:"fields"`
}

// The kinds of activity, and of what is said of one, that are of use here.
const (
	unknownActivity      = 0
	copyPathActivity     = 100 // path, from, to
	fileTransferActivity = 101 // URL
	copyPathsActivity    = 103
	buildsActivity       = 104
	buildActivity        = 105 // derivation, machine
	fetchTreeActivity    = 112

	logLineResult     = 101 // line
	phaseResult       = 104 // name
	progressResult    = 105 // done, expected, running, failed
	expectedResult    = 106 // kind of activity, expected
	postLogLineResult = 107 // line
	fetchStatusResult = 108 // text
)

// Levels of messages. Errors are 0, and nix shows those up to info without -v.
const (
	warnLevel = 1
	infoLevel = 3
)

var messageMark = []byte("@nix ")

// parseMessage says whether the line is one of nix's messages.
func parseMessage(line []byte) (message, bool) {
	text, marked := bytes.CutPrefix(line, messageMark)
	var m message
	if !marked || json.Unmarshal(text, &m) != nil {
		return message{}, false
	}
	return m, m.Action != ""
}

// word is a field that is text; "" where there is none.
func (m message) word(i int) string {
	var s string
	if i < len(m.Fields) && json.Unmarshal(m.Fields[i], &s) == nil {
		return s
	}
	return ""
}

// most bounds what nix may count, so that no sum of counts overflows.
const most = 1 << 48

// number is a field that is a count; 0 where there is none.
func (m message) number(i int) int64 {
	if i >= len(m.Fields) {
		return 0
	}
	n, err := strconv.ParseInt(string(m.Fields[i]), 10, 64)
	if err != nil {
		return 0
	}
	return min(max(n, 0), most)
}

// longestLine bounds what is held back of a line without an end. The messages of
// failed evaluations are long.
const longestLine = 1 << 20

// A lineSplitter gives whole lines, without their ends, to line.
type lineSplitter struct {
	line    func([]byte)
	pending []byte
	lost    int // bytes left out of a line that is too long
}

func (s *lineSplitter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		head, tail, whole := bytes.Cut(rest, []byte("\n"))
		fits := min(len(head), longestLine-len(s.pending))
		s.pending = append(s.pending, head[:fits]...)
		s.lost += len(head) - fits
		if whole {
			s.flush()
		}
		rest = tail
	}
	return len(p), nil
}

// flush ends the line.
func (s *lineSplitter) flush() {
	line := s.pending
	if s.lost > 0 {
		line = fmt.Appendf(line, " [%d bytes of this line were left out]", s.lost)
	}
	s.pending, s.lost = s.pending[:0], 0
	s.line(line)
}

// writeLine writes one line. A log that cannot be written must not end what nix is at.
func writeLine(w io.Writer, line string) { _, _ = io.WriteString(w, line+"\n") }

package terraform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	tfjson "github.com/hashicorp/terraform-json"

	"infra/runtime"
)

// A message is one line of what terraform says with -json, as far as it is of
// use here. OpenTofu leaves the type of some away.
type message struct {
	Level      string                  `json:"@level"`
	Text       string                  `json:"@message"`
	Time       time.Time               `json:"@timestamp"`
	Type       string                  `json:"type"`
	Diagnostic *tfjson.Diagnostic      `json:"diagnostic"`
	Hook       *hook                   `json:"hook"`
	Outputs    map[string]outputOfLine `json:"outputs"`
}

// A hook is what happens to one resource.
type hook struct {
	Resource struct {
		Addr string `json:"addr"`
	} `json:"resource"`
	Action      string  `json:"action"`
	ID          any     `json:"id_value"`
	Elapsed     float64 `json:"elapsed_seconds"`
	Provisioner string  `json:"provisioner"`
	Output      string  `json:"output"`
}

type outputOfLine struct {
	Sensitive bool            `json:"sensitive"`
	Value     json.RawMessage `json:"value"`
}

// parseMessage says whether the line is one of terraform's messages. Warnings
// about its own configuration, and what crashes, are not.
func parseMessage(line []byte) (message, bool) {
	var m message
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '{' || json.Unmarshal(line, &m) != nil {
		return message{}, false
	}
	return m, m.Level != "" || m.Type != ""
}

// A stream makes lines for people of terraform's messages, and keeps what
// happened.
type stream struct {
	log       *lineLog
	planning  bool               // say what is planned; an apply repeats it
	preparing bool               // of an init, say only what is installed
	total     int                // how many operations the plan has; 0 is not known
	part      func(runtime.Part) // told of what begins and ends; nil: nobody is

	begun    []operation // in flight
	done     []Done
	failed   []operation
	problems []tfjson.Diagnostic
	outputs  map[string]outputOfLine // nil until terraform says them
	plain    []string                // the last lines that are no messages
	usage    bool                    // it says how it is used: it did not understand a flag
}

// An operation is something that terraform does to a resource.
type operation struct {
	address, action string
	since           time.Time
}

// plainKept is how many lines that are no messages are kept for an error.
const plainKept = 30

func (s *stream) stdout(line []byte) {
	if m, ok := parseMessage(line); ok {
		s.take(m)
		return
	}
	s.stderr(line)
}

func (s *stream) stderr(line []byte) {
	text := strings.TrimRight(string(line), " \t\r")
	if text == "" {
		return
	}
	s.usage = s.usage || strings.Contains(text, "Usage: terraform ")
	s.plain = append(s.plain, text)
	s.plain = s.plain[max(0, len(s.plain)-plainKept):]
	s.log.printf("%s", text)
}

func (s *stream) take(m message) {
	switch {
	case m.Diagnostic != nil:
		s.diagnose(*m.Diagnostic)
	case m.Hook != nil:
		s.hook(m)
	case m.Type == "outputs":
		s.outputs = m.Outputs
		if s.outputs == nil {
			s.outputs = map[string]outputOfLine{}
		}
	case m.Type == "planned_change" && s.planning, m.Type == "resource_drift",
		m.Type == "change_summary" && !strings.HasPrefix(m.Text, "Plan: "), m.Type == "change_summary" && s.planning:
		s.log.printf("%s", m.Text)
	case s.preparing && !strings.Contains(strings.ToLower(m.Text), "installing "):
	case m.Type == "log", m.Type == "init_output", m.Type == "" && m.Text != "":
		s.log.printf("%s", strings.TrimSpace(m.Text))
	}
}

func (s *stream) diagnose(d tfjson.Diagnostic) {
	if d.Severity == tfjson.DiagnosticSeverityError {
		s.problems = append(s.problems, d)
		return
	}
	s.log.printf("warning: %s", oneLine(diagnosticText("", d)))
}

// doing are the forms of what terraform calls actions.
var doing = map[string]struct{ begins, ended string }{
	"create": {"creating", "created"},
	"update": {"updating", "updated"},
	"delete": {"deleting", "deleted"},
	"read":   {"reading", "read"},
}

func (s *stream) hook(m message) {
	h := m.Hook
	addr := h.Resource.Addr
	words, known := doing[h.Action]
	if !known {
		words.begins, words.ended = h.Action, h.Action
	}
	switch m.Type {
	case "apply_start":
		s.begun = append(s.begun, operation{addr, h.Action, m.Time})
		s.tell(runtime.Part{Name: addr, Does: words.begins})
		s.log.printf("%s: %s", addr, words.begins)
	case "apply_progress":
		s.log.printf("%s: still %s (%s)", addr, words.begins, forPeople(seconds(h.Elapsed)))
	case "apply_complete":
		s.complete(m, words.ended)
	case "apply_errored":
		op := s.end(addr, h.Action)
		s.failed = append(s.failed, op)
		s.tell(runtime.Part{Name: addr, Does: words.begins + " failed", Over: true, Took: op.took(m)})
		s.log.printf("%s: %s failed after %s", addr, words.begins, forPeople(op.took(m)))
	case "provision_start":
		s.log.printf("%s: running its provisioner (%s)", addr, h.Provisioner)
		s.tell(runtime.Part{Name: addr, Does: "running its provisioner", Detail: h.Provisioner})
	case "provision_progress":
		s.log.printf("%s (%s): %s", addr, h.Provisioner, strings.TrimRight(h.Output, "\r\n"))
	}
}

// tell tells those who watch of a resource.
func (s *stream) tell(p runtime.Part) {
	if p.Of = s.total; p.Over {
		p.Nth = len(s.done) + len(s.failed)
	}
	if s.part != nil {
		s.part(p)
	}
}

func (s *stream) complete(m message, ended string) {
	op := s.end(m.Hook.Resource.Addr, m.Hook.Action)
	done := Done{Address: op.address, Action: op.action, Took: op.took(m)}
	id := ""
	if m.Hook.ID != nil {
		done.ID = fmt.Sprint(m.Hook.ID)
		id = fmt.Sprintf(" (id %s)", done.ID)
	}
	part := runtime.Part{Name: op.address, Does: ended, Over: true, Took: done.Took}
	if done.ID != "" {
		part.Detail = "id " + done.ID
	}
	if op.action == "read" {
		s.tell(part)
		s.log.printf("%s: %s in %s", op.address, ended, forPeople(done.Took))
		return
	}
	s.done = append(s.done, done)
	s.tell(part)
	of := ""
	if s.total > 0 {
		of = fmt.Sprintf(", %d of %d", len(s.done), max(s.total, len(s.done)))
	}
	s.log.printf("%s: %s in %s%s%s", op.address, ended, forPeople(done.Took), id, of)
}

// end takes what has ended from what is in flight.
func (s *stream) end(address, action string) operation {
	i := slices.IndexFunc(s.begun, func(o operation) bool { return o.address == address && o.action == action })
	if i < 0 {
		return operation{address: address, action: action}
	}
	op := s.begun[i]
	s.begun = slices.Delete(s.begun, i, i+1)
	return op
}

// took is how long the operation took: terraform itself says whole seconds.
func (o operation) took(m message) time.Duration {
	if took := m.Time.Sub(o.since); !o.since.IsZero() && took >= 0 {
		return took
	}
	return seconds(m.Hook.Elapsed)
}

func seconds(s float64) time.Duration {
	if !(s > 0 && s < math.MaxInt32) {
		return 0
	}
	return time.Duration(s * float64(time.Second))
}

func forPeople(d time.Duration) string {
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}

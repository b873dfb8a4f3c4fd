package clan

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"infra/builtins/internal/call"
	"infra/runtime"
)

// A dialog answers what clan asks on its terminal with what the plan declared.
// It decides by what clan prints and by what it makes of its terminal; it
// starts no process and reads no clock, so that tests can.
type dialog struct {
	machine string
	prompts map[string]flakePrompt  // all that the flake knows, by "generator/prompt"
	answers map[string]runtime.Text // those that the plan declared

	log  io.Writer
	line string // what was not passed on to log yet
	text string // what clan printed since the last answer, without the answer's echo
	echo string // what of the answer the terminal will still show
	last string // the prompt that was answered last
}

// How long clan has to print nothing before it is taken to wait for a person.
// Where it has its terminal in another mode than a terminal is in by itself it
// does wait, and a moment is enough to have heard all it says.
const (
	settled  = 60 * time.Millisecond
	hesitant = 300 * time.Millisecond // a known question in the usual mode
	patience = 2 * time.Second        // an unknown one, in a mode of clan's
)

// endurance is the same of what only looks like a question. Tests shorten it.
var endurance = 15 * time.Second

// heardLimit bounds what is kept of clan's output to find questions in.
const heardLimit = 32 << 10

// heard takes what clan printed.
func (d *dialog) heard(out string) {
	for d.echo != "" && out != "" {
		if d.echo[0] != out[0] {
			d.echo = ""
			break
		}
		d.echo, out = d.echo[1:], out[1:]
	}
	d.text += out
	if over := len(d.text) - heardLimit; over > 0 {
		d.text = d.text[over:]
	}
	d.line += strings.ReplaceAll(out, "\r", "")
	end := strings.LastIndexByte(d.line, '\n') + 1
	if end == 0 && len(d.line) > heardLimit {
		end = len(d.line)
	}
	d.pass(end)
}

// pass hands on lines. A log that cannot be written must not end what clan is at.
func (d *dialog) pass(n int) {
	if strings.TrimSpace(d.line[:n]) != "" {
		_, _ = io.WriteString(d.log, d.line[:n])
	}
	d.line = d.line[n:]
}

// turn returns what to type, "" for nothing yet. quiet is how long clan has
// printed nothing. An error is a question that the plan has no answer to.
func (d *dialog) turn(mode ttyMode, quiet time.Duration) (string, error) {
	open := mode.raw || mode.silent
	if quiet < settled || strings.TrimSpace(d.text) == "" || !open && !question(d.text) {
		return "", nil
	}
	id := d.asked()
	p, known := d.prompts[id]
	switch {
	case !known && (open && quiet < patience || !open && quiet < endurance):
		return "", nil
	case !known:
		return "", d.unknown()
	case !open && quiet < hesitant:
		return "", nil
	}
	answer, ok := d.answers[id]
	if !ok {
		return "", d.undeclared(id, p)
	}
	typed, echo, err := keys(p, answer.Reveal(), mode, d.prefilled(id, p))
	if err != nil {
		return "", fmt.Errorf("the prompt %s: %w", id, err)
	}
	d.line += "[answered by the plan]\n"
	d.pass(len(d.line))
	d.last, d.text, d.echo = id, "", echo
	return typed, nil
}

// question says whether text ends as what asks a person does.
func question(text string) bool {
	text = strings.TrimRight(text, "\r")
	if strings.HasSuffix(text, finishHint+"\r\n") || strings.HasSuffix(text, finishHint+"\n") {
		return true
	}
	text = strings.TrimRight(text, " ")
	return strings.HasSuffix(text, ":") || strings.HasSuffix(text, "?") || strings.HasSuffix(text, "]")
}

const finishHint = "(Finish with Ctrl-D): "

// prompting is how clan announces a prompt, since 2026.
var prompting = regexp.MustCompile(`Prompting value for ([^\s/]+/[^\s:]+)`)

// asked is the prompt that the text since the last answer ends with, "" where
// it says none. An announcement names it; before there were any, only the
// prompt's own words do.
func (d *dialog) asked() string {
	if m := prompting.FindAllStringSubmatch(d.text, -1); m != nil {
		return m[len(m)-1][1]
	}
	if d.last != "" && strings.Contains(d.text, "Confirm ") {
		return d.last // a hidden value is asked for twice
	}
	found, at := "", -1
	for id, p := range d.prompts {
		i := strings.LastIndex(d.text, label(id, p))
		if i > at || i == at && i >= 0 && len(label(id, p)) > len(label(found, d.prompts[found])) {
			found, at = id, i
		} else if i == at && i >= 0 && label(id, p) == label(found, d.prompts[found]) {
			return "" // two of the same words: which of them is not said
		}
	}
	return found
}

// label is what clan prints for a prompt.
func label(id string, p flakePrompt) string {
	_, name, _ := strings.Cut(id, "/")
	if p.Description == "" || p.Description == name {
		return "Enter the value for " + id + ":"
	}
	return p.Description
}

// prefilled is how much stands behind the question already: the value that
// there was before, or what stands for it.
func (d *dialog) prefilled(id string, p flakePrompt) int {
	end := ": "
	switch {
	case p.Type == "multiline-hidden":
		end = "to cancel):"
	case p.hidden():
		end = "(hidden): "
	case p.multiline():
		end = finishHint
	}
	_, after, _ := strings.Cut(d.text[max(0, strings.LastIndex(d.text, label(id, p))):], label(id, p))
	_, after, found := strings.Cut(after, end)
	if !found {
		return 0
	}
	return utf8.RuneCountInString(strings.Trim(after, "\r\n"))
}

// keys is what a person would type to answer, and what the terminal shows of it.
func keys(p flakePrompt, answer string, mode ttyMode, prefilled int) (typed, echo string, err error) {
	if err := typable(p, answer); err != nil {
		return "", "", err
	}
	if prefilled > 0 && p.multiline() {
		return "", "", runtime.WithHint(fmt.Errorf("it has a value already, and clan lets nobody take one of several lines back"),
			"clan.vars.set sets it")
	}
	remove := strings.Repeat("\x7f", prefilled)
	if !p.hidden() {
		echo = strings.Repeat("\b \b", prefilled) + strings.ReplaceAll(answer, "\n", "\r\n")
	}
	switch {
	case !p.multiline() && mode.raw:
		return remove + answer + "\r", echo, nil
	case !p.multiline():
		return remove + answer + "\n", echo, nil
	case mode.raw:
		// The end of the last line is no line of its own: it takes one more.
		if strings.HasSuffix(answer, "\n") {
			answer += "\n"
		}
		return answer + "\x04", echo, nil
	case answer == "" || strings.HasSuffix(answer, "\n"):
		return answer + "\x04", echo, nil
	}
	return answer + "\x04\x04", echo, nil // the first one ends the line only
}

// typable refuses what a key would be taken for.
func typable(p flakePrompt, answer string) error {
	if !p.multiline() && strings.ContainsAny(answer, "\r\n") {
		return fmt.Errorf("its answer has several lines, and it takes one")
	}
	for _, r := range answer {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r == utf8.RuneError {
			return fmt.Errorf("its answer has a control character, which cannot be typed")
		}
	}
	return nil
}

func (d *dialog) undeclared(id string, p flakePrompt) error {
	kind := strings.ReplaceAll(p.Type, "-", ", ")
	return runtime.WithHint(
		fmt.Errorf("clan asks %q (%s, %s), and the plan does not say what to answer", strings.TrimSuffix(label(id, p), ":"), id, kind),
		"add prompts = {%q: ...}%s", id, map[bool]string{true: ", a secret such as secrets.sops(file)[key]"}[p.hidden()])
}

// unknown is the error of a question that no prompt of the flake's is.
func (d *dialog) unknown() error {
	lines := strings.FieldsFunc(d.text, func(r rune) bool { return r == '\n' || r == '\r' })
	text := strings.TrimSpace(lines[len(lines)-1])
	err := fmt.Errorf("clan waits for an answer to %q, which is no prompt of the machine's generators", text)
	names := make([]string, 0, len(d.prompts))
	for id := range d.prompts {
		names = append(names, id)
	}
	if near := call.Nearest(text, names); near != "" {
		return runtime.WithHint(err, "is it %s? Run clan by hand to see", near)
	}
	return runtime.WithHint(err, "run clan by hand to see what it asks")
}

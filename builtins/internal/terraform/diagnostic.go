package terraform

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	tfjson "github.com/hashicorp/terraform-json"

	"infra/runtime"
)

// diagnosticText is "terraform/x/main.tf:17: summary: detail (address)".
func diagnosticText(dir string, d tfjson.Diagnostic) string {
	var b strings.Builder
	if place := placeOf(dir, d.Range); place != "" {
		b.WriteString(place + ": ")
	}
	b.WriteString(strings.TrimSpace(d.Summary))
	if detail := strings.TrimSpace(d.Detail); detail != "" {
		b.WriteString(": " + detail)
	}
	if d.Address != "" {
		fmt.Fprintf(&b, " (%s)", d.Address)
	}
	return b.String()
}

// placeOf is "" for what stands in the pipe with the variables.
func placeOf(dir string, r *tfjson.Range) string {
	if r == nil || r.Filename == "" || strings.Contains(r.Filename, scratchPrefix) {
		return ""
	}
	name := r.Filename
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	return fmt.Sprintf("%s:%d", name, r.Start.Line)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// problemsText is what terraform says went wrong, each thing once.
func problemsText(dir string, problems []tfjson.Diagnostic) string {
	var texts []string
	for _, d := range problems {
		if len(problems) > 1 && strings.Contains(d.Summary, "encountered problems during initiali") {
			continue // it introduces the others, after them
		}
		if text := diagnosticText(dir, d); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, "\n")
}

// said is terraform's own word on why it failed, or how it ended.
func (s *stream) said(dir, ended string) string {
	text := problemsText(dir, s.problems)
	if text == "" {
		text = inPlainWords(dir, unboxed(strings.Join(s.plain, "\n")))
	}
	if text == "" {
		text = ended
	}
	return runtime.Scrub(text)
}

var plainPlace = regexp.MustCompile(`(?m)^on (\S+) line (\d+)(?:, in .*)?:$`)

// inPlainWords is what terraform says without -json, from its first error on,
// with places as they are written everywhere else.
func inPlainWords(dir, text string) string {
	if i := strings.Index(text, "Error: "); i >= 0 {
		text = text[i:]
	}
	return plainPlace.ReplaceAllStringFunc(text, func(place string) string {
		m := plainPlace.FindStringSubmatch(place)
		return filepath.Join(dir, m[1]) + ":" + m[2] + ": "
	})
}

// unboxed takes away the frame that terraform draws round its messages.
func unboxed(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(line), "╷│╵"))
		if line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// has says whether terraform complained of one of the summaries, be it in plain
// words, as an old one does that knows no -json.
func (s *stream) has(summaries ...string) bool {
	in := func(text string) bool {
		return slices.ContainsFunc(summaries, func(sum string) bool { return strings.Contains(text, sum) })
	}
	return slices.ContainsFunc(s.problems, func(d tfjson.Diagnostic) bool { return in(d.Summary) }) ||
		slices.ContainsFunc(s.plain, func(line string) bool { return strings.Contains(line, "Error: ") && in(line) })
}

// wantsInit says whether terraform asks to be initialised first: something has
// changed that the note of the last time does not know of, as a module's
// providers.
func (s *stream) wantsInit() bool {
	return s.has("Backend initialization required", "Module not installed", "Inconsistent dependency lock file",
		"Required plugins are not installed", "Missing required provider", "Module source has changed",
		"Module version requirements have changed", "registry.terraform.io provider", "missing or corrupted provider")
}

// A holder is who has the lock of a state.
type holder struct {
	ID, Path, Operation, Who, Created string
}

func (h holder) String() string {
	who := h.Who
	if who == "" {
		who = "somebody"
	}
	text := "held by " + who
	if h.Created != "" {
		text += " since " + h.Created
	}
	if h.Operation != "" && h.Operation != "OperationTypeInvalid" { // as a console's is
		text += ", " + strings.TrimPrefix(h.Operation, "OperationType")
	}
	if h.ID != "" {
		text += ", id " + h.ID
	}
	return text
}

const lockSummary = "Error acquiring the state lock"

var lockLine = regexp.MustCompile(`^\s*(ID|Path|Operation|Who|Created):[ \t]*(\S.*?)\s*$`)

// parseHolder reads the text in which terraform says who has the lock.
func parseHolder(detail string) holder {
	var h holder
	_, detail, _ = strings.Cut(detail, "Lock Info:")
	for line := range strings.Lines(detail) {
		m := lockLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		switch m[1] {
		case "ID":
			h.ID = m[2]
		case "Path":
			h.Path = m[2]
		case "Operation":
			h.Operation = m[2]
		case "Who":
			h.Who = m[2]
		case "Created":
			h.Created = m[2]
		}
	}
	return h
}

// lockedBy says who has the state's lock, where that is why terraform failed.
func (s *stream) lockedBy() (holder, bool) {
	for _, d := range s.problems {
		if strings.Contains(d.Summary, lockSummary) {
			return parseHolder(d.Detail), true
		}
	}
	return holder{}, false
}

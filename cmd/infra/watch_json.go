package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"infra/runtime"
	saved "infra/runtime/preview"
)

// watchSchema is raised when a field's meaning changes or a field goes. New fields may
// come without.
const watchSchema = 1

// A jsonReload is one preview of infra watch --json, in one line. docs/json.md
// explains the fields; those that do not apply are absent.
type jsonReload struct {
	Schema      int                `json:"schema"`
	Time        string             `json:"time"` // when the preview was finished
	Event       runtime.EventKind  `json:"event"`
	File        string             `json:"file"`
	Plan        string             `json:"plan,omitempty"`
	Changed     []string           `json:"changed"`
	Noticed     string             `json:"noticed"`
	TookMS      float64            `json:"took_ms"` // from noticed to time
	Status      runtime.Status     `json:"status"`
	Error       *jsonError         `json:"error,omitempty"`
	Problems    []jsonError        `json:"problems,omitempty"`
	Totals      *jsonTotals        `json:"totals,omitempty"`
	Since       string             `json:"since,omitempty"`
	Differences []saved.Difference `json:"differences"`
	Steps       []saved.Step       `json:"steps,omitempty"`
}

// previewed is the event of a document of infra watch --json.
const previewed runtime.EventKind = "previewed"

// watchJSON prints a document for each preview.
type watchJSON struct {
	unattended
	app  *app
	full bool
}

func (j *watchJSON) shown(re *reload) {
	line := jsonReloadOf(re)
	if !j.full && !re.since.IsZero() {
		line.Steps = nil
	}
	j.print(line)
}

// print writes a line. A CI that reads it must not take a part of it for a command.
func (j *watchJSON) print(line any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(line) == nil { // of nothing but texts and numbers
		_, _ = j.app.stdout.Write(oldCommand.ReplaceAll(b.Bytes(), []byte(`${1}\u005b`)))
	}
}

func (j *watchJSON) warned(err error) { printFailure(j.app.words(), "", err, nil, false) }

func jsonReloadOf(re *reload) *jsonReload {
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
	line := &jsonReload{
		Schema: watchSchema, Time: stamp(re.ended), Event: previewed, File: re.plan.file, Plan: re.name,
		Changed: append([]string{}, re.changed...), Noticed: stamp(re.noticed), TookMS: float64(re.took().Microseconds()) / 1000,
		Status: re.status(), Differences: append([]saved.Difference{}, re.differences...),
	}
	if re.doc != nil {
		line.Steps = re.doc.Steps
	}
	if re.whole && re.err == nil {
		line.Totals = jsonTotalsOf(re.totals)
	}
	if !re.since.IsZero() {
		line.Since = stamp(re.since)
	}
	var problems runtime.Problems
	switch {
	case errors.As(re.err, &problems):
		line.Problems = jsonProblemsOf(problems)
	case re.err != nil:
		line.Error = jsonErrorOf(re.err)
	default:
		if failed := re.failures(); len(failed) > 0 && failed[0].Err != nil {
			line.Error = jsonErrorOf(failed[0].Err)
		}
	}
	return line
}

func jsonProblemsOf(ps runtime.Problems) []jsonError {
	var out []jsonError
	for _, p := range ps {
		out = append(out, jsonError{Message: printable(p.Msg), Hint: printable(p.Hint), Pos: jsonPosOf(p.Pos)})
	}
	return out
}

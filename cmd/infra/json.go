package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"

	"go.starlark.net/syntax"

	"infra/runtime"
)

// jsonLines writes a run as one JSON object a line, for programs. Lines of
// tools' output are left out: they are in the run's folder, where op.output
// names the file.
type jsonLines struct {
	out  io.Writer
	code func(runtime.Status, *runtime.Totals) int // the exit code of a run that ended so
}

// newJSON returns a reader that writes JSON lines to out.
func newJSON(out io.Writer) reader { return &jsonLines{out, runFlags{}.code} }

// Read implements reader.
func (j *jsonLines) Read(e runtime.Event) {
	if e.Kind == runtime.OpOutput {
		return
	}
	line := jsonOf(e)
	if e.Kind == runtime.RunEnded {
		t := e.Totals
		if t == nil {
			t = new(runtime.Totals)
		}
		code := j.code(e.Status, t)
		line.ExitCode = &code
	}
	j.print(line)
}

// refuse tells why a run did not begin, or broke off.
func (j *jsonLines) refuse(err error, code int) {
	line := jsonEvent{Schema: jsonSchema, Time: time.Now().UTC().Format(time.RFC3339Nano), Event: refused, ExitCode: &code}
	var problems runtime.Problems
	if !errors.As(err, &problems) {
		line.Error = jsonErrorOf(err)
	}
	for _, p := range problems {
		line.Problems = append(line.Problems, jsonError{Message: printable(p.Msg), Hint: printable(p.Hint), Pos: jsonPosOf(p.Pos)})
	}
	j.print(line)
}

// refused is the one line of a run that could not begin.
const refused runtime.EventKind = "refused"

// print writes a line. What cannot be written has nowhere to be reported; the
// journal has it all. A CI that reads the line must not take a part of it for
// a command.
func (j *jsonLines) print(line jsonEvent) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(line); err == nil {
		_, _ = j.out.Write(oldCommand.ReplaceAll(b.Bytes(), []byte(`${1}\u005b`)))
	}
}

// Close implements reader.
func (j *jsonLines) Close() {}

// jsonSchema is raised when a field's meaning changes or a field goes. New
// fields may come without.
const jsonSchema = 1

// A jsonEvent is one line. Fields that do not apply are absent. docs/json.md
// says it all, docs/events.schema.json says it to programs.
type jsonEvent struct {
	Schema   int               `json:"schema"`
	Time     string            `json:"time"`
	Event    runtime.EventKind `json:"event"`
	Run      string            `json:"run,omitempty"`
	Step     string            `json:"step,omitempty"`
	Host     string            `json:"host,omitempty"`
	Check    bool              `json:"check,omitempty"`
	Start    *jsonStart        `json:"start,omitempty"`
	Op       *jsonOp           `json:"op,omitempty"`
	Part     *jsonPart         `json:"part,omitempty"`
	Status   runtime.Status    `json:"status,omitempty"`
	TookMS   *int64            `json:"took_ms,omitempty"`
	Error    *jsonError        `json:"error,omitempty"`
	Text     string            `json:"text,omitempty"`
	Pos      *jsonPos          `json:"pos,omitempty"`
	Result   json.RawMessage   `json:"result,omitempty"`
	Totals   *jsonTotals       `json:"totals,omitempty"`
	ExitCode *int              `json:"exit_code,omitempty"`
	Problems []jsonError       `json:"problems,omitempty"`
}

// A jsonOp is the operation an event is about.
type jsonOp struct {
	ID         int              `json:"id"`
	Name       string           `json:"name"`
	Host       string           `json:"host,omitempty"`
	Effect     runtime.Effect   `json:"effect"`
	Show       string           `json:"show,omitempty"`
	Args       json.RawMessage  `json:"args,omitempty"`
	Pos        *jsonPos         `json:"pos,omitempty"`
	KnownAfter *jsonOrigin      `json:"known_after,omitempty"`
	Changed    *bool            `json:"changed,omitempty"`
	Verdict    *runtime.Verdict `json:"verdict,omitempty"`
	Note       string           `json:"note,omitempty"`
	Detail     string           `json:"detail,omitempty"`
	Output     string           `json:"output,omitempty"`
	Result     json.RawMessage  `json:"result,omitempty"`
}

// A jsonPart is a piece of an operation that takes a time of its own.
type jsonPart struct {
	Name   string `json:"name"`
	Does   string `json:"does"`
	Over   bool   `json:"over"`
	TookMS *int64 `json:"took_ms,omitempty"`
	Detail string `json:"detail,omitempty"`
	Nth    int    `json:"nth,omitempty"`
	Of     int    `json:"of,omitempty"`
	Sum    string `json:"sum,omitempty"`
}

// A jsonOrigin is the operation that a run would have to carry out to know
// what a dry run does not.
type jsonOrigin struct {
	Op  string   `json:"op"`
	Pos *jsonPos `json:"pos,omitempty"`
}

// A jsonError is why something failed, was held or was skipped.
type jsonError struct {
	Message    string      `json:"message"`
	Hint       string      `json:"hint,omitempty"`
	Pos        *jsonPos    `json:"pos,omitempty"`
	KnownAfter *jsonOrigin `json:"known_after,omitempty"`
}

// A jsonPos is a place in a plan; lines and columns count from 1.
type jsonPos struct {
	File string `json:"file"`
	Line int32  `json:"line,omitempty"`
	Col  int32  `json:"col,omitempty"`
}

// A jsonStart is what a run is about to do.
type jsonStart struct {
	Plan   string      `json:"plan,omitempty"`
	Title  string      `json:"title,omitempty"`
	File   string      `json:"file"`
	DryRun bool        `json:"dry_run"`
	Steps  []jsonStep  `json:"steps"`
	Checks []jsonCheck `json:"checks"`

	OnFailure string     `json:"on_failure,omitempty"` // "undo", or absent
	Undoes    *jsonUndo  `json:"undoes,omitempty"`     // of a run that takes another one back
	Gates     []jsonGate `json:"gates,omitempty"`
}

// A jsonUndo is the run that is taken back, and what of it is not.
type jsonUndo struct {
	Run  string     `json:"run"`
	Left []jsonLeft `json:"left"`
}

type jsonLeft struct {
	Step   string         `json:"step"`
	Host   string         `json:"host,omitempty"`
	Status runtime.Status `json:"status"`
	Done   []string       `json:"done"`
}

type jsonStep struct {
	Name  string   `json:"name"`
	Doc   string   `json:"doc,omitempty"`
	Needs []string `json:"needs,omitempty"`
	Hosts []string `json:"hosts,omitempty"` // of a step that fans out
	Human string   `json:"human,omitempty"` // what a person does, of a step that is theirs
}

type jsonCheck struct {
	Name     string `json:"name"`
	Doc      string `json:"doc,omitempty"`
	Host     string `json:"host,omitempty"`
	Required bool   `json:"required"`
}

// jsonTotals counts a run's operations, steps and checks.
type jsonTotals struct {
	Ops      int                    `json:"ops"`
	Changed  int                    `json:"changed"`
	Verdicts map[string]int         `json:"verdicts,omitempty"`
	Steps    map[runtime.Status]int `json:"steps,omitempty"`
	Checks   map[runtime.Status]int `json:"checks,omitempty"`
}

func jsonOf(e runtime.Event) jsonEvent {
	j := jsonEvent{
		Schema: jsonSchema, Time: e.Time.UTC().Format(time.RFC3339Nano), Event: e.Kind, Run: e.Run,
		Step: runtime.Scrub(e.Step), Host: e.Host, Check: e.Check, Start: jsonStartOf(e.Start), Op: jsonOpOf(e), Part: jsonPartOf(e.Part),
		Status: e.Status, Text: printable(e.Text), Pos: jsonPosOf(e.Pos),
		Result: encoded(runtime.ScrubJSON(e.Result)), Totals: jsonTotalsOf(e.Totals),
	}
	if e.Err != nil {
		j.Error = jsonErrorOf(e.Err)
	}
	if e.Kind == runtime.OpEnded {
		j.Text = "" // it is the operation's note
	}
	switch e.Kind {
	case runtime.OpEnded, runtime.StepEnded, runtime.StepRestored, runtime.StepRetried, runtime.RunEnded:
		took := e.Took.Milliseconds()
		j.TookMS = &took
	}
	return j
}

func jsonErrorOf(err error) *jsonError {
	d := detailsOf(err)
	j := &jsonError{Message: printable(d.msg), Hint: printable(d.hint), Pos: jsonPosOf(d.pos)}
	var unknown *runtime.NotKnownError
	if errors.As(err, &unknown) {
		j.KnownAfter = jsonOriginOf(&unknown.Origin)
	}
	return j
}

func jsonOriginOf(u *runtime.Unknown) *jsonOrigin {
	if u == nil {
		return nil
	}
	return &jsonOrigin{u.Op, jsonPosOf(u.Pos)}
}

func jsonOpOf(e runtime.Event) *jsonOp {
	if e.Op == nil {
		return nil
	}
	op := e.Op.Op
	j := &jsonOp{
		ID: e.Op.ID, Name: op.Name, Host: op.Host, Effect: op.Effect, Show: printable(op.Show),
		Args: scrubbedArgs(op.Args), Pos: jsonPosOf(op.Pos), KnownAfter: jsonOriginOf(op.Needs),
	}
	if e.Kind != runtime.OpEnded {
		return j
	}
	j.Output, j.Result, j.Note = e.Op.Output, encoded(runtime.ScrubJSON(e.Op.Result)), noteOf(e)
	if p := e.Op.Prediction; p != nil {
		j.Verdict, j.Detail = &p.Verdict, printable(p.Detail)
	} else {
		j.Changed = &e.Op.Changed
	}
	return j
}

func jsonPartOf(p *runtime.Part) *jsonPart {
	if p == nil {
		return nil
	}
	j := &jsonPart{Name: printable(p.Name), Does: printable(p.Does), Over: p.Over, Detail: printable(p.Detail), Nth: p.Nth, Of: p.Of, Sum: printable(p.Sum)}
	if p.Over || p.Took > 0 {
		took := p.Took.Milliseconds()
		j.TookMS = &took
	}
	return j
}

func jsonPosOf(p syntax.Position) *jsonPos {
	if !p.IsValid() {
		return nil
	}
	return &jsonPos{p.Filename(), p.Line, p.Col}
}

func jsonStartOf(s *runtime.RunStart) *jsonStart {
	if s == nil {
		return nil
	}
	j := &jsonStart{File: s.File, DryRun: s.DryRun, Steps: []jsonStep{}, Checks: []jsonCheck{}, Gates: jsonGatesOf(s.Gates)}
	if s.Plan != nil {
		j.Plan, j.Title, j.Undoes = s.Plan.Name, printable(s.Plan.Title), jsonUndoOf(s.Plan.Undoes)
		if s.Plan.UndoOnFailure {
			j.OnFailure = "undo"
		}
	}
	for _, step := range s.Steps {
		js := jsonStep{Name: step.Name, Doc: printable(step.Doc), Human: printable(step.Human)}
		for _, n := range step.Needs {
			js.Needs = append(js.Needs, n.Name)
		}
		js.Needs = slices.Compact(js.Needs) // the undos of a fan-out have one name
		for _, h := range step.Each {
			js.Hosts = append(js.Hosts, h.Name)
		}
		j.Steps = append(j.Steps, js)
	}
	for _, c := range s.Checks {
		jc := jsonCheck{Name: c.Name, Doc: printable(c.Doc), Required: c.Required}
		if c.Host != nil {
			jc.Host = c.Host.Name
		}
		j.Checks = append(j.Checks, jc)
	}
	return j
}

func jsonUndoOf(u *runtime.Undo) *jsonUndo {
	if u == nil {
		return nil
	}
	j := &jsonUndo{Run: u.Run, Left: []jsonLeft{}}
	for _, l := range u.Left {
		done := make([]string, len(l.Done))
		for i, what := range l.Done {
			done[i] = printable(what)
		}
		j.Left = append(j.Left, jsonLeft{l.Step, l.Host, l.Status, done})
	}
	return j
}

func jsonTotalsOf(t *runtime.Totals) *jsonTotals {
	if t == nil {
		return nil
	}
	j := &jsonTotals{Ops: t.Ops, Changed: t.Changed, Steps: t.Steps, Checks: t.Checks}
	for v, n := range t.Verdicts {
		if j.Verdicts == nil {
			j.Verdicts = map[string]int{}
		}
		j.Verdicts[v.String()] = n
	}
	return j
}

// scrubbedArgs is args without secrets; none are absent.
func scrubbedArgs(args runtime.Args) json.RawMessage {
	if len(args) == 0 {
		return nil
	}
	return encoded(runtime.ScrubArgs(args))
}

// encoded leaves out what cannot be encoded: the journal has refused it before.
func encoded(data json.RawMessage, err error) json.RawMessage {
	if err != nil {
		return nil
	}
	return data
}

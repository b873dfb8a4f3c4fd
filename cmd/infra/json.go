package main

import (
	"encoding/json"
	"io"
	"time"

	"go.starlark.net/syntax"

	"infra/runtime"
)

// jsonLines writes a run as one JSON object a line, for programs. Lines of
// tools' output are left out: they are in the run's folder, where op.output
// names the file.
type jsonLines struct{ enc *json.Encoder }

// newJSON returns a reader that writes JSON lines to out.
func newJSON(out io.Writer) reader {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return &jsonLines{enc}
}

// Read implements reader.
func (j *jsonLines) Read(e runtime.Event) {
	if e.Kind == runtime.OpOutput {
		return
	}
	// What cannot be written has nowhere to be reported; the journal has it all.
	_ = j.enc.Encode(jsonOf(e))
}

// Close implements reader.
func (j *jsonLines) Close() {}

// jsonSchema is raised when a field's meaning changes or a field goes. New
// fields may come without.
const jsonSchema = 1

// A jsonEvent is one line. Fields that do not apply are absent.
type jsonEvent struct {
	Schema int               `json:"schema"`
	Time   string            `json:"time"`             // RFC 3339 with nanoseconds, UTC
	Event  runtime.EventKind `json:"event"`            // run_started step_started step_retried op_asked op_ended logged stopping step_ended run_ended
	Run    string            `json:"run,omitempty"`    //
	Step   string            `json:"step,omitempty"`   // the step, or the check
	Host   string            `json:"host,omitempty"`   // of a step that fans out, or of a check
	Check  bool              `json:"check,omitempty"`  // step names a check
	Start  *jsonStart        `json:"start,omitempty"`  // run_started
	Op     *jsonOp           `json:"op,omitempty"`     // op_asked, op_ended
	Status runtime.Status    `json:"status,omitempty"` // of what ended: ok failed warned skipped held interrupted stopped
	TookMS *int64            `json:"took_ms,omitempty"`
	Error  *jsonError        `json:"error,omitempty"`
	Text   string            `json:"text,omitempty"`   // a log line, a question, a check's detail
	Pos    *jsonPos          `json:"pos,omitempty"`    //
	Result json.RawMessage   `json:"result,omitempty"` // step_ended: what the step returned, as the journal keeps it
	Totals *jsonTotals       `json:"totals,omitempty"` // run_ended
}

// A jsonOp is the operation an event is about.
type jsonOp struct {
	ID      int              `json:"id"`
	Name    string           `json:"name"`
	Host    string           `json:"host,omitempty"` // absent: the machine that infra runs on
	Effect  runtime.Effect   `json:"effect"`         // read build change destroy
	Show    string           `json:"show,omitempty"` // the line for people
	Args    json.RawMessage  `json:"args,omitempty"`
	Pos     *jsonPos         `json:"pos,omitempty"`
	Changed *bool            `json:"changed,omitempty"` // op_ended of a real run
	Verdict *runtime.Verdict `json:"verdict,omitempty"` // op_ended of a dry run: no change, change, destroy, unknown
	Detail  string           `json:"detail,omitempty"`  // op_ended of a dry run: a diff, or what would happen
	Output  string           `json:"output,omitempty"`  // op_ended: the file in the run's folder with what was printed
	Result  json.RawMessage  `json:"result,omitempty"`  // op_ended: the answer, as the journal keeps it
}

// A jsonError is why something failed, was held or was skipped.
type jsonError struct {
	Message string   `json:"message"`
	Hint    string   `json:"hint,omitempty"`
	Pos     *jsonPos `json:"pos,omitempty"`
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
}

type jsonStep struct {
	Name  string   `json:"name"`
	Doc   string   `json:"doc,omitempty"`
	Needs []string `json:"needs,omitempty"`
	Hosts []string `json:"hosts,omitempty"` // of a step that fans out
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
		Step: runtime.Scrub(e.Step), Host: e.Host, Check: e.Check, Start: jsonStartOf(e.Start), Op: jsonOpOf(e),
		Status: e.Status, Text: printable(e.Text), Pos: jsonPosOf(e.Pos),
		Result: encoded(runtime.ScrubJSON(e.Result)), Totals: jsonTotalsOf(e.Totals),
	}
	if e.Err != nil {
		d := detailsOf(e.Err)
		j.Error = &jsonError{printable(d.msg), printable(d.hint), jsonPosOf(d.pos)}
	}
	switch e.Kind {
	case runtime.OpEnded, runtime.StepEnded, runtime.StepRetried, runtime.RunEnded:
		took := e.Took.Milliseconds()
		j.TookMS = &took
	}
	return j
}

func jsonOpOf(e runtime.Event) *jsonOp {
	if e.Op == nil {
		return nil
	}
	op := e.Op.Op
	j := &jsonOp{
		ID: e.Op.ID, Name: op.Name, Host: op.Host, Effect: op.Effect, Show: printable(op.Show),
		Args: scrubbedArgs(op.Args), Pos: jsonPosOf(op.Pos),
	}
	if e.Kind != runtime.OpEnded {
		return j
	}
	j.Output, j.Result = e.Op.Output, encoded(runtime.ScrubJSON(e.Op.Result))
	if p := e.Op.Prediction; p != nil {
		j.Verdict, j.Detail = &p.Verdict, printable(p.Detail)
	} else {
		j.Changed = &e.Op.Changed
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
	j := &jsonStart{File: s.File, DryRun: s.DryRun, Steps: []jsonStep{}, Checks: []jsonCheck{}}
	if s.Plan != nil {
		j.Plan, j.Title = s.Plan.Name, printable(s.Plan.Title)
	}
	for _, step := range s.Steps {
		js := jsonStep{Name: step.Name, Doc: printable(step.Doc)}
		for _, n := range step.Needs {
			js.Needs = append(js.Needs, n.Name)
		}
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

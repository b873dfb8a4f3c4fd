package main

import (
	"encoding/json"
	"io"
	"time"

	"infra/runtime"
	"infra/runtime/journal"
)

// A jsonLog is the one document that infra log --json prints. Fields that do
// not apply are absent.
type jsonLog struct {
	Schema int           `json:"schema"`
	Runs   *[]jsonRun    `json:"runs,omitempty"` // the list, the newest first
	Run    *jsonRunSteps `json:"run,omitempty"`  // one run
	Verify *jsonVerify   `json:"verify,omitempty"`
	Prune  *jsonPrune    `json:"prune,omitempty"`
}

// A jsonRun is one line of the list.
type jsonRun struct {
	ID      string         `json:"id"`
	Plan    string         `json:"plan"`
	File    string         `json:"file"`
	Title   string         `json:"title,omitempty"`
	User    string         `json:"user"`
	Machine string         `json:"machine"` // on which it was run
	Version string         `json:"version,omitempty"`
	Started time.Time      `json:"started"`
	Ended   time.Time      `json:"ended,omitzero"`
	TookMS  *int64         `json:"took_ms,omitempty"`
	Status  runtime.Status `json:"status"` // as in the events, or unfinished
	Error   *jsonError     `json:"error,omitempty"`
	Ops     int            `json:"ops"`
	Changed int            `json:"changed"`
	Folder  string         `json:"folder"` // of the outputs
	// What a person said, of a decision.
	Decision *jsonWord `json:"decision,omitempty"`
	// How it was called, and what the plan was read from; absent where that
	// was not recorded.
	Options json.RawMessage  `json:"options,omitempty"`
	Sources []runtime.Source `json:"sources,omitempty"`
}

// A jsonResume is when another process went on with a run, and how the run had
// ended before.
type jsonResume struct {
	Time    time.Time   `json:"time"`
	User    string      `json:"user"`
	Machine string      `json:"machine"`
	Version string      `json:"version,omitempty"`
	Before  *jsonEnding `json:"before"`
}

// A jsonEnding is how a run, or a step of it, ended before the run was resumed.
type jsonEnding struct {
	Status runtime.Status `json:"status"`
	Ended  time.Time      `json:"ended,omitzero"`
	TookMS *int64         `json:"took_ms,omitempty"`
	Error  *jsonError     `json:"error,omitempty"`
}

// A jsonRunSteps is a run with all that happened in it.
type jsonRunSteps struct {
	jsonRun
	Resumes []jsonResume  `json:"resumes,omitempty"`
	Steps   []jsonRunStep `json:"steps"`
	Logs    []jsonRunLog  `json:"logs,omitempty"`
}

// A jsonRunStep is a step on one host, or a check.
type jsonRunStep struct {
	Name     string          `json:"name"`
	Host     string          `json:"host,omitempty"`
	Check    bool            `json:"check,omitempty"`
	Status   runtime.Status  `json:"status"`
	Started  time.Time       `json:"started,omitzero"`
	TookMS   *int64          `json:"took_ms,omitempty"`
	Attempts int             `json:"attempts"`
	Error    *jsonError      `json:"error,omitempty"`
	Text     string          `json:"text,omitempty"` // a check's detail
	Result   json.RawMessage `json:"result,omitempty"`
	Ops      []jsonRunOp     `json:"operations"`
	Logs     []jsonRunLog    `json:"logs,omitempty"`
	Earlier  []jsonEnding    `json:"earlier,omitempty"` // before the run was resumed
}

// A jsonRunOp is one operation: what the events say of it, and how it went.
type jsonRunOp struct {
	ID      int             `json:"id"`
	Attempt int             `json:"attempt"` // of the step
	Name    string          `json:"name"`
	Host    string          `json:"host,omitempty"`
	Effect  string          `json:"effect"`
	Show    string          `json:"show,omitempty"`
	Args    json.RawMessage `json:"args"`
	Pos     *jsonPos        `json:"pos,omitempty"`
	Started time.Time       `json:"started"`
	TookMS  *int64          `json:"took_ms,omitempty"`
	Status  runtime.Status  `json:"status"` // as in the events, or in flight
	Error   *jsonError      `json:"error,omitempty"`
	Changed bool            `json:"changed"`
	Verdict string          `json:"verdict,omitempty"`
	Detail  string          `json:"detail,omitempty"`
	Output  string          `json:"output,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
}

// A jsonRunLog is what a plan said, or why an attempt of a step failed.
type jsonRunLog struct {
	Kind runtime.EventKind `json:"kind"` // logged, step_retried
	Time time.Time         `json:"time"`
	Text string            `json:"text"`
	Pos  *jsonPos          `json:"pos,omitempty"`
}

func printJSON(w io.Writer, doc jsonLog) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

// folderOf says where the outputs of a run are.
type folderOf func(run string) string

func jsonRuns(f folderOf, runs []journal.Run) jsonLog {
	list := []jsonRun{}
	for _, r := range runs {
		list = append(list, jsonRunOf(f, r))
	}
	return jsonLog{Schema: jsonSchema, Runs: &list}
}

func jsonOneRun(f folderOf, r journal.Run) jsonLog {
	one := jsonRunSteps{jsonRun: jsonRunOf(f, r), Steps: []jsonRunStep{}, Logs: jsonLogsOf(r.Logs)}
	for _, c := range r.Resumes {
		b := c.Before
		one.Resumes = append(one.Resumes, jsonResume{c.Time, c.User, c.Host, c.Version,
			&jsonEnding{b.Status, b.Ended, millis(b.Took, b.Status != journal.Unfinished), failureOf(b.Err, b.Hint)}})
	}
	for _, s := range r.Steps {
		one.Steps = append(one.Steps, jsonRunStepOf(s))
	}
	return jsonLog{Schema: jsonSchema, Run: &one}
}

func jsonRunOf(f folderOf, r journal.Run) jsonRun {
	return jsonRun{
		ID: r.ID, Plan: r.Plan, File: r.File, Title: r.Title, User: r.User, Machine: r.Host, Version: r.Version,
		Started: r.Started, Ended: r.Ended, TookMS: millis(r.Took, r.Status != journal.Unfinished), Status: r.Status,
		Error: failureOf(r.Err, r.Hint), Ops: r.Asked, Changed: r.Changed, Folder: f(r.ID), Options: r.Options, Sources: r.Sources, Decision: jsonWordOf(r),
	}
}

func jsonRunStepOf(s journal.Step) jsonRunStep {
	j := jsonRunStep{
		Name: s.Name, Host: s.Host, Check: s.Check, Status: s.Status, Started: s.Started,
		TookMS: millis(s.Took, s.Status != journal.Unfinished), Attempts: s.Attempts, Error: failureOf(s.Err, s.Hint),
		Text: s.Text, Result: s.Result, Ops: []jsonRunOp{}, Logs: jsonLogsOf(s.Logs),
	}
	for _, e := range s.Earlier {
		j.Earlier = append(j.Earlier, jsonEnding{Status: e.Status, TookMS: millis(e.Took, e.Status != journal.Unfinished), Error: failureOf(e.Err, e.Hint)})
	}
	for _, o := range s.Ops {
		j.Ops = append(j.Ops, jsonRunOp{
			ID: o.ID, Attempt: o.Attempt, Name: o.Name, Host: o.Host, Effect: o.Effect, Show: o.Show, Args: o.Args, Pos: jsonPosOf(o.Pos),
			Started: o.Started, TookMS: millis(o.Took, o.Status != journal.InFlight), Status: o.Status, Error: failureOf(o.Err, o.Hint),
			Changed: o.Changed, Verdict: o.Verdict, Detail: o.Detail, Output: o.Output, Result: o.Result,
		})
	}
	return j
}

func jsonLogsOf(logs []journal.Log) []jsonRunLog {
	var out []jsonRunLog
	for _, l := range logs {
		out = append(out, jsonRunLog{l.Kind, l.Time, l.Text, jsonPosOf(l.Pos)})
	}
	return out
}

func failureOf(msg, hint string) *jsonError {
	if msg == "" && hint == "" {
		return nil
	}
	return &jsonError{Message: msg, Hint: hint}
}

func millis(d time.Duration, ended bool) *int64 {
	if !ended {
		return nil
	}
	ms := d.Milliseconds()
	return &ms
}

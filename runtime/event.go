package runtime

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"go.starlark.net/syntax"
)

// An Event is one thing that happened in a run. There is one stream of them
// with several readers: the journal first and synchronously, then the terminal
// and JSON.
type Event struct {
	Time   time.Time
	Kind   EventKind
	Run    string // the run's id
	Step   string // "" for the run's own events
	Host   string // of the step's fan-out, or of the check; "" where there is none
	Check  bool   // Step names a check
	Op     *OpEvent
	Part   *Part         // OpProgress only
	Status Status        // of what ended
	Took   time.Duration // of what ended
	Err    error         // why it failed, was held or was skipped; scrubbed
	Text   string        // a log line, a line of output, a question, a check's detail; what a preview adds to an operation; of RunStarted infra's version
	Pos    syntax.Position
	Start  *RunStart // RunStarted only
	Result []byte    // StepEnded only: what the step returned, encoded
	Totals *Totals   // RunEnded only
}

// EventKind tells events apart.
type EventKind string

// The kinds of event, in the order in which a run shows them.
const (
	RunStarted   EventKind = "run_started"
	StepStarted  EventKind = "step_started"
	StepRestored EventKind = "step_restored" // an earlier process has ended the step; for people, not kept
	StepRetried  EventKind = "step_retried"  // an attempt failed; Err says why
	OpAsked      EventKind = "op_asked"      // before the operation: a reader's error stops it
	OpResumed    EventKind = "op_resumed"    // an operation that was in flight when an earlier process ended is looked for; for people, not kept
	OpOutput     EventKind = "op_output"     // a line of what a tool prints; for progress, not kept
	OpProgress   EventKind = "op_progress"   // a part of the operation began or ended; for people, not kept
	OpEnded      EventKind = "op_ended"
	Logged       EventKind = "logged" // the plan called log() or print()
	StepEnded    EventKind = "step_ended"
	Doubted      EventKind = "doubted"     // of a dry run: Step may come before or after another one that alters what it looks at; Text says which
	RunResumed   EventKind = "run_resumed" // another process goes on with the run; Text is its version of infra
	Waiting      EventKind = "waiting"     // another run holds a lock: Text says which, who, and how long it is waited for; for people, not kept
	Stopping     EventKind = "stopping"    // the run was asked to stop: nothing new starts; for people, not kept
	RunEnded     EventKind = "run_ended"
)

// OpEvent is the operation an event is about.
type OpEvent struct {
	ID      int    // counts a run's operations from 1
	Op      Op     //
	Changed bool   // OpEnded: whether the world is different now
	Output  string // the file, in the run's folder: OpAsked, that will hold what is printed; OpEnded, that holds it; "" for nothing
	Result  []byte // OpEnded: the encoded result

	Prediction *Prediction // OpEnded of a dry run
}

// Status says how a step, an operation, a check or a run ended.
type Status string

// The statuses.
const (
	OK          Status = "ok"
	Failed      Status = "failed"
	Warned      Status = "warned"      // an optional check that failed
	Skipped     Status = "skipped"     // what it needs did not succeed
	Held        Status = "held"        // a question was not answered with yes
	Interrupted Status = "interrupted" // the run was asked to stop
	Stopped     Status = "stopped"     // a preview that could not honestly go on
)

// RunStart describes a run that begins.
type RunStart struct {
	Plan   *Plan
	File   string // the plan's file, from the project's root
	DryRun bool
	Steps  []*Step     // the selected steps, in the order in which they are shown
	Checks []*Check    // the checks that will be run after them
	Gates  []GateState // what the record says of the plan's gates; none of a run that is gone on with

	Options json.RawMessage // how the run was called, as JSON; for a process that resumes it
	Sources []Source        // what the plan was read from, in the order of reading
}

// A Source is a file that a plan was read from, or what was observed for that.
type Source struct {
	Path   string `json:"path"`   // from the project's root; of what was observed, the builtin and its arguments
	SHA256 string `json:"sha256"` // of its content, in hex
}

// SourcesOf makes sources of digests by path, sorted by path.
func SourcesOf(digests map[string]string) []Source {
	sources := make([]Source, 0, len(digests))
	for _, path := range slices.Sorted(maps.Keys(digests)) {
		sources = append(sources, Source{path, digests[path]})
	}
	return sources
}

// Totals counts what a run did, or a dry run would do.
type Totals struct {
	Ops      int
	Changed  int             // operations that changed something
	Verdicts map[Verdict]int // of a dry run
	Steps    map[Status]int
	Locked   int // steps that failed since another run has a lock
	Checks   map[Status]int
}

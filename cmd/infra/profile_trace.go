package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"time"

	"infra/runtime"
)

// A trace is a run's steps and operations in the Trace Event Format: a lane for each
// step that runs beside others, and the operations within.
type trace struct {
	file  *os.File
	out   *bufio.Writer
	began time.Time // of the run
	lanes []bool    // which are taken
	open  map[instance]*span
	err   error
	some  bool // something was written
}

// A span is a step that runs.
type span struct {
	lane  int
	began time.Time
	asked map[int]time.Time // when its operations were, by their numbers
	ended time.Time         // when the last one did
}

// from is when an operation began: what was sent ahead waited for the one before it.
func (s *span) from(op *runtime.OpEvent) time.Time {
	asked := s.asked[op.ID]
	if op.Op.Statement != nil && asked.Before(s.ended) {
		return s.ended
	}
	return asked
}

// traced is one line of the file.
type traced struct {
	Name  string         `json:"name"`
	Phase string         `json:"ph"` // "X": it has an end
	At    int64          `json:"ts"` // microseconds since the run began
	Took  int64          `json:"dur"`
	PID   int            `json:"pid"`
	Lane  int            `json:"tid"`
	Kind  string         `json:"cat"`
	Args  map[string]any `json:"args"`
}

func newTrace(path string) (*trace, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &trace{file: f, out: bufio.NewWriter(f), open: map[instance]*span{}}, nil
}

// Read implements reader.
func (t *trace) Read(e runtime.Event) {
	who := instanceOf(e)
	s := t.open[who]
	switch e.Kind {
	case runtime.RunStarted, runtime.RunResumed:
		t.began = e.Time
	case runtime.StepStarted:
		t.open[who] = &span{lane: t.take(), began: e.Time, asked: map[int]time.Time{}}
	case runtime.OpAsked:
		if s != nil {
			s.asked[e.Op.ID] = e.Time
		}
	case runtime.OpEnded:
		if s != nil {
			t.write(e, s.from(e.Op), s.lane, e.Op.Op.Name, map[string]any{"show": runtime.Scrub(e.Op.Op.Show), "effect": e.Op.Op.Effect, "status": e.Status})
			s.ended = e.Time
			delete(s.asked, e.Op.ID)
		}
	case runtime.StepEnded:
		if s != nil {
			t.write(e, s.began, s.lane, who.title(), map[string]any{"status": e.Status})
			t.lanes[s.lane] = false
			delete(t.open, who)
		}
	}
}

// take returns the first lane that is free.
func (t *trace) take() int {
	for i, taken := range t.lanes {
		if !taken {
			t.lanes[i] = true
			return i
		}
	}
	t.lanes = append(t.lanes, true)
	return len(t.lanes) - 1
}

func (t *trace) write(e runtime.Event, from time.Time, lane int, name string, args map[string]any) {
	kind := "operation"
	if e.Kind == runtime.StepEnded {
		kind = "step"
	}
	if e.Host != "" {
		args["host"] = e.Host
	}
	line, err := json.Marshal(traced{runtime.Scrub(name), "X", from.Sub(t.began).Microseconds(), e.Time.Sub(from).Microseconds(), 1, lane, kind, args})
	before := ",\n"
	if !t.some {
		before = "[\n"
	}
	t.some = true
	_, failed := t.out.WriteString(before + string(line))
	t.err = errors.Join(t.err, err, failed)
}

// close ends the file. What had begun and not ended is not in it.
func (t *trace) close() error {
	end := "\n]\n"
	if !t.some {
		end = "[]\n"
	}
	_, err := t.out.WriteString(end)
	return errors.Join(t.err, err, t.out.Flush(), t.file.Close())
}

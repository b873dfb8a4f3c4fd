package journal

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"go.starlark.net/syntax"

	"infra/runtime"
)

// Record writes an event. It returns once the event is on disk, or says why it
// is not: an operation whose OpAsked could not be recorded must not be carried
// out. Lines of output are not kept here; they have a file in the run's folder.
// Events that are recorded at the same time share one wait for the disk.
func (j *Journal) Record(e runtime.Event) error {
	if _, kept := slots[e.Kind]; !kept {
		return nil
	}
	r, err := j.factOf(e)
	if err == nil {
		err = j.commit(r)
	}
	if err != nil {
		err = explain(fmt.Errorf("record %s of run %s: %w", describe(e), e.Run, err), filepath.Join(j.dir, fileName))
		if hint := runtime.HintOf(err); hint != "" && e.Kind != runtime.RunStarted && full(err, j.dir) {
			err = runtime.WithHint(err, "%s; then infra resume %s goes on", hint, e.Run)
		}
		return err
	}
	return nil
}

func describe(e runtime.Event) string {
	what := string(e.Kind)
	if e.Step != "" {
		what += " of " + e.Step
	}
	if e.Op != nil {
		what += fmt.Sprintf(" (%s, operation %d)", e.Op.Op.Name, e.Op.ID)
	}
	return what
}

// A fact is an event as it is kept: its entry, and what goes into the
// columns of its slot.
type fact struct {
	entry
	content []any
}

// factOf makes a fact of an event. What only the tables know, such as the
// run's part or the number of the attempt, is added when it is written.
func (j *Journal) factOf(e runtime.Event) (*fact, error) {
	content, err := j.content(e)
	if err != nil {
		return nil, err
	}
	r := &fact{content: content, entry: entry{
		runID: e.Run, kind: e.Kind, step: e.Step, host: e.Host, check: e.Check, time: stamp(e.Time),
	}}
	if e.Op != nil {
		r.item = int64(e.Op.ID)
	}
	return r, nil
}

// content is what the event's kind keeps. The names of runs, steps, hosts and
// operations are keys, which come from the plan's source and cannot hold a
// secret; all other text is scrubbed.
func (j *Journal) content(e runtime.Event) ([]any, error) {
	switch e.Kind {
	case runtime.RunStarted:
		return j.runStarted(e)
	case runtime.RunResumed:
		return runResumed(e)
	case runtime.RunEnded:
		return []any{stamp(e.Time), e.Took, e.Status, errText(e.Err), hintText(e.Err)}, nil
	case runtime.StepStarted:
		return []any{stamp(e.Time)}, nil
	case runtime.StepEnded:
		result, err := runtime.ScrubJSON(e.Result)
		return []any{e.Took, e.Status, errText(e.Err), hintText(e.Err), runtime.Scrub(e.Text), textOf(result)}, err
	case runtime.StepRetried, runtime.Logged:
		text := cmp.Or(errText(e.Err), runtime.Scrub(e.Text))
		return []any{e.Step, e.Host, e.Check, e.Kind, stamp(e.Time), text, posText(e.Pos)}, nil
	}
	if e.Op == nil {
		return nil, errors.New("the event names no operation")
	}
	if e.Kind == runtime.OpAsked {
		return opAsked(e)
	}
	return opEnded(e)
}

// runStarted makes the run's folder too, so that there is a place for outputs
// before there is an operation. The event's text is the version of infra.
func (j *Journal) runStarted(e runtime.Event) ([]any, error) {
	if e.Start == nil || e.Start.Plan == nil {
		return nil, errors.New("the event names no plan")
	}
	if e.Start.DryRun {
		return nil, errors.New("a dry run is not kept: it did nothing")
	}
	if !folderName(e.Run) {
		return nil, fmt.Errorf("%q cannot be a folder's name", e.Run)
	}
	if err := os.MkdirAll(j.Folder(e.Run), 0o700); err != nil {
		return nil, fmt.Errorf("make the run's folder: %w", err)
	}
	machine, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find the name of this machine: %w", err)
	}
	options, err := runtime.ScrubJSON(e.Start.Options)
	if err != nil {
		return nil, fmt.Errorf("keep the run's options: %w", err)
	}
	sources, err := sourcesText(e.Start.Sources)
	if err != nil {
		return nil, err
	}
	plan := e.Start.Plan
	return []any{plan.Name, e.Start.File, runtime.Scrub(plan.Title), textOf(options), sources,
		Person(), machine, runtime.Scrub(e.Text), stamp(e.Time)}, nil
}

// folderName says whether a run's id names a folder, and nothing beyond it.
func folderName(run string) bool {
	return run != "" && run != "." && run != ".." && !strings.ContainsAny(run, "/\\\x00")
}

func sourcesText(sources []runtime.Source) (any, error) {
	if sources == nil {
		return nil, nil
	}
	data, err := json.Marshal(sources)
	if err != nil {
		return nil, fmt.Errorf("keep the plan's sources: %w", err)
	}
	return string(data), nil
}

func runResumed(e runtime.Event) ([]any, error) {
	machine, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find the name of this machine: %w", err)
	}
	return []any{stamp(e.Time), Person(), machine, runtime.Scrub(e.Text)}, nil
}

// Person is who calls infra, as the journal names them: behind sudo, the one
// who called that.
func Person() string {
	if name := os.Getenv("SUDO_USER"); name != "" && os.Geteuid() == 0 {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

func opAsked(e runtime.Event) ([]any, error) {
	op := e.Op.Op
	args, err := runtime.ScrubArgs(op.Args)
	if err != nil {
		return nil, err
	}
	return []any{e.Step, e.Host, e.Check, op.Name, op.Host, op.Effect.String(), string(args), runtime.Scrub(op.Show),
		posText(op.Pos), stamp(e.Time), e.Op.Output}, nil
}

func opEnded(e runtime.Event) ([]any, error) {
	var verdict, detail string
	if p := e.Op.Prediction; p != nil {
		verdict, detail = p.Verdict.String(), runtime.Scrub(p.Detail)
	}
	result, err := runtime.ScrubJSON(e.Op.Result)
	return []any{e.Took, e.Status, errText(e.Err), hintText(e.Err), e.Op.Changed, verdict, detail, e.Op.Output, textOf(result)}, err
}

// textOf is what a column of JSON holds; no value is NULL.
func textOf(data json.RawMessage) any {
	if data == nil {
		return nil
	}
	return string(data)
}

// stamp keeps a time so that sorting numbers sorts times.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixNano()
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return runtime.Scrub(err.Error())
}

func hintText(err error) string { return runtime.Scrub(runtime.HintOf(err)) }

func posText(pos syntax.Position) string {
	if !pos.IsValid() {
		return ""
	}
	return pos.String()
}

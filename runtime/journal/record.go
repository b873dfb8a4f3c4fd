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
func (j *Journal) Record(e runtime.Event) error {
	if _, kept := writes[e.Kind]; !kept {
		return nil
	}
	if err := j.write(e); err != nil {
		err = fmt.Errorf("record %s of run %s: %w", describe(e), e.Run, err)
		return explain(err, filepath.Join(j.dir, fileName))
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

func (j *Journal) write(e runtime.Event) error {
	row, err := j.row(e)
	if err != nil {
		return err
	}
	done, err := j.writes[e.Kind].Exec(row...) // database/sql lets one goroutine at a time have the one connection
	if err != nil {
		return err
	}
	n, err := done.RowsAffected()
	if err != nil {
		return err
	}
	if n != 1 {
		return errors.New("it did not begin, or has ended before")
	}
	return nil
}

// row is what the statement for the event's kind binds. The names of runs,
// steps, hosts and operations are keys, which come from the plan's source and
// cannot hold a secret; all other text is scrubbed.
func (j *Journal) row(e runtime.Event) ([]any, error) {
	switch e.Kind {
	case runtime.RunStarted:
		return j.runStarted(e)
	case runtime.RunEnded:
		return []any{e.Run, stamp(e.Time), e.Took, e.Status, errText(e.Err), hintText(e.Err)}, nil
	case runtime.StepStarted:
		return append(stepKey(e), stamp(e.Time)), nil
	case runtime.StepEnded:
		result, err := runtime.ScrubJSON(e.Result)
		return append(stepKey(e), e.Took, e.Status, errText(e.Err), hintText(e.Err), runtime.Scrub(e.Text), textOf(result)), err
	case runtime.StepRetried, runtime.Logged:
		text := cmp.Or(errText(e.Err), runtime.Scrub(e.Text))
		return append(stepKey(e), e.Kind, stamp(e.Time), text, posText(e.Pos)), nil
	}
	if e.Op == nil {
		return nil, errors.New("the event names no operation")
	}
	if e.Kind == runtime.OpAsked {
		return opAsked(e)
	}
	return opEnded(e)
}

func stepKey(e runtime.Event) []any { return []any{e.Run, e.Step, e.Host, e.Check} }

// runStarted makes the run's folder too, so that there is a place for outputs
// before there is an operation. The event's text is the version of infra.
func (j *Journal) runStarted(e runtime.Event) ([]any, error) {
	if e.Start == nil || e.Start.Plan == nil {
		return nil, errors.New("the event names no plan")
	}
	if e.Run == "" || e.Run == "." || e.Run == ".." || strings.ContainsAny(e.Run, `/\`) {
		return nil, fmt.Errorf("%q cannot be a folder's name", e.Run)
	}
	if err := os.MkdirAll(j.Folder(e.Run), 0o700); err != nil {
		return nil, fmt.Errorf("make the run's folder: %w", err)
	}
	machine, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find the name of this machine: %w", err)
	}
	plan := e.Start.Plan
	return []any{e.Run, plan.Name, e.Start.File, runtime.Scrub(plan.Title), e.Start.DryRun,
		person(), machine, runtime.Scrub(e.Text), stamp(e.Time)}, nil
}

// person is who started the run: behind sudo, the one who called it.
func person() string {
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
	return []any{e.Run, e.Op.ID, e.Step, e.Host, e.Check, op.Name, op.Host, op.Effect.String(),
		string(args), runtime.Scrub(op.Show), posText(op.Pos), stamp(e.Time)}, nil
}

func opEnded(e runtime.Event) ([]any, error) {
	var verdict, detail string
	if p := e.Op.Prediction; p != nil {
		verdict, detail = p.Verdict.String(), runtime.Scrub(p.Detail)
	}
	result, err := runtime.ScrubJSON(e.Op.Result)
	return []any{e.Run, e.Op.ID, e.Took, e.Status, errText(e.Err), hintText(e.Err), e.Op.Changed,
		verdict, detail, e.Op.Output, textOf(result)}, err
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

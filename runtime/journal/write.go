package journal

import (
	"database/sql"
	"errors"
	"fmt"

	"infra/runtime"
)

// known is what the writer remembers of the tables, to ask less of them. It is
// forgotten whenever a transaction fails. A run's part cannot change under it:
// only one process records a run.
type known struct {
	runs     map[string]runState
	attempts map[stepOf]int64
}

type runState struct{ seq, part int64 }

// A stepOf is a step or check of a run.
type stepOf struct {
	run, step, host string
	check           bool
}

func (r *fact) stepOf() stepOf { return stepOf{r.runID, r.step, r.host, r.check} }

// write puts a record into its slot and makes its digest. A record that adds
// nothing to what is there gets none.
func (w *writer) write(r *fact) error {
	if err := w.fill(r); err != nil {
		return err
	}
	if r.content == nil {
		return nil
	}
	digest, err := digestOf(&r.entry, r.content)
	if err != nil {
		return fmt.Errorf("digest it: %w", err)
	}
	r.digest = digest
	return nil
}

func (w *writer) fill(r *fact) error {
	if r.kind == runtime.RunStarted {
		seq, err := w.put(insertRun, append(r.content, r.runID)...)
		r.run = seq
		return err
	}
	state, err := w.run(r.runID)
	if err != nil {
		return err
	}
	r.run = state.seq
	switch r.kind {
	case runtime.RunResumed:
		return w.resume(r, state)
	case runtime.RunEnded:
		r.item = state.part
		_, err = w.put(endRun, append(r.content, r.runID)...)
	case runtime.StepStarted, runtime.StepEnded:
		return w.step(r, state)
	case runtime.StepRetried, runtime.Logged:
		return w.log(r)
	case runtime.OpAsked:
		return w.ask(r)
	case runtime.OpEnded:
		_, err = w.put(endOp, append(r.content, r.runID, r.item)...)
	}
	return err
}

// run finds a run and its newest part.
func (w *writer) run(id string) (runState, error) {
	if state, ok := w.known.runs[id]; ok {
		return state, nil
	}
	var state runState
	err := w.row(stateOfRun, id).Scan(&state.seq, &state.part)
	if errors.Is(err, sql.ErrNoRows) {
		err = errRefused
	}
	if err != nil {
		return state, err
	}
	if w.known.runs == nil {
		w.known.runs = map[string]runState{}
	}
	w.known.runs[id] = state
	return state, nil
}

// resume begins another part of a run, which has not ended then. How it had
// ended before moves along.
func (w *writer) resume(r *fact, state runState) error {
	r.item = state.part + 1
	if _, err := w.put(insertResume, append(r.content, r.item, r.runID)...); err != nil {
		return err
	}
	w.known = known{} // parts and attempts begin anew
	return w.exec(reopenRun, r.runID)
}

// step writes that a step started or ended. In a part of the run that goes on
// after an earlier one, a step that is entered again has a row of its own.
func (w *writer) step(r *fact, state runState) error {
	delete(w.known.attempts, r.stepOf())
	var seq, part int64
	var status runtime.Status
	err := w.row(stateOfStep, r.runID, r.check, r.step, r.host).Scan(&seq, &part, &status)
	begins := errors.Is(err, sql.ErrNoRows)
	switch {
	case begins: // for the first time
	case err != nil:
		return err
	case part < state.part:
		begins = true
	case status != "":
		return errRefused
	case r.kind == runtime.StepStarted: // an engine may say it again for a further attempt
		r.content = nil
		return nil
	}
	told := r.content
	r.content = append([]any{r.step, r.host, r.check, state.part}, told...)
	switch {
	case !begins:
		r.item = seq
		_, err = w.put(endStep, append(told, seq)...)
	case r.kind == runtime.StepStarted:
		r.item, err = w.put(insertStep, append(r.content, r.runID)...)
	default: // it was skipped
		r.item, err = w.put(insertDone, append(r.content, r.runID)...)
	}
	return err
}

// log writes a line, and after which operation it came: times do not tell.
func (w *writer) log(r *fact) error {
	delete(w.known.attempts, r.stepOf())
	var last int64
	err := w.row(lastOp, r.runID).Scan(&last)
	if err != nil {
		return err
	}
	r.content = append(r.content, last)
	r.item, err = w.put(insertLog, append(r.content, r.runID)...)
	return err
}

// ask writes that an operation is asked for, with the attempt that it is a
// part of.
func (w *writer) ask(r *fact) error {
	attempt, ok := w.known.attempts[r.stepOf()]
	if !ok {
		if err := w.row(attemptOf, r.runID, r.check, r.step, r.host).Scan(&attempt); err != nil {
			return err
		}
		if w.known.attempts == nil {
			w.known.attempts = map[stepOf]int64{}
		}
		w.known.attempts[r.stepOf()] = attempt
	}
	r.content = append(r.content, attempt)
	_, err := w.put(insertOp, append(r.content, r.runID, r.item)...)
	return err
}

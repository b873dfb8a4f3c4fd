package runtime

import (
	"errors"
	"fmt"
)

// Sentinels, for the few places that branch on them.
var (
	// ErrInterrupted: the run was asked to stop; nothing new is started.
	ErrInterrupted = errors.New("interrupted")
	// ErrHeld: a gate or an unanswered question holds the step.
	ErrHeld = errors.New("held")
	// ErrLocked: another run works on the host.
	ErrLocked = errors.New("locked")
	// ErrPassedOver: an operation that was asked for ahead was not begun, because what
	// came before it did not end well.
	ErrPassedOver = errors.New("not begun, because what came before it did not end well")
	// ErrUntold: an operation was begun, and nothing says whether it finished.
	ErrUntold = errors.New("whether the command finished is not known")
)

// hinted is an error with advice.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// WithHint adds to err what the person can do next. The hint is shown on a
// line of its own and is not part of err's text.
func WithHint(err error, format string, args ...any) error {
	return hinted{err, fmt.Sprintf(format, args...)}
}

// HintOf returns the outermost hint in err's chain, or "".
func HintOf(err error) string {
	var h hinted
	if errors.As(err, &h) {
		return h.hint
	}
	return ""
}

// A SkippedError says why a step was not started: another one did not succeed.
type SkippedError struct {
	Why        string // in full
	Step, Host string // the step that it began with
	Ended      Status // how that one ended
}

func (e *SkippedError) Error() string { return e.Why }

// NotKnownError ends a step's preview: its code asked for a value that only a
// real run will know.
type NotKnownError struct {
	Field  string  // what was asked for, "stdout"
	Origin Unknown // where it would come from
}

func (e *NotKnownError) Error() string {
	return fmt.Sprintf("%s is not known in a dry run %s", e.Field, e.Origin)
}

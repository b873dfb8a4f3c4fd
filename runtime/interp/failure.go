package interp

import (
	"errors"
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"infra/runtime"
)

// A Failure is an error of a plan's code, with the place in the plan.
type Failure struct {
	Pos    syntax.Position // where the innermost line of a plan file stood
	Source string          // that line
	Msg    string
	Hint   string   // what to do; may be empty
	Trace  []string // where that line was called from, innermost first
	Err    error    // what the builtin returned; nil where the code itself is wrong
}

func (f *Failure) Error() string { return fmt.Sprintf("%s: %s", f.Pos, f.Msg) }

// Unwrap returns the builtin's error.
func (f *Failure) Unwrap() error { return f.Err }

// failure makes a Failure of the interpreter's error.
func failure(err error, files map[string]*source) *Failure {
	f := &Failure{Msg: err.Error(), Hint: runtime.HintOf(err), Err: err}
	var earlier *runtime.EarlierError
	if errors.As(err, &earlier) {
		f.Msg, f.Err = earlier.Error(), earlier.Err
		f.at(earlier.Stack, files)
		return f
	}
	var eval *starlark.EvalError
	if !errors.As(err, &eval) {
		return f
	}
	f.Err = eval.Unwrap()
	f.Msg = eval.Msg
	f.at(eval.CallStack, files)
	f.Msg = strings.TrimPrefix(f.Msg, "Starlark computation cancelled: ")
	return f
}

// at notes where the code was that failed.
func (f *Failure) at(stack starlark.CallStack, files map[string]*source) {
	for i := len(stack) - 1; i >= 0; i-- {
		frame := stack[i]
		src := files[frame.Pos.Filename()]
		switch {
		case src == nil: // a builtin, or Starlark's own
		case f.Pos.Line == 0:
			f.Pos, f.Source = frame.Pos, src.line(frame.Pos.Line)
		default:
			f.Trace = append(f.Trace, fmt.Sprintf("%s in %s", frame.Pos, frame.Name))
		}
	}
}

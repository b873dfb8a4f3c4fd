package runtime

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.starlark.net/syntax"
)

// A Problem is one thing that is wrong with a plan's files, shown with its
// line, a caret and a hint.
type Problem struct {
	Pos    syntax.Position
	Msg    string
	Hint   string // what to do; may be empty
	Source string // the line Pos points into; filled by the reader of files
}

// Problems is every Problem of one reading. It is the error of a plan that
// does not load.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = fmt.Sprintf("%s: %s", p.Pos, p.Msg)
	}
	return strings.Join(lines, "\n")
}

// Reading is what one reading of plan files declares. Its presence in a
// context is what makes a thread a declaring one.
type Reading struct {
	mu       sync.Mutex
	problems Problems
}

// Report notes a problem and lets the reading go on, so that all are shown at once.
func (r *Reading) Report(pos syntax.Position, hint, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, Problem{Pos: pos, Msg: fmt.Sprintf(format, args...), Hint: hint})
}

// Problems returns what was reported, each once, by file and line.
func (r *Reading) Problems() Problems {
	r.mu.Lock()
	defer r.mu.Unlock()
	ps := slices.Clone(r.problems)
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.Filename(), b.Pos.Filename()),
			cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col))
	})
	return slices.CompactFunc(ps, func(a, b Problem) bool {
		return a.Msg == b.Msg && a.Pos.String() == b.Pos.String()
	})
}

type readingKey struct{}

// WithReading makes ctx a declaring one: plan files may declare, not act.
func WithReading(ctx context.Context, r *Reading) context.Context {
	return context.WithValue(ctx, readingKey{}, r)
}

// ReadingFrom returns the reading ctx belongs to, or nil where code acts.
func ReadingFrom(ctx context.Context) *Reading {
	r, _ := ctx.Value(readingKey{}).(*Reading)
	return r
}

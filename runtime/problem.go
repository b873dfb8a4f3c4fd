package runtime

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// A Problem is one thing that is wrong with a plan's files, shown with its
// line, a caret and a hint.
type Problem struct {
	Pos    syntax.Position
	Msg    string
	Hint   string   // what to do; may be empty
	Source string   // the line Pos points into; filled by the reader of files
	Trace  []string // where the code at Pos was called from, innermost first: "plans/a.star:3:5 in deploy"
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
	seen     map[string]string // digests of what was observed, by what asked for it
	hosts    []*Host
}

// Declare notes a host that the files declare.
func (r *Reading) Declare(h *Host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hosts = append(r.hosts, h)
}

// Hosts returns the hosts that were declared, in that order.
func (r *Reading) Hosts() []*Host {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.hosts)
}

// Saw notes what a builtin observed while the files were read.
func (r *Reading) Saw(what string, answer []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[string]string{}
	}
	r.seen[what] = fmt.Sprintf("%x", sha256.Sum256(answer))
}

// Seen returns the digests of what was observed, by what asked for it.
func (r *Reading) Seen() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.seen)
}

// Report notes a problem and lets the reading go on, so that all are shown at once.
func (r *Reading) Report(pos syntax.Position, hint, format string, args ...any) {
	r.Add(Problem{Pos: pos, Msg: fmt.Sprintf(format, args...), Hint: hint})
}

// Add notes a problem; see Report.
func (r *Reading) Add(p Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, p)
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

// Undefined stands, while a file is read, for a name that is not defined. The
// name has been reported; reading goes on to find what else is wrong.
type Undefined string

var _ starlark.Callable = Undefined("")

// Name returns the name.
func (u Undefined) Name() string { return string(u) }

// String returns the name.
func (u Undefined) String() string { return string(u) }

// Type is "undefined".
func (Undefined) Type() string { return "undefined" }

// Freeze does nothing.
func (Undefined) Freeze() {}

// Truth is false.
func (Undefined) Truth() starlark.Bool { return false }

// Hash is the name's.
func (u Undefined) Hash() (uint32, error) { return starlark.String(u).Hash() }

// CallInternal fails: there is nothing to call.
func (u Undefined) CallInternal(*starlark.Thread, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
	return nil, fmt.Errorf("%s is not defined", string(u))
}

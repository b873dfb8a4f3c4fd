package engine

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.starlark.net/syntax"

	"infra/runtime"
)

// Reads keep what previews were answered, for later ones of the same project: by
// reads, and by predictions. An answer holds until a file changes that it was made
// of. Where files are not all that it was made of, a host say, it holds for a time
// only. What failed is not kept.
//
// Reads may be used by several previews at once: who asks what is being asked already
// waits for that answer. Nil Reads keep nothing.
type Reads struct {
	keep time.Duration
	now  func() time.Time

	mu    sync.Mutex
	kept  map[question]*reply
	round int // of previews
	asked int // how often something was carried out, or predicted
}

// NewReads makes Reads without an answer. What may change without a file here being
// changed holds for keep.
func NewReads(keep time.Duration) *Reads {
	return &Reads{keep: keep, now: time.Now, kept: map[question]*reply{}}
}

// Changed forgets the answers that looked at any of these files or folders, by their
// absolute paths, or at what lies in one. An answer that is still on its way goes to
// those who wait for it, and to nobody after them.
func (r *Reads) Changed(paths []string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for q, a := range r.kept {
		if a.looks.at(paths) {
			delete(r.kept, q)
		}
	}
}

// Forget forgets every answer. It is for when something was carried out.
func (r *Reads) Forget() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.kept)
}

// Asked is how often so far an answer was not taken from what is kept.
func (r *Reads) Asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// asks counts one that is not.
func (r *Reads) asks(ask func() (said, error)) (said, error) {
	r.mu.Lock()
	r.asked++
	r.mu.Unlock()
	return ask()
}

// Sweep ends a round of previews. What nobody asked for in it, nor in the round
// before, is forgotten: the steps that did are not in the plans any more.
func (r *Reads) Sweep() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for q, a := range r.kept {
		if a.round < r.round-1 {
			delete(r.kept, q)
		}
	}
	r.round++
}

// Read is the [runtime.Reader] that carries out only what is not kept.
func (r *Reads) Read(ctx context.Context, op runtime.Op) (runtime.Result, error) {
	if r == nil {
		return op.Run(ctx, io.Discard)
	}
	s, err := r.answer(ctx, op, false, func() (said, error) {
		res, err := op.Run(ctx, io.Discard)
		return said{runtime.Prediction{Value: res.Value, Aside: res.Aside}, res.Changed}, err
	})
	return runtime.Result{Value: s.Value, Changed: s.changed, Aside: s.Aside}, err
}

// predict is the prediction of an operation that is not carried out.
func (r *Reads) predict(ctx context.Context, op runtime.Op) (runtime.Prediction, error) {
	if r == nil {
		return op.Predict(ctx)
	}
	s, err := r.answer(ctx, op, true, func() (said, error) {
		p, err := op.Predict(ctx)
		return said{p, false}, err
	})
	return s.Prediction, err
}

// A question is what tells an operation from all that may be answered otherwise.
// Where the plan asks it is not among that.
type question struct {
	predict          bool
	name, host, same string
	rest             string // what else the operation says of itself
}

// questionOf is false where nothing tells it.
func questionOf(op runtime.Op, predict bool) (question, bool) {
	if op.Same == nil {
		return question{}, false
	}
	same := op.Same()
	rest, err := json.Marshal([]any{op.Effect, op.Show, op.Args, op.At, op.Looks, op.Here, op.Beyond, op.Flake, op.Assumes})
	return question{predict, op.Name, op.Host, same, string(rest)}, same != "" && err == nil
}

// A reply is an answer, which is on its way until done is closed.
type reply struct {
	done  chan struct{}
	looks looks
	files []stamp // as they were before it was asked for
	asked time.Time
	aged  bool // it holds for a time only
	round int  // in which it was asked for last; Reads.mu

	pos  syntax.Position // where it was asked for
	says said            // a copy that is nobody's
	err  error
	end  became
}

// What was said to an operation, be it carried out or predicted.
type said struct {
	runtime.Prediction
	changed bool
}

// A became is what happened to an answer that was asked for.
type became uint8

const (
	given   became = iota
	failed         // err says why
	stopped        // who asked for it was: whoever waits asks
	private        // its value cannot be handed to another
)

// answer hands out what is kept, or asks.
func (r *Reads) answer(ctx context.Context, op runtime.Op, predict bool, ask func() (said, error)) (said, error) {
	q, ok := questionOf(op, predict)
	if !ok {
		return r.asks(ask)
	}
	for {
		a, ours := r.take(q, op)
		if ours {
			return r.ask(ctx, q, a, ask)
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			return said{}, context.Cause(ctx)
		}
		switch a.end {
		case given:
			return a.at(op.Pos), nil
		case failed:
			return said{}, a.err
		case private:
			return r.asks(ask)
		}
	}
}

// take returns the answer that is kept, or on its way. Where there is none that
// holds it begins one, which is then ours to ask for.
func (r *Reads) take(q question, op runtime.Op) (a *reply, ours bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a = r.kept[q]; a != nil && r.holds(a) {
		a.round = r.round
		return a, false
	}
	a = &reply{done: make(chan struct{}), looks: looksOf(op), asked: r.now(), round: r.round, pos: op.Pos}
	a.files, a.aged = a.looks.stamps()
	r.kept[q] = a
	return a, true
}

// holds says whether an answer is on its way, or what would be answered now.
func (r *Reads) holds(a *reply) bool {
	select {
	case <-a.done:
		return !(a.aged && passed(a.asked, r.now()) >= r.keep) && unchanged(a.files)
	default:
		return true
	}
}

// passed is how long ago was, also where the machine slept, which stops one clock.
func passed(was, now time.Time) time.Duration {
	return max(now.Sub(was), now.Round(0).Sub(was.Round(0)))
}

// ask has an answer given, and keeps it where another may have it too.
func (r *Reads) ask(ctx context.Context, q question, a *reply, ask func() (said, error)) (s said, err error) {
	a.end = stopped // also where it panics
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.kept[q] == a && (a.end != given || racy(a.files, a.asked)) {
			delete(r.kept, q)
		}
		close(a.done)
	}()
	s, err = r.asks(ask)
	switch says, ok := keepable(s); {
	case ctx.Err() != nil, errors.Is(err, context.Canceled):
	case err != nil:
		a.end, a.err = failed, err
	case !ok:
		a.end = private
	default:
		a.end, a.says = given, says
	}
	return s, err
}

// keepable is a copy of what was answered, which no plan can alter. There is none of
// what tells where it was asked for in a text: the next one may be asked elsewhere.
func keepable(s said) (said, bool) {
	v, ok := copied(s.Value, nil)
	s.Value = v
	return s, ok && !strings.Contains(s.Detail, "(known after ")
}

// at is the answer for who asks at pos.
func (a *reply) at(pos syntax.Position) said {
	s := a.says
	s.Value, _ = copied(s.Value, func(u runtime.Unknown) runtime.Unknown {
		if samePosition(u.Pos, a.pos) {
			u.Pos = pos
		}
		return u
	})
	return s
}

// Looks are what an answer was made of on this machine.
type looks struct {
	host  string
	paths []string
	all   bool // nobody knows which paths
	more  bool // and what is no file, or not here
	flake bool // plan files do not count
}

func looksOf(op runtime.Op) looks {
	l := looks{host: op.Host, paths: op.Here, more: op.Host != "" || op.Beyond || op.Flake, flake: op.Flake}
	if op.Host == "" {
		l.all = op.Looks == nil
		l.paths = append(append([]string{}, op.Looks...), op.Here...)
	}
	return l
}

// at says whether any of the paths counts.
func (l looks) at(paths []string) bool {
	for _, path := range paths {
		switch {
		case l.all:
			return true
		case l.flake && filepath.Ext(path) == ".star":
		case meet(l.paths, []string{path}):
			return true
		}
	}
	return false
}

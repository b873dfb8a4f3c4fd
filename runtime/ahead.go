package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"go.starlark.net/starlark"
)

// Ahead is what an attempt of a step has asked for and does not wait for: operations that
// are statements of their own, whose answers nobody uses. They are carried out in their
// order, each only where the one before it ended well. Whatever else the attempt asks for
// waits for them; so does its end.
type Ahead struct {
	ctx, stop context.Context // of the attempt; with the end of stop nothing is begun any more

	mu      sync.Mutex
	pending []*Early
	failed  error // of those that are over, until somebody is told
}

// aheadLimit bounds how many operations are not waited for.
const aheadLimit = 64

type aheadKey struct{}

// WithAhead lets an attempt of a step go ahead. When stop ends, nothing is begun any more.
func WithAhead(ctx, stop context.Context) context.Context {
	return context.WithValue(ctx, aheadKey{}, &Ahead{ctx: ctx, stop: stop})
}

// AheadOf is the attempt's that asks. Its methods may be called where there is none.
func AheadOf(ctx context.Context) *Ahead {
	a, _ := ctx.Value(aheadKey{}).(*Ahead)
	return a
}

// Wait waits for all that was asked for. The error is an [EarlierError] of the first that
// failed since it was asked last.
func (a *Ahead) Wait() error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle()
	failed := a.failed
	a.failed = nil
	return failed
}

// Well waits too, and says whether nothing failed. It leaves the failure to Wait.
func (a *Ahead) Well() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle()
	return a.failed == nil
}

// settle is for who holds mu.
func (a *Ahead) settle() {
	for _, e := range a.pending {
		<-e.over
		if e.mistake != "" {
			panic(e.mistake)
		}
		switch {
		case a.failed != nil || e.err == nil:
		case errors.Is(e.err, ErrPassedOver) && cmp.Or(context.Cause(a.stop), context.Cause(a.ctx)) != nil:
			a.failed = &EarlierError{fmt.Errorf("not started: %w", cmp.Or(context.Cause(a.stop), context.Cause(a.ctx))), e.statement}
		default:
			a.failed = &EarlierError{e.err, e.statement}
		}
	}
	a.pending = nil
}

// Do carries out op by do. Where op says that it is a statement, and the host that it has
// begun on only has to answer, it returns without the answer.
func (a *Ahead) Do(ctx context.Context, op Op, do Do) (Result, error) {
	if a == nil {
		return do(ctx, op)
	}
	before := a.last()
	if op.Statement == nil || before == nil || before.host != op.Host || before.at != op.At {
		if err := a.Wait(); err != nil {
			return Result{}, err
		}
		before = nil
	}
	if op.Statement == nil {
		return do(ctx, op)
	}
	e := &Early{before: before, stop: a.stop, host: op.Host, at: op.At, statement: op.Statement, handed: make(chan struct{}), over: make(chan struct{})}
	go e.carryOut(ctx, op, do)
	select {
	case <-e.handed:
	case <-e.over:
	}
	a.mu.Lock()
	a.pending = append(a.pending, e)
	full := len(a.pending) == aheadLimit
	a.mu.Unlock()
	if full || !e.handedOver() {
		return e.result, a.Wait()
	}
	return Result{}, nil
}

func (a *Ahead) last() *Early {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.pending) == 0 {
		return nil
	}
	return a.pending[len(a.pending)-1]
}

// An Early is one operation of an [Ahead], for who carries it out. Its methods may be
// called of one that is nil, which is waited for like any other.
type Early struct {
	before    *Early
	stop      context.Context
	host      string
	at        *Host // as it is reached
	statement starlark.CallStack

	once   sync.Once
	handed chan struct{} // closed by HandOver
	begun  any           // what it was called with first
	over   chan struct{} // closed when what follows is known

	result  Result
	err     error
	mistake string // with which it panicked
}

type earlyKey struct{}

// EarlyOf is the operation that ctx is about, or nil.
func EarlyOf(ctx context.Context) *Early {
	e, _ := ctx.Value(earlyKey{}).(*Early)
	return e
}

func (e *Early) carryOut(ctx context.Context, op Op, do Do) {
	defer close(e.over)
	defer func() {
		if mistake := recover(); mistake != nil {
			e.mistake = fmt.Sprintf("%v\n%s", mistake, debug.Stack())
		}
	}()
	e.result, e.err = do(context.WithValue(ctx, earlyKey{}, e), op)
}

// HandOver says that the operation was begun, as begun, and that the answer may be long in
// coming.
func (e *Early) HandOver(begun any) {
	if e != nil {
		e.once.Do(func() {
			e.begun = begun
			close(e.handed)
		})
	}
}

func (e *Early) handedOver() bool {
	select {
	case <-e.handed:
		return true
	default:
		return false
	}
}

// Before is what the operation before it was begun as, and nil where that was waited for.
func (e *Early) Before() any {
	if e == nil || e.before == nil {
		return nil
	}
	return e.before.begun
}

// AfterOthers waits for the end of the operation before it. Where that did not end well, or
// nothing more is to begin, it is [ErrPassedOver].
func (e *Early) AfterOthers() error {
	if e == nil || e.before == nil {
		return nil
	}
	<-e.before.over
	if e.before.err != nil || e.stop.Err() != nil {
		return ErrPassedOver
	}
	return nil
}

// EndBefore waits for the operation before it, and returns how that failed.
func (e *Early) EndBefore() error {
	if e == nil || e.before == nil {
		return nil
	}
	<-e.before.over
	return e.before.err
}

// Stopped is closed when no operation is to be begun any more.
func (e *Early) Stopped() <-chan struct{} {
	if e == nil {
		return nil
	}
	return e.stop.Done()
}

// CallBack calls a function of a plan. What is asked for before it has ended when it begins;
// what it asks for has when it returns.
func CallBack(thread *starlark.Thread, fn starlark.Value, args starlark.Tuple) (starlark.Value, error) {
	ahead := AheadOf(ContextOf(thread))
	if err := ahead.Wait(); err != nil {
		return nil, err
	}
	v, err := starlark.Call(thread, fn, args, nil)
	if earlier := ahead.Wait(); earlier != nil {
		return nil, earlier // the code would not have come to where it failed, or returned
	}
	return v, err
}

// An EarlierError is the failure of a statement which the plan's code did not wait for.
type EarlierError struct {
	Err   error
	Stack starlark.CallStack // of the statement
}

func (e *EarlierError) Error() string { return e.Err.Error() }

// Unwrap is the failure itself.
func (e *EarlierError) Unwrap() error { return e.Err }

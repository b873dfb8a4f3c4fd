package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.starlark.net/starlark"
)

// An attempt asks for operations, of which each is carried out as its name says: "x" ends
// well, "x!" does not, "x~" goes on until the gate is opened, and "x." is waited for.
type attempt struct {
	*testing.T
	ahead *Ahead
	ctx   context.Context
	gate  chan struct{}

	mu    sync.Mutex
	begun []string
}

var errTried = errors.New("tried")

func newAttempt(t *testing.T, stop context.Context) *attempt {
	ctx := WithAhead(t.Context(), stop)
	return &attempt{T: t, ctx: ctx, ahead: AheadOf(ctx), gate: make(chan struct{})}
}

// ask asks for name as a statement.
func (a *attempt) ask(host, name string) error {
	a.Helper()
	_, err := a.do(Op{Name: name, Host: host, Statement: starlark.CallStack{{Name: name}}})
	return err
}

func (a *attempt) do(op Op) (res Result, err error) {
	a.Helper()
	over := make(chan struct{})
	var panicked any
	go func() {
		defer close(over)
		defer func() { panicked = recover() }()
		res, err = a.ahead.Do(a.ctx, op, a.carryOut)
	}()
	select {
	case <-over:
	case <-time.After(20 * time.Second):
		a.Fatalf("%s does not return", op.Name)
	}
	if panicked != nil {
		panic(panicked)
	}
	return res, err
}

func (a *attempt) carryOut(ctx context.Context, op Op) (Result, error) {
	e := EarlyOf(ctx)
	if !strings.HasSuffix(op.Name, ".") {
		e.HandOver(op.Name)
	}
	if err := e.AfterOthers(); err != nil {
		return Result{}, err
	}
	a.mu.Lock()
	a.begun = append(a.begun, op.Name)
	a.mu.Unlock()
	if strings.HasSuffix(op.Name, "~") {
		<-a.gate
	}
	if strings.HasSuffix(op.Name, "!") {
		return Result{}, errTried
	}
	if strings.HasSuffix(op.Name, "?") {
		panic("a mistake")
	}
	return Result{Value: starlark.String(op.Name)}, nil
}

// failedAt is the statement of which err is the failure.
func failedAt(err error) string {
	var earlier *EarlierError
	if !errors.As(err, &earlier) {
		return fmt.Sprint(err)
	}
	return earlier.Stack.At(0).Name
}

// TestAheadOf: what is carried out, and whose failure is told to whom, of operations that
// were asked for while the first was under way.
func TestAheadOf(t *testing.T) {
	for _, tt := range []struct{ asked, begun, told string }{
		{"a~ b c", "a~ b c", "<nil>"},
		{"a~ b! c d", "a~ b!", "b!"},
		{"a~ b! c!", "a~ b!", "b!"},
	} {
		a := newAttempt(t, t.Context())
		for _, name := range strings.Fields(tt.asked) {
			if err := a.ask("h", name); err != nil {
				t.Errorf("%s: asking for %s: %v", tt.asked, name, err)
			}
		}
		close(a.gate)
		if well := a.ahead.Well(); well != (tt.told == "<nil>") {
			t.Errorf("%s: is it well? %v", tt.asked, well)
		}
		if got := failedAt(a.ahead.Wait()); got != tt.told || strings.Join(a.begun, " ") != tt.begun {
			t.Errorf("%s: begun were %v, told of %s, want %s, %s", tt.asked, a.begun, got, tt.begun, tt.told)
		}
		if err := a.ahead.Wait(); err != nil {
			t.Errorf("%s: told twice: %v", tt.asked, err)
		}
	}
}

// TestWhatIsToldOfAFailure: what is asked for next is not carried out, whatever it is and
// whoever has noticed the failure before.
func TestWhatIsToldOfAFailure(t *testing.T) {
	statement := Op{Name: "b", Host: "h", Statement: starlark.CallStack{{Name: "b"}}}
	elsewhere := statement
	elsewhere.Host = "g"
	for name, next := range map[string]Op{"a statement": statement, "one of another host": elsewhere, "no statement": {Name: "b", Host: "h"}} {
		for _, noticed := range []bool{false, true} {
			a := newAttempt(t, t.Context())
			if err := a.ask("h", "a!"); err != nil {
				t.Fatal(err)
			}
			if noticed && a.ahead.Well() {
				t.Error("it is well")
			}
			_, err := a.do(next)
			if err == nil {
				err = a.ahead.Wait() // it went ahead of what nobody had noticed
			}
			if failedAt(err) != "a!" || !errors.Is(err, errTried) || strings.Join(a.begun, " ") != "a!" {
				t.Errorf("%s, noticed before: %v: begun were %v, told %v", name, noticed, a.begun, err)
			}
		}
	}
}

// TestWhatWaits: no statement, or one of another host, waits for what is under way; so does
// who asks for one that nobody can follow.
func TestWhatWaits(t *testing.T) {
	for name, op := range map[string]Op{
		"no statement": {Name: "b", Host: "h"}, "another host": {Name: "b", Host: "g", Statement: starlark.CallStack{{}}},
		"cannot be followed": {Name: "b.", Host: "h", Statement: starlark.CallStack{{}}},
	} {
		a := newAttempt(t, t.Context())
		if err := a.ask("h", "a~"); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(20*time.Millisecond, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			if slices.Contains(a.begun, op.Name) {
				t.Errorf("%s: it did not wait", name)
			}
			close(a.gate)
		})
		_, err := a.do(op)
		if err == nil {
			err = a.ahead.Wait()
		}
		if err != nil || strings.Join(a.begun, " ") != "a~ "+op.Name {
			t.Errorf("%s: begun were %v: %v", name, a.begun, err)
		}
	}
}

// TestAheadIsBounded: the last of so many waits for all of them.
func TestAheadIsBounded(t *testing.T) {
	a := newAttempt(t, t.Context())
	if err := a.ask("h", "~"); err != nil {
		t.Fatal(err)
	}
	for i := range aheadLimit - 2 {
		if err := a.ask("h", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	time.AfterFunc(20*time.Millisecond, func() { close(a.gate) })
	if err := a.ask("h", "last"); err != nil || len(a.begun) != aheadLimit {
		t.Errorf("it returned with %d done: %v", len(a.begun), err)
	}
}

// TestAStopPassesOver: what was not begun when nothing more is to begin never is, and who
// waits is told why.
func TestAStopPassesOver(t *testing.T) {
	stop, cancel := context.WithCancelCause(t.Context())
	a := newAttempt(t, stop)
	for _, name := range []string{"a~", "b", "c"} {
		if err := a.ask("h", name); err != nil {
			t.Fatal(err)
		}
	}
	cancel(ErrInterrupted)
	close(a.gate)
	err := a.ahead.Wait()
	if failedAt(err) != "b" || !errors.Is(err, ErrInterrupted) || strings.Join(a.begun, " ") != "a~" {
		t.Errorf("begun were %v, told %v", a.begun, err)
	}
}

// TestAMistakeComesOut where the plan's code is, with where it was made: in a goroutine of
// its own it would end the process without a word.
func TestAMistakeComesOut(t *testing.T) {
	for name, then := range map[string]func(*attempt){
		"of a wait":           func(a *attempt) { _ = a.ahead.Wait() },
		"of what is said":     func(a *attempt) { a.ahead.Well() },
		"of what waits":       func(a *attempt) { _, _ = a.do(Op{Name: "b", Host: "h"}) },
		"of another function": func(a *attempt) { _, _ = CallBack(a.thread(), starlark.Universe["len"], nil) },
	} {
		a := newAttempt(t, t.Context())
		if err := a.ask("h", "a?"); err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, "a mistake") || !strings.Contains(got, "carryOut") {
					t.Errorf("%s: it comes out as %s", name, got)
				}
			}()
			then(a)
		}()
	}
}

func (a *attempt) thread() *starlark.Thread {
	thread := &starlark.Thread{}
	SetContext(thread, a.ctx)
	return thread
}

// TestWithoutAnAttempt there is nothing to wait for, and nothing to be behind.
func TestWithoutAnAttempt(t *testing.T) {
	a := newAttempt(t, t.Context())
	a.ctx, a.ahead = t.Context(), AheadOf(t.Context())
	res, err := a.do(Op{Name: "a", Statement: starlark.CallStack{{}}})
	if err != nil || res.Value != starlark.String("a") || a.ahead.Wait() != nil {
		t.Errorf("got %v: %v", res, err)
	}
	if e := EarlyOf(t.Context()); e.Before() != nil || e.Stopped() != nil || e.AfterOthers() != nil {
		t.Error("there is something before")
	}
}

// TestBefore is what the one before began as, where nobody has waited for that.
func TestBefore(t *testing.T) {
	ctx := WithAhead(t.Context(), t.Context())
	var before []any
	do := func(ctx context.Context, op Op) (Result, error) {
		e := EarlyOf(ctx)
		before = append(before, e.Before())
		e.HandOver(op.Name)
		return Result{}, e.AfterOthers()
	}
	for _, name := range []string{"a", "b", "wait", "c"} {
		if name == "wait" {
			if err := AheadOf(ctx).Wait(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if _, err := AheadOf(ctx).Do(ctx, Op{Name: name, Statement: starlark.CallStack{{}}}, do); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(before) != "[<nil> a <nil>]" {
		t.Errorf("got %v", before)
	}
}

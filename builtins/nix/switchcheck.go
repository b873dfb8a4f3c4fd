package nix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.starlark.net/starlark"

	"infra/builtins/internal/call"
	"infra/runtime"
	"infra/runtime/remote"
)

// examined says why the new system is not to be confirmed, or nil.
func (s switching) examined(c *call.Call, b before) error {
	if _, err := c.Read(s.reachOp(b)); err != nil {
		return err
	}
	for _, v := range s.Checks {
		fn := v.(starlark.Callable)
		if err := s.check(c, fn); err != nil {
			return fmt.Errorf("check %s: %w", fn.Name(), err)
		}
	}
	return nil
}

// check calls one of the plan's functions, in which nothing may be changed.
func (s switching) check(c *call.Call, fn starlark.Callable) error {
	var args starlark.Tuple
	if f, ok := fn.(*starlark.Function); !ok || f.NumParams() > 0 {
		args = starlark.Tuple{s.Host}
	}
	runtime.SetContext(c.Thread, runtime.WithReadsOnly(c.Context(), "a check of nix.switch"))
	defer runtime.SetContext(c.Thread, c.Context())
	v, err := runtime.CallBack(c.Thread, fn, args)
	if err != nil {
		return err
	}
	if u, ok := runtime.FindUnknown(v); ok {
		return u.End("what the check returned")
	}
	ok, detail := runtime.Judge(v)
	switch {
	case ok:
		return nil
	case detail != "":
		return errors.New(detail)
	}
	return fmt.Errorf("it returned %s", v)
}

// reachOp reaches the host by a new connection, and by every other way to it. It
// tries as long as the host waits: a network may come back.
func (s switching) reachOp(b before) runtime.Op {
	g := guard{s, b}
	ways, _ := s.via() // they were valid
	show := "a new connection to " + s.Host.Name
	for _, way := range ways {
		show += ", and to " + address(way)
	}
	op := s.operation("reach", show)
	op.Beyond = true
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, s.Within, fmt.Errorf("not confirmed within %s", s.Within))
		defer cancel()
		for _, way := range append([]*runtime.Host{s.Host}, ways...) {
			if err := g.reached(ctx, way, log); err != nil {
				return runtime.Result{}, err
			}
		}
		return runtime.Result{Value: starlark.None}, nil
	}
	return op
}

func address(h *runtime.Host) string {
	if h.SSH != "" {
		return h.SSH
	}
	return h.Name
}

// reached wants a new connection by one way, and the new system at its end.
func (g guard) reached(ctx context.Context, way *runtime.Host, log io.Writer) error {
	over := guard{g.switching, g.before}
	over.Host = &runtime.Host{Name: way.Name, System: g.Host.System, SSH: way.SSH, Place: way.Place}
	for said := ""; ; {
		err := g.pool.Fresh(ctx, way)
		if err == nil {
			var w watch
			if w, err = over.ask(ctx, false); err == nil {
				return g.expected(w)
			}
		}
		if ctx.Err() == nil && !errors.Is(err, remote.ErrUnreachable) && !errors.Is(err, runtime.ErrUntold) {
			return err
		}
		if text := err.Error(); text != said {
			said = text
			fmt.Fprintln(log, text)
		}
		pause(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("no new connection: %s; %w", said, context.Cause(ctx))
		}
	}
}

// pause waits a little before something is tried again.
func pause(ctx context.Context) {
	select {
	case <-time.After(500 * time.Millisecond):
	case <-ctx.Done():
	}
}

// expected says what is wrong with what the other end of a connection is.
func (g guard) expected(w watch) error {
	switch {
	case w.ours && w.claim == claimBack && !w.booted:
		return g.late()
	case w.state.current == g.before.path() && (!w.ours || w.booted) && g.token() != "":
		return fmt.Errorf("%s was booted, or switched, before the confirmation", g.Host.Name)
	case w.state.current != g.System.Path:
		return fmt.Errorf("the activation ended without an error, and still %s runs %s, not %s", g.Host.Name, runsNow(w.state), g.System.Path)
	}
	return nil // it waits for the confirmation, or an earlier process has given it
}

func runsNow(s systemState) string {
	if s.current == "" {
		return "no system of nix"
	}
	return s.current
}

// watched is the failure of a switch whose run may not touch the host any more,
// with what that host has done by itself.
func (s switching) watched(c *call.Call, b before, failure error) error {
	g := guard{s, b}
	op := s.operation("watch", s.Host.Name+" goes back by itself")
	op.Beyond = true
	op.Run = func(ctx context.Context, log io.Writer) (runtime.Result, error) {
		ctx, cancel := context.WithTimeout(ctx, g.Within+backTime)
		defer cancel()
		w, err := g.settled(ctx, false)
		if err != nil {
			return runtime.Result{}, fmt.Errorf("%w\nhow it left the host is not known: %v", failure, err)
		}
		return runtime.Result{}, g.verdict(w, failure, fromStart)
	}
	_, err := c.Read(op)
	return err
}

package remote

import (
	"context"

	"infra/runtime"
)

// keepShell keeps a shell for the next command, unless the host was changed since it
// began, another one is kept, or its session may be wanted by others.
func (c *conn) keepShell(s *shell) {
	c.shellMu.Lock()
	defer c.shellMu.Unlock()
	if c.idle != nil || s.era != c.era || s.conn != c || s.lock == nil && c.slots.none() {
		s.retire()
		return
	}
	c.idle = s
}

// takeShell takes the shell that is kept, or nil.
func (c *conn) takeShell() *shell {
	c.shellMu.Lock()
	defer c.shellMu.Unlock()
	s := c.idle
	c.idle = nil
	return s
}

// owned notes that an attempt of a step has changed the host by a shell, which it may go
// on with to its end.
func (c *conn) owned(s *shell, attempt context.Context) {
	c.shellMu.Lock()
	defer c.shellMu.Unlock()
	c.era++
	s.era = c.era
	if attempt == nil || s.owner == attempt {
		return
	}
	s.owner = attempt
	context.AfterFunc(attempt, func() {
		c.shellMu.Lock()
		defer c.shellMu.Unlock()
		if c.idle == s {
			c.idle = nil
			s.retire()
		}
	})
}

// makeRoom ends the shell that is kept, if that makes room for a session more.
func (c *conn) makeRoom() {
	c.shellMu.Lock()
	defer c.shellMu.Unlock()
	if c.idle != nil && c.idle.lock == nil {
		c.idle.retire()
		c.idle = nil
	}
}

// dropShell ends the shell that is kept.
func (c *conn) dropShell() {
	if s := c.takeShell(); s != nil {
		s.retire()
	}
}

// dropOther ends the shell that is kept, unless it is s, which a later command has left.
func (c *conn) dropOther(s *shell) {
	c.shellMu.Lock()
	defer c.shellMu.Unlock()
	if c.idle != nil && c.idle != s {
		c.idle.retire()
		c.idle = nil
	}
}

// changed notes, after what is no command of a shell, that the host is another one than
// those shells know that began before.
func (c *conn) changed() {
	c.shellMu.Lock()
	c.era++
	c.shellMu.Unlock()
	c.dropShell()
}

func (c *conn) eraNow() int {
	c.shellMu.Lock()
	defer c.shellMu.Unlock()
	return c.era
}

// shell returns one that is there, or nil where the command had better have a session
// of its own. One is begun where it is worth it.
func (c *conn) shell(ctx context.Context, cmd Command) *shell {
	s, attempt := c.takeShell(), runtime.AttemptOf(ctx)
	if s != nil && s.owner != nil && s.owner != attempt {
		s.retire()
		s = nil
	}
	if s == nil && (cmd.Reads || attempt != nil) {
		s = c.openShell(ctx)
	}
	if s == nil {
		return nil
	}
	select {
	case <-s.ready:
	case <-ctx.Done():
		s.retire()
		return nil
	}
	if s.err != nil || !s.there(ctx) {
		s.retire()
		return nil
	}
	return s
}

// there asks the host whether it is, where it has said nothing for a while.
func (s *shell) there(ctx context.Context) bool {
	select {
	case <-s.gone:
		return false
	default:
	}
	s.mu.Lock()
	silent := now() - s.heard
	s.mu.Unlock()
	if silent < freshFor {
		return true
	}
	asked := make(chan error, 1)
	go func() {
		_, _, err := s.session.conn.client.SendRequest(keepaliveRequest, true, nil)
		asked <- err
	}()
	select {
	case err := <-asked:
		return err == nil
	case <-s.gone:
	case <-ctx.Done():
	}
	return false
}

// suits says whether a command can run in a shell, which has no input for it and is no
// other user than the login.
func (c *conn) suits(cmd Command) bool {
	return cmd.Stdin.Reveal() == "" && (!cmd.Sudo || c.endpoint.User == "root")
}

// inShell runs a command, of which line is the [prelude], in a shell, and says no where
// there is none. Behind what its step has asked for before, it need not wait for that.
func (c *conn) inShell(ctx context.Context, cmd Command, line string) (exit Exit, ran bool, err error) {
	early := runtime.EarlyOf(ctx)
	gate := &gate{}
	defer gate.shut()
	x := c.follow(early, cmd, line, gate)
	if x != nil {
		early.HandOver(x)
		if err := c.told(ctx, early, cmd, x); err != nil {
			return Exit{}, true, err
		}
	}
	if x == nil || x.away {
		if err := early.AfterOthers(); err != nil {
			return Exit{}, true, err
		}
		if x = c.alone(ctx, cmd, line, gate); x == nil {
			return Exit{}, false, nil
		}
		early.HandOver(x)
		if err := c.told(ctx, early, cmd, x); err != nil {
			return Exit{}, true, err
		}
	}
	switch {
	case x.vain:
		return Exit{}, true, runtime.ErrPassedOver
	case !x.begun:
		return Exit{}, true, c.notStarted(job{}, x.report())
	}
	return Exit{Code: x.status, Signal: signalOf(x.status)}, true, nil
}

// told waits for the host to say what became of a command, and sees to its shell.
func (c *conn) told(ctx context.Context, early *runtime.Early, cmd Command, x *shellCommand) error {
	err := x.await(ctx, early.Stopped())
	attempt := runtime.AttemptOf(ctx)
	if !cmd.Reads {
		c.dropOther(x.shell)
		c.owned(x.shell, attempt)
	}
	if err == nil && x.last {
		x.shell.finish(ctx, cmd.Reads || attempt != nil)
	}
	return err
}

// follow sends a command behind the one that its step has asked for before, and returns
// nil where that cannot be.
func (c *conn) follow(early *runtime.Early, cmd Command, line string, gate *gate) *shellCommand {
	before, ok := early.Before().(*shellCommand)
	if !ok || before.shell.session.conn != c || !c.suits(cmd) {
		return nil
	}
	x := newShellCommand(before.shell, line, cmd, gate)
	if !before.shell.sendAfter(before, x) {
		return nil
	}
	return x
}

// alone sends a command to a shell that runs nothing else, and returns nil where there is
// none for it.
func (c *conn) alone(ctx context.Context, cmd Command, line string, gate *gate) *shellCommand {
	if !c.suits(cmd) {
		return nil
	}
	s := c.shell(ctx, cmd)
	switch {
	case s == nil:
		return nil
	case cmd.Unit != "" && s.units:
		c.keepShell(s)
		return nil
	}
	x := newShellCommand(s, line, cmd, gate)
	s.send(x)
	return x
}

// finish reads for a while what the commands have left behind prints. A shell of which
// nothing is left is kept where it may be.
func (s *shell) finish(ctx context.Context, keep bool) {
	s.mu.Lock()
	left, halted := s.left, s.halted
	s.mu.Unlock()
	switch {
	case left:
	case keep && !halted:
		s.conn.keepShell(s)
		return
	default:
		s.retire()
		return
	}
	s.quit()
	select {
	case <-s.gone:
	case <-ctx.Done():
	}
}

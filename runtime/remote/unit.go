package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"infra/runtime"
)

// regainFor bounds how long a connection that was lost is made again for the
// sake of a command that goes on without it.
const regainFor = time.Minute

// A Settled is what became of a command that [Pool.Run] ran as a unit.
type Settled struct {
	Fate runtime.Fate
	Why  string // it is untold
	Exit Exit   // of what is done
	Mute bool   // what it printed is lost: its host was rebooted since
}

// runUnit runs a command, of which line is the [prelude], as a unit.
func (p *Pool) runUnit(ctx context.Context, h *runtime.Host, cmd Command, line string) (Exit, error) {
	f, err := p.follow(h, cmd)
	if err != nil {
		return Exit{}, err
	}
	if n, ok := p.numbers.Load(f.key()); ok {
		f.number = n.(int)
	}
	if exit, ran, err := f.plainly(ctx, cmd, line); ran {
		return exit, err
	}
	head := fmt.Sprintf("%s %d\n%s\n", f.name(), p.config.Grace.Milliseconds(), joined(unitRuns))
	s, err := f.judge(ctx, unitStarts, io.MultiReader(strings.NewReader(head), wrapperInput(cmd, line, p.config.Grace)))
	s, err = f.regain(ctx, s, err)
	if f.bare && f.number == 1 { // else an earlier one may have left something
		p.traceless.Store(f.key(), nil)
	}
	switch {
	case err == nil && s.Mute:
		fmt.Fprintf(f.stderr, "[%s went down, and what the command printed after this is lost]\n", h.Name)
	case err != nil || s.Fate == runtime.Done:
	case s.Fate == runtime.NotDone:
		err = fmt.Errorf("the connection to %s was lost before the command began", h.Name)
	default:
		err = fmt.Errorf("%s; %w", s.Why, runtime.ErrUntold)
	}
	return s.Exit, err
}

// plainly runs a command in a shell that is there, where it could not be a unit.
func (f *following) plainly(ctx context.Context, cmd Command, line string) (exit Exit, ran bool, err error) {
	c, err := f.pool.to(ctx, f.host)
	if err != nil {
		return Exit{}, true, err
	}
	exit, ran, err = c.inShell(ctx, cmd, line)
	if ran && f.number == 1 { // else an earlier one may have left something
		f.pool.traceless.Store(f.key(), nil)
	}
	return exit, ran, err
}

// Settle finds out what became of the command that was, or was to be, the unit
// cmd.Unit of h. It waits for the end of one that goes on; all that it prints, or
// has printed, goes to cmd's writers. Of the rest of cmd, only Sudo counts.
//
// What has not begun will not, and may then be run again under the same name.
// What ran without systemd, was killed, or ended with its host is untold, and
// Why says so; an error says that there is no saying now.
func (p *Pool) Settle(ctx context.Context, h *runtime.Host, cmd Command) (Settled, error) {
	f, err := p.follow(h, cmd)
	if err != nil {
		return Settled{}, err
	}
	for {
		s, err := f.judge(ctx, unitSettles, strings.NewReader(f.question("settle")))
		s, err = f.regain(ctx, s, err)
		var vain notBegun
		switch {
		case errors.As(err, &vain):
			f.number++ // which an earlier Settle may have made way for
			continue
		case err == nil && s.Fate == runtime.NotDone:
			p.numbers.Store(f.key(), f.number)
		}
		return s, err
	}
}

// Forget removes what is kept on h of a command that ran as a unit. The command
// itself, or a daemon of it, is left alone. The host is not asked where it said that
// there is nothing, as without a systemd.
func (p *Pool) Forget(ctx context.Context, h *runtime.Host, cmd Command) error {
	f, err := p.follow(h, cmd)
	if err != nil {
		return err
	}
	p.numbers.Delete(f.key())
	if _, none := p.traceless.LoadAndDelete(f.key()); none {
		return nil
	}
	c, err := p.to(ctx, h)
	if err != nil {
		return err
	}
	_, err = c.run(ctx, job{script: unitForgets, sudo: cmd.Sudo, input: strings.NewReader(f.unit + "\n\n"), grace: p.config.Grace})
	return err
}

package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"infra/runtime"
)

// A following is one command that runs as a unit, over the sessions that it
// takes to see its end.
type following struct {
	pool           *Pool
	host           *runtime.Host
	sudo           bool
	unit           string // what the caller calls it
	number         int    // 2 where the first was settled never to begin, and so on
	stdout, stderr *resumed

	isUnit bool // the host says so
	plain  bool // the host says that it is none
	bare   bool // the host says that nothing is left of it either
	told   bool // the last session ended with the host's word
}

func (p *Pool) follow(h *runtime.Host, cmd Command) (*following, error) {
	for _, r := range cmd.Unit {
		if r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return nil, fmt.Errorf("%q cannot be the name of a unit", cmd.Unit)
		}
	}
	if cmd.Unit == "" || len(cmd.Unit) > 200 {
		return nil, fmt.Errorf("%q cannot be the name of a unit", cmd.Unit)
	}
	return &following{pool: p, host: h, sudo: cmd.Sudo, unit: cmd.Unit, number: 1,
		stdout: &resumed{w: cmd.Stdout}, stderr: &resumed{w: cmd.Stderr}}, nil
}

func (f *following) key() string { return f.host.Name + " " + f.unit }

// name is the unit's own.
func (f *following) name() string {
	if f.number == 1 {
		return f.unit
	}
	return f.unit + "." + strconv.Itoa(f.number)
}

// question is what unitSettles reads.
func (f *following) question(what string) string {
	return fmt.Sprintf("%s %s %d\n", f.unit, what, f.number)
}

// session runs a script, which is told when ctx ends whether the unit is to end.
func (f *following) session(ctx context.Context, script string, input io.Reader) (*conn, report, error) {
	c, err := f.pool.to(ctx, f.host)
	if err != nil {
		return nil, report{}, err
	}
	r, err := c.carryOut(ctx, job{script: script, sudo: f.sudo && c.endpoint.User != "root", input: input,
		stdout: f.stdout.again(), stderr: f.stderr.again(), grace: f.pool.config.Grace,
		farewell: func(cause error) string {
			if goesOn(cause) {
				return ""
			}
			return "stop\n"
		}})
	c.changed()
	return c, r, err
}

// goesOn says whether a unit outlasts what ended the wait for it: it does where
// a run that is resumed will wait again.
func goesOn(cause error) bool {
	return errors.Is(cause, runtime.ErrInterrupted) || errors.Is(cause, context.Canceled)
}

// notBegun is the error of a command that did not start.
type notBegun struct{ error }

func (n notBegun) Unwrap() error { return n.error }

// judge runs a script and says what the host thereby told.
func (f *following) judge(ctx context.Context, script string, input io.Reader) (Settled, error) {
	c, r, err := f.session(ctx, script, input)
	words, noise := cutWord(r.noise)
	if len(words) == 1 && words[0] == traceless {
		f.bare, words = true, nil
	}
	unit := len(words) > 0 && words[0] == "unit"
	f.isUnit = f.isUnit || unit
	f.plain = f.plain || !f.isUnit && r.started
	f.told, r.noise = err == nil, noise
	switch {
	case err != nil && f.isUnit && ctx.Err() != nil && !goesOn(err) && !errors.Is(err, runtime.ErrUntold):
		return Settled{Fate: runtime.Done}, err // it was stopped
	case err != nil:
		return Settled{}, err
	case f.plain:
		return done(r.status), nil
	case len(words) == 0:
		return Settled{}, c.notStarted(job{sudo: f.sudo && c.endpoint.User != "root"}, r)
	case !unit:
		return f.read(words)
	}
	if len(words) > 1 {
		f.number = number(words[1])
	}
	if r.status == vague || r.status > killed {
		s, err := f.ask(ctx)
		switch {
		case err != nil:
			f.told = false
			return Settled{}, fmt.Errorf("%w; asking how the command ended: %w", runtime.ErrUntold, err)
		case s.Fate == runtime.Untold && r.status > killed:
			f.told = false
			return Settled{}, fmt.Errorf("what followed the command on %s was killed; %w", f.host.Name, runtime.ErrUntold)
		case s.Fate == runtime.Untold:
			return s, nil
		case s.Fate == runtime.Done:
			r.status = s.Exit.Code
		}
	}
	if !r.started {
		return Settled{Fate: runtime.NotDone}, notBegun{c.notStarted(job{}, r)}
	}
	return done(r.status), nil
}

// vague is the exit status of a script that follows a unit, where that did not
// say how the command ended. A command may have it, too: then one has to ask.
const vague = 125

// killed and more is the exit status of a command that a signal ended, or of the
// script, which may have been killed while the command goes on: one has to ask
// then, too.
const killed = 128

func (f *following) ask(ctx context.Context) (Settled, error) {
	_, r, err := f.session(ctx, unitSettles, strings.NewReader(f.question("ask")))
	if err != nil {
		f.told = false
		return Settled{}, err
	}
	words, _ := cutWord(r.noise)
	return f.read(words)
}

func done(status int) Settled {
	return Settled{Fate: runtime.Done, Exit: Exit{Code: status, Signal: signalOf(status)}}
}

// read is what the words of unitSettles say.
func (f *following) read(words []string) (Settled, error) {
	unit := "infra-" + f.name()
	switch {
	case len(words) == 2 && words[0] == "ended":
		s := done(number(words[1]))
		s.Mute = true
		return s, nil
	case len(words) == 2 && words[0] == "void":
		f.number = number(words[1])
		return Settled{Fate: runtime.NotDone}, nil
	case len(words) == 1 && words[0] == "unbegun":
		return Settled{Fate: runtime.NotDone}, nil
	case len(words) == 1:
		f.plain = words[0] == "plain"
		if why, ok := untold[words[0]]; ok {
			return Settled{Why: fmt.Sprintf(why, unit, f.host.Name)}, nil
		}
	}
	return Settled{}, fmt.Errorf("%s says %q of the unit %s", f.host.Name, words, unit)
}

var untold = map[string]string{
	"plain":    "the command did not run as %s: systemd does not run %s, or not as root",
	"rebooted": "%s had begun and not ended when %s went down",
	"gone":     "%s on %s was killed, and did not tell how its command ended",
}

func number(word string) int {
	n, _ := strconv.Atoi(word) // our own script's
	return n
}

// cutWord returns what a script says of a unit, and what else was said.
func cutWord(noise string) (words []string, rest string) {
	var others []string
	for line := range strings.Lines(noise) {
		if said, ok := strings.CutPrefix(strings.TrimSpace(line), word+" "); ok {
			words = strings.Fields(said)
			continue
		}
		others = append(others, line)
	}
	return words, strings.TrimSpace(strings.Join(others, ""))
}

// regain makes a lost connection again, to see the end of the command.
func (f *following) regain(ctx context.Context, s Settled, err error) (Settled, error) {
	lost, deadline := err, time.Now().Add(regainFor)
	for pause := 200 * time.Millisecond; errors.Is(err, runtime.ErrUntold) && !f.told && !f.plain && ctx.Err() == nil; pause = min(2*pause, 5*time.Second) {
		if time.Now().Add(pause).After(deadline) {
			break
		}
		if why := sleep(ctx, pause); why != nil {
			err = fmt.Errorf("%w; %w", why, lost)
			break
		}
		s, err = f.judge(ctx, unitSettles, strings.NewReader(f.question("settle")))
		if !f.told && ctx.Err() == nil || f.plain {
			err = lost
		}
	}
	return s, f.leaves(err)
}

// leaves adds to the error of a command that may go on where that is, and what
// ends it.
func (f *following) leaves(err error) error {
	if err == nil || f.told || !f.isUnit || !goesOn(err) && !errors.Is(err, runtime.ErrUntold) {
		return err
	}
	if goesOn(err) {
		err = fmt.Errorf("%w; the command goes on as infra-%s", err, f.name())
	}
	return runtime.WithHint(err, "infra resume waits for infra-%s; systemctl stop infra-%[1]s on %s ends it", f.name(), f.host.Name)
}

// A resumed writer gets a stream several times from its beginning, and passes
// on what is new.
type resumed struct {
	w          io.Writer // nil drops it
	seen, skip int64
}

// again is the writer for the next time.
func (r *resumed) again() io.Writer {
	r.skip = r.seen
	return r
}

func (r *resumed) Write(p []byte) (int, error) {
	fresh := p[min(r.skip, int64(len(p))):]
	r.skip -= int64(len(p) - len(fresh))
	r.seen += int64(len(fresh))
	if r.w == nil || len(fresh) == 0 {
		return len(p), nil
	}
	_, err := r.w.Write(fresh)
	return len(p), err
}

package nix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"infra/builtins/internal/command"
	"infra/runtime"
	"infra/runtime/remote"
)

const darwinKind = runtime.Darwin

// A guard is the watchdog of one switch, on its host.
type guard struct {
	switching
	before before
}

// token tells the watchdog of this switch from any other: the two systems, of
// which no other switch that could still be confirmed has both. "" is no watchdog.
func (g guard) token() string {
	if !g.before.back {
		return ""
	}
	return storeHash(g.before.path()) + "-" + storeHash(g.System.Path)
}

// storeHash is the part of a store path that no other has.
func storeHash(path string) string {
	hash, _, _ := strings.Cut(strings.TrimPrefix(path, storeDir+"/"), "-")
	return hash
}

func (g guard) dir() string { return watchdogDir(g.Host.Kind()) }

// files are what arming alters on the host, and confirming takes away.
func (g guard) files() []string {
	if g.Host.Kind() == darwinKind {
		return []string{g.dir(), watchdogPlist}
	}
	return []string{g.dir(), "/run/systemd/transient"}
}

// script runs one of the watchdog's scripts as root, and returns what it said.
func (g guard) script(ctx context.Context, what string, stdin, script string, args ...string) (map[string]string, error) {
	cmd := remote.Command{Sudo: true, Stdin: runtime.PlainText(stdin)}
	out, err := g.storeOf(g.Host, io.Discard).script(ctx, what, cmd, script, append([]string{g.dir()}, args...)...)
	return saidBy(out.Stdout), err
}

// saidBy reads name=value lines; of a name that is there several times, all values.
func saidBy(stdout string) map[string]string {
	said := map[string]string{}
	for line := range strings.Lines(stdout) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		if !ok {
			continue
		}
		if was, more := said[name]; more {
			value = was + "\n" + value
		}
		said[name] = value
	}
	return said
}

// arm arms it, or gives it its time anew.
func (g guard) arm(ctx context.Context, log io.Writer) error {
	seconds := strconv.Itoa(int((g.Within + time.Second - 1) / time.Second))
	said, err := g.script(ctx, "arming the watchdog", backScript, armScript,
		g.Host.Kind(), g.token(), g.System.Path, g.before.path(), g.before.profile, seconds)
	switch {
	case err != nil:
		return err
	case said["held"] != "":
		return runtime.WithHint(fmt.Errorf("another switch of %s is not confirmed yet", g.Host.Name),
			"it is over when %s on the host is gone or has a claim; its host goes back by itself", g.dir())
	case said["armed"] == "":
		now := said["current"]
		if now == "" {
			now = "no system of nix"
		}
		return runtime.WithHint(fmt.Errorf("since it was recorded that %s runs %s, somebody has switched it: it runs %s now", g.Host.Name, g.before.path(), now),
			"run the plan again: what runs is then recorded anew")
	}
	fmt.Fprintf(log, "armed (%s): without a confirmation %s goes back to %s in %s\n", said["armed"], g.Host.Name, g.before.path(), g.Within)
	return nil
}

// A watch is how the watchdog and its host are.
type watch struct {
	state   systemState
	ours    bool   // it is that of this switch
	watches bool   // it is armed
	alive   bool   // it watches, or goes back
	claim   string // what was decided: "confirmed", [claimBack]; "" is nothing yet
	booted  bool   // the host was, since it was armed
	ended   string // the exit status of going back; "" where that has not ended
	log     string
}

// claimBack is the claim of a watchdog that goes back.
const claimBack = "back"

// ask looks at it. With now it has it go back at once.
func (g guard) ask(ctx context.Context, now bool) (watch, error) {
	at := ""
	if now {
		at = "now"
	}
	out, err := g.storeOf(g.Host, io.Discard).script(ctx, "asking the watchdog", remote.Command{Sudo: true},
		askScript+"\n"+`set -- "$4" "$5"`+"\n"+stateScript, g.dir(), g.token(), at, g.System.Path, systemProfile)
	if err == nil {
		err = cutOff(out.Stdout)
	}
	said, state := saidBy(out.Stdout), parseState(out.Stdout)
	if err == nil && isStopping(said, state, g.before.path()) {
		err = fmt.Errorf("%s is being shut down", g.Host.Name)
	}
	return watch{
		state: state, ours: g.token() != "" && said["ours"] != "", watches: said["watches"] != "", alive: said["alive"] != "",
		claim: said["claim"], booted: said["booted"] != "", ended: said["ended"], log: said["log"],
	}, err
}

// isStopping says whether a host is being shut down. It then may have no systemd any
// more that could be asked, and no store: what runs there cannot be told.
func isStopping(said map[string]string, state systemState, prev string) bool {
	systemd, asked := said["systemd"]
	return asked && (systemd == "stopping" || prev != "" && state.current == "" && (systemd == "" || systemd == "offline" || systemd == "unknown"))
}

// over says whether the host will not change any more by itself.
func (w watch) over() bool {
	return !w.ours || w.ended != "" || w.claim != "" && !w.alive || !w.watches && !w.alive
}

// rolledBack is the error of a switch that its host took back, or left.
type rolledBack struct {
	error
	unjudged bool // by itself, and well: nobody came in time to find anything wrong
}

func (r rolledBack) Unwrap() error { return r.error }

func isRolledBack(err error) bool { return errors.As(err, new(rolledBack)) }

// errLate is what a switch fails of that nothing speaks against but the time.
var errLate = errors.New("not confirmed")

func (g guard) late() error { return fmt.Errorf("it was %w within %s", errLate, g.Within) }

// backTime is how long going back may take, beyond the time until it begins.
const backTime = 3 * time.Minute

// goBack has the host go back, or waits until it has done so by itself where it
// cannot be told to, and returns the failure with how it left the host.
func (g guard) goBack(ctx context.Context, log io.Writer, failure error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*g.Within+backTime)
	defer cancel()
	fmt.Fprintf(log, "%v\n", failure)
	if g.token() != "" {
		fmt.Fprintf(log, "%s goes back to %s\n", g.Host.Name, g.before.path())
	}
	w, err := g.settled(ctx, true)
	if err != nil {
		err = fmt.Errorf("%v\nhow it left the host is not known: %v; %w", failure, err, runtime.ErrUntold)
		if g.token() == "" {
			return err
		}
		return runtime.WithHint(err, "%s goes back to %s by itself; infra resume looks whether it has", g.Host.Name, g.before.path())
	}
	return g.verdict(w, failure, anew)
}

// settled is the watchdog when nothing changes any more by itself. A connection
// that is gone is made again, as long as ctx lasts.
func (g guard) settled(ctx context.Context, now bool) (watch, error) {
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		w, err := g.ask(ctx, now)
		if err == nil && w.over() {
			return w, nil
		}
		if err == nil {
			continue // the script has waited
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return w, err
		}
		_ = g.pool.Fresh(ctx, g.Host) // asking again tells
	}
}

// What can be done where the host runs what it ran before. What failed earlier than
// the confirmation, or in it, is carried out anew by a resume.
const (
	anew      = "infra resume tries the same system again, from the watchdog on; with a mended system, run the plan from the start: infra run"
	fromStart = "mend the system, and run the plan again from the start: infra run"
)

// verdict is a failure with what the host says of itself. The hint is for a host that
// runs what it ran before.
func (g guard) verdict(w watch, failure error, hint string) error {
	prev := g.before.path()
	atPrev := w.state.current == prev && (w.state.profile == g.before.profile || g.before.profile == "none")
	var left string
	switch {
	case g.token() == "":
		left = w.state.String()
	case w.claim == claimBack && atPrev:
		left = fmt.Sprintf("rolled back by the host itself to %s", prev)
		if w.ended != "0" {
			left += fmt.Sprintf(", whose activation ended with %q:\n%s", w.ended, w.log)
		}
	case atPrev:
		left = fmt.Sprintf("the host runs %s, as before", prev)
	case w.claim == claimBack:
		left = fmt.Sprintf("the host tried to go back to %s by itself, and did not get there: %s\n%s", prev, w.state, w.log)
	default:
		left = w.state.String()
	}
	err := error(leftAs{unstopped(failure), left})
	if was := runtime.HintOf(failure); was != "" {
		hint = was + "; " + hint
	}
	if atPrev || prev == "" || prev == g.System.Path {
		unjudged := errors.Is(failure, errLate) && atPrev && w.claim == claimBack && w.ended == "0" && !w.booted
		return rolledBack{runtime.WithHint(err, "%s", hint), unjudged}
	}
	return rolledBack{runtime.WithHint(err, "go back with: %s", goBack(g.Host, prev)), false}
}

// A leftAs is a failure and how it left the host. Its first line says both: in the
// list at a run's end there is no more of it.
type leftAs struct {
	error
	left string
}

func (l leftAs) Unwrap() error { return l.error }

func (l leftAs) Error() string {
	said, quoted, _ := strings.Cut(l.error.Error(), "\n")
	left, log, _ := strings.Cut(l.left, "\n")
	first := said + "; " + left
	if before, quotes := strings.CutSuffix(said, ":"); quotes {
		first = before + "; " + strings.TrimSuffix(left, ":") + ":"
	}
	lines := []string{first}
	for _, more := range []string{quoted, log} {
		if more != "" {
			lines = append(lines, more)
		}
	}
	return strings.Join(lines, "\n")
}

// unstopped is a failure without what it wraps: its outcome is known now, so it is
// neither an interruption nor a loss any more.
func unstopped(err error) error {
	if errors.Is(err, runtime.ErrUntold) || errors.Is(err, runtime.ErrInterrupted) || errors.Is(err, context.Canceled) {
		return errors.New(err.Error())
	}
	return err
}

// asRoot runs a program on the host as a unit of its own, where systemd runs that.
func (s switching) asRoot(ctx context.Context, log io.Writer, argv ...string) (command.Output, error) {
	return command.Run(ctx, command.On(s.pool, s.Host), remote.Command{Argv: argv, Sudo: true, Unit: runtime.OpID(ctx)}, log)
}

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"sync"

	"infra/runtime"
	"infra/runtime/engine"
	"infra/runtime/gates"
	"infra/runtime/journal"
)

// A verifier looks at plans.
type verifier struct {
	*session
	flags verifyFlags
	names []string // as a person named them; none: all of the project
}

// An observation is that one plan is looked at.
type observation struct {
	sighted
	kept  kept
	ended chan struct{}
	out   engine.Outcome
	broke error // why it could not begin, or broke off; both are known once it has ended
}

// round looks at every plan once, and returns the exit code. Plans are looked at side
// by side, and shown one after the other.
func (v *verifier) round() int {
	plans, err := v.gather()
	if err == nil && len(v.names) == 1 {
		err = lacking(plans)
	}
	switch {
	case v.stop.Err() != nil:
		return exitInterrupted
	case err != nil:
		return v.refused("", err)
	}
	code, looks := exitOK, make([]*observation, len(plans))
	for i, p := range plans {
		looks[i] = &observation{sighted: p, ended: make(chan struct{})}
		if p.err == nil && p.skip == "" {
			go v.look(looks[i])
		}
	}
	any := false
	for _, l := range looks {
		code = worse(code, v.show(l))
		any = any || l.skip == ""
	}
	if !any && v.loud() {
		fmt.Fprintln(v.words(), "there is nothing to look at: infra run runs a plan, and infra verify PLAN looks at one that was not run")
	}
	return code
}

// worse is the exit code of two plans together.
func worse(a, b int) int {
	for _, code := range []int{exitInterrupted, exitUsage, exitFailed} {
		if a == code || b == code {
			return code
		}
	}
	return max(a, b)
}

// look runs the checks of a plan.
func (v *verifier) look(l *observation) {
	defer close(l.ended)
	opts := v.options()
	opts.Show, opts.Pause = l.kept.Read, v.flags.pause
	l.out, l.broke = v.engine.Verify(v.hard, l.file, opts)
}

// show shows what a plan came to, and before that, to who wants it, how. It returns
// the plan's exit code.
func (v *verifier) show(l *observation) int {
	switch {
	case l.err != nil:
		return v.refused(l.path, l.err)
	case l.skip != "":
		if v.loud() {
			fmt.Fprintf(v.words(), "%s is not looked at: %s\n", l.file.Plan.Name, printable(l.skip))
		}
		return exitOK
	}
	to, bad := v.reader(), &unwell{}
	l.kept.turn(both{to, bad})
	<-l.ended
	to.Close()
	if l.broke != nil {
		return v.refused(l.path, l.broke)
	}
	v.conclude(l, bad)
	if l.out.Status == runtime.Held {
		return exitFailed
	}
	return v.session.flags.code(l.out.Status, &l.out.Totals)
}

// loud says whether a person looks on.
func (v *verifier) loud() bool { return !v.flags.once && v.flags.interval == 0 }

// reader shows the events of one plan.
func (v *verifier) reader() reader {
	if v.flags.json || v.loud() {
		return v.app.reader(v.session.flags)
	}
	return silent{}
}

// refused tells why a plan, or any, could not be looked at, and returns the exit code.
func (v *verifier) refused(path string, err error) int {
	code := exitCodeOf(err)
	if v.flags.json {
		(&jsonLines{v.stdout, v.session.flags.code}).refuse(err, code)
	}
	if path != "" && !v.loud() && code != exitInterrupted {
		fmt.Fprintf(v.words(), "%s cannot be looked at:\n", printable(path))
	}
	v.report(err)
	return code
}

// conclude says what the checks of a plan came to.
func (v *verifier) conclude(l *observation, bad *unwell) {
	name, p := l.file.Plan.Name, palette(wantsColor(v.stdout, v.getenv))
	out := io.Writer(v.stdout)
	if v.flags.json {
		out, p = v.words(), palette(wantsColor(v.stderr, v.getenv))
	}
	if l.out.Status == runtime.Interrupted {
		fmt.Fprintf(v.words(), "%s: interrupted: this time does not count\n", name)
		return
	}
	if v.flags.once && len(bad.lines) == 0 {
		return
	}
	verdict, err := v.verdict(name)
	if err != nil {
		v.report(fmt.Errorf("find out what the checks of %s came to: %w", name, err))
		return
	}
	paint := map[string]func(string) string{gates.Go: p.good, gates.Conditional: p.change, gates.NoGo: p.bad}[verdict.Kind]
	if paint == nil { // something was changed meanwhile
		paint = p.dim
	}
	fmt.Fprintf(out, "%s: %s\n", name, paint(printable(verdict.Why)))
	switch {
	case v.flags.once:
		for _, line := range bad.lines {
			fmt.Fprintf(out, "  %s\n", line)
		}
	case v.loud() && verdict.Kind == gates.Conditional && verdict.Word == nil:
		fmt.Fprintln(v.words(), p.dim(fmt.Sprintf("nothing that failed is required, so a person decides: infra decide %s go --because \"...\"", name)))
	}
}

// verdict is what the record says of a plan now.
func (v *verifier) verdict(plan string) (verdict gates.Verdict, err error) {
	ledger, err := journal.Read(v.root)
	if err != nil {
		return verdict, err
	}
	defer func() { err = errors.Join(err, ledger.Close()) }()
	return gates.At(v.clock(), ledger).Verdict(plan)
}

// kept keeps events until it is their turn to be shown. Of those that tell of progress,
// nobody wants to know later.
type kept struct {
	mu     sync.Mutex
	events []runtime.Event
	to     reader
}

// Read implements reader.
func (k *kept) Read(e runtime.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.to != nil:
		k.to.Read(e)
	case e.Kind != runtime.OpOutput && e.Kind != runtime.OpProgress:
		k.events = append(k.events, e)
	}
}

// turn shows on to what was kept, and what is still to come.
func (k *kept) turn(to reader) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.events {
		to.Read(e)
	}
	k.events, k.to = nil, to
}

// both hands events to two readers.
type both struct{ one, other reader }

func (b both) Read(e runtime.Event) { b.one.Read(e); b.other.Read(e) }
func (b both) Close()               { b.one.Close(); b.other.Close() }

// silent shows nothing.
type silent struct{}

func (silent) Read(runtime.Event) {}
func (silent) Close()             {}

// unwell collects the checks that did not hold, in lines.
type unwell struct{ lines []string }

func (u *unwell) Read(e runtime.Event) {
	if e.Kind != runtime.StepEnded || e.Status == runtime.OK {
		return
	}
	line := instanceOf(e).title() + ": " + cmp.Or(firstWords(e), string(e.Status))
	if e.Status == runtime.Warned {
		line += " (not required)"
	}
	u.lines = append(u.lines, line)
}

func (u *unwell) Close() {}

// observes says whether what begins is no run, but looks at a plan.
func observes(start *runtime.RunStart) bool {
	run := journal.Run{Options: start.Options}
	return run.Call().Kind == journal.Observed
}

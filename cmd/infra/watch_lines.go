package main

import (
	"io"
	"os"
)

// unattended is what infra watch is where nobody types.
type unattended struct{}

func (unattended) keys() <-chan key { return nil }
func (unattended) redraw()          {}
func (unattended) close()           {}

// signal says whether a signal is none to end at.
func (unattended) signal(s os.Signal) bool { return !ends(s) }

// watchLines tells of each preview in a block of lines.
type watchLines struct {
	unattended
	app  *app
	full bool
	many bool // there are several plans
}

func newWatchLines(r *reloader) *watchLines {
	return &watchLines{app: r.app, full: r.flags.full, many: len(r.plans) > 1}
}

func (l *watchLines) shown(re *reload) {
	p := palette(wantsColor(l.app.stdout, l.app.getenv))
	good := re.plan.good
	text := p.bold(re.plan.file) + "  " + re.headline(p) + "\n" + re.body(p, l.full, good) + re.foot(p, good)
	if text[len(text)-1] != '\n' {
		text += "\n"
	}
	l.print(text + "\n")
}

// print writes a block as a whole.
func (l *watchLines) print(text string) {
	out := io.Writer(l.app.stdout)
	if l.app.watched() {
		out = disarmed{out}
	}
	_, _ = io.WriteString(out, text) // else who reads it is gone
}

func (l *watchLines) warned(err error) { printFailure(l.app.words(), "", err, nil, false) }
